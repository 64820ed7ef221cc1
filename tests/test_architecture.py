"""The direction of imports, and habits of the code that a reader relies on."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / 'mllm').rglob('*.py'))

# What a part of the package may import from the package; `config` stands apart: it knows names, not things.
ALLOWED = {
    'types': set(),
    'registry': set(),
    'utils': {'types', 'utils'},
    'grounding': {'types', 'registry', 'utils', 'grounding'},
    'conversation': {'types', 'registry', 'utils', 'conversation'},
    'metric': {'types', 'registry', 'utils', 'grounding', 'conversation', 'metric'},
    'dataset': {'types', 'registry', 'utils', 'grounding', 'conversation', 'metric', 'dataset'},
    'models': {'types', 'registry', 'utils', 'grounding', 'conversation', 'models'},
    'engine': {'types', 'utils', 'metric', 'engine'},
    'evaluation': {'types', 'utils', 'metric', 'engine', 'evaluation'},
    'config': {'config', 'registry', 'utils'},
}


def part_of(path: Path) -> str:
    return path.relative_to(ROOT / 'mllm').parts[0].removesuffix('.py')


def imported_parts(path: Path) -> set[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f'{node.module}.{alias.name}' if node.module == 'mllm' else node.module for alias in node.names]
    return {name.split('.')[1] for name in names if name.startswith('mllm.')}


@pytest.mark.parametrize('path', [p for p in FILES if part_of(p) in ALLOWED], ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path: Path):
    wrong = imported_parts(path) - ALLOWED[part_of(path)]
    assert not wrong, f'{path.name} imports {sorted(wrong)}'


def test_every_part_has_a_rule():
    assert {part_of(path) for path in FILES} - {'__init__', 'pipeline'} <= set(ALLOWED)


@pytest.mark.parametrize('path', FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_short_ascii_and_say_what_they_are(path: Path):
    text = path.read_text(encoding='utf-8')
    assert text.isascii()
    assert text.count('\n') <= 350
    assert not text.strip() or ast.get_docstring(ast.parse(text)), 'the module says nothing about itself'


@pytest.mark.parametrize('path', FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_torchvision_and_no_sys_path_outside_entry_scripts(path: Path):
    text = path.read_text(encoding='utf-8')
    assert 'import torchvision' not in text
    assert 'from torchvision' not in text
    assert part_of(path) == 'pipeline' or 'sys.path' not in text
