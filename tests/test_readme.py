"""What the README shows works: its Python files are written, its commands are run, in order."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text()
FILES = dict(re.findall(r'```python\n# (\S+\.py)\n(.*?)```', README, re.DOTALL))
COMMANDS = [line for block in re.findall(r'```bash\n(.*?)```', README, re.DOTALL) for line in block.splitlines()]


@pytest.fixture(scope='module')
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a checkout, with the README's files and with pictures such as a user brings."""
    folder = tmp_path_factory.mktemp('readme')
    for name in ('config', 'mllm', 'tools', 'data', 'accelerate_config'):
        (folder / name).symlink_to(ROOT / name)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    for number in range(12):
        for copy in range(3):
            path = folder / 'my_pictures' / f'concept {number}' / f'{copy}.jpg'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new('RGB', (40, 30), (20 * number, 200 - 15 * number, 60 * copy)).save(path)
    for number, name in enumerate(('a', 'b', 'c', 'd', 'q1', 'q2')):
        Image.new('RGB', (40, 30), (40 * number, 90, 200 - 30 * number)).save(folder / f'{name}.jpg')
    (folder / 'captions').mkdir()
    Image.new('RGB', (64, 48), (90, 120, 30)).save(folder / 'captions' / 'a.jpg')
    row = {'picture': 'a.jpg', 'text': 'a field', 'box': [3, 4, 30, 40]}
    (folder / 'captions.jsonl').write_text(f'{json.dumps(row)}\n' * 3)
    return folder


@pytest.mark.parametrize('command', COMMANDS)
def test_command(command: str, workplace: Path, environment: dict[str, str]):
    binaries = str(Path(sys.executable).parent)
    config = ['--config_file', 'accelerate_config/default_config.yaml']
    words = shlex.split(command)
    if words[:2] == ['accelerate', 'launch']:
        words[2:2] = config
    done = subprocess.run(
        words,
        cwd=workplace,
        env={**environment, 'PATH': f'{binaries}{os.pathsep}{environment["PATH"]}'},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]


def test_the_readme_has_commands_and_files():
    assert len(COMMANDS) >= 5
    assert {'my_run.py', 'my_captions.py', 'my_metric.py', 'my_model.py', 'my_caption_run.py'} <= set(FILES)


def test_links_and_pictures_exist():
    for target in re.findall(r'\]\(([^)#]+)\)', README):
        if not target.startswith('http'):
            assert (ROOT / target).exists(), target
