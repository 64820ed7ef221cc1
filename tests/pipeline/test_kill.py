"""A run that is killed at whatever moment, and started again by the same command, ends as one that never was.

Bit for bit: the checkpoints with weights, optimiser, schedule and random states, the final model, losses, answers.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mllm.engine.checkpoint import UNFINISHED, checkpoints, is_unfinished
from mllm.utils.manifest import MANIFEST, checksum, damage

FLAGS = ['--max_steps', '6', '--save_strategy', 'steps', '--do_multi_predict', 'false']
BEST = ['--load_best_model_at_end', '--metric_for_best_model', 'eval_loss', '--eval_strategy', 'steps']
SETTINGS = {
    'best of all, two kept': [*BEST, '--eval_steps', '2', '--save_steps', '2', '--save_total_limit', '2'],
    'one kept': ['--save_steps', '1', '--save_total_limit', '1', '--gradient_accumulation_steps', '2'],
}
OF_THIS_FOLDER = {'trainer_state.json', 'training_args.bin'}
"""Files of a checkpoint that hold paths and times."""
NO_STATE = ('runs/', 'loss.png')
"""What is drawn and logged for people: a run that was cut off logs some steps twice, and the server draws nothing."""
LOGGED = ('step', 'epoch', 'loss', 'grad_norm', 'learning_rate', 'eval_loss', 'eval_accuracy')


class Server:
    """`run_server.py`: runs the pipeline until it ends or is killed."""

    def __init__(self, config: Path, environment: dict[str, str], root: Path) -> None:
        self.config = config
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name('run_server.py')), str(config)],
            env={**environment, 'PYTHONPATH': str(root)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self, folder: Path, flags: list[str], **kill: float) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        log = folder.with_suffix('.log')
        arguments = [str(self.config), '--output_dir', str(folder), *FLAGS, *flags]
        request = {'arguments': arguments, 'folder': str(folder), 'log': str(log), **kill}
        self.process.stdin.write(json.dumps(request) + '\n')
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert answer['status'] in (0, -signal.SIGKILL), log.read_text()[-3000:]
        return answer


@pytest.fixture(scope='module')
def config(write_config_in: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config_in(tmp_path_factory.mktemp('config'))


@pytest.fixture(scope='module')
def server(config: Path, environment: dict[str, str], root: Path) -> Iterator[Server]:
    server = Server(config, environment, root)
    yield server
    server.process.communicate()


def outcome(folder: Path) -> dict[str, Any]:
    """All that a run leaves behind and that must not depend on how often it was cut off."""
    state = json.loads((folder / 'trainer_state.json').read_text())
    names = [path.relative_to(folder).as_posix() for path in folder.rglob('*') if path.is_file()]
    manifests = {path.name: json.loads((path / MANIFEST).read_text()) for path in checkpoints(str(folder))}
    best = state['best_model_checkpoint']
    return {
        'files': sorted(name for name in names if not name.startswith(NO_STATE)),
        'checkpoints': {
            step: {name: entry for name, entry in manifest.items() if name not in OF_THIS_FOLDER}
            for step, manifest in manifests.items()
        },
        'best': best and str(Path(best).relative_to(folder)),
        'model': checksum(folder / 'model.safetensors'),
        'predictions': [path.read_text() for path in folder.glob('*_extra_prediction.jsonl')],
        'history': [
            {key: entry[key] for key in LOGGED if key in entry}
            for entry in state['log_history']
            if 'loss' in entry or 'eval_loss' in entry
        ],
    }


def kill_and_restart(server: Server, folder: Path, flags: list[str], moments: Any, expected: dict[str, Any]) -> int:
    """Kill at each of the moments, by turns a time and a change of a file; start again by the same command each time.

    A run that ends before its moment is compared, and the next begins. Returns how often something was half written.
    """
    in_the_midst = runs = 0
    for moment in moments:
        while server.run(folder / str(runs), flags, **moment)['status'] != -signal.SIGKILL:
            assert outcome(folder / str(runs)) == expected
            runs += 1
        in_the_midst += any((folder / str(runs) / UNFINISHED).glob('*'))
        for path in checkpoints(str(folder / str(runs))):
            assert damage(path) is None
        model = folder / str(runs) / 'model.safetensors'
        assert not model.exists() or checksum(model) == expected['model']
    server.run(folder / str(runs), flags)
    assert outcome(folder / str(runs)) == expected
    assert not is_unfinished(str(folder / str(runs)))
    return in_the_midst


@pytest.mark.parametrize('name', SETTINGS)
def test_killed_at_random_moments(server: Server, tmp_path: Path, name: str):
    flags, rng = SETTINGS[name], np.random.default_rng(0)
    # The second without anything left to load: its time is that of all but the first in a process.
    seconds = [server.run(tmp_path / f'undisturbed{number}', flags)['seconds'] for number in range(2)][1]
    changes = int((tmp_path / 'undisturbed1.log').read_text().split()[-2])
    expected = outcome(tmp_path / 'undisturbed0')
    assert outcome(tmp_path / 'undisturbed1') == expected
    assert len(expected['history']) >= 6
    assert expected['checkpoints']
    # Half of a run's length at most: there is always less of it to come. Two fall where the final model is saved.
    times = [{'kill_after': moment} for moment in rng.uniform(0, seconds / 2, 6)]
    numbers = [*rng.integers(1, changes // 2, 5), *rng.integers(changes - 25, changes, 2)]
    before_changes = [{'kill_at': int(number)} for number in numbers]
    (tmp_path / 'killed').mkdir()
    kill_and_restart(server, tmp_path / 'killed', flags, times, expected)
    (tmp_path / 'killed at a change').mkdir()
    assert kill_and_restart(server, tmp_path / 'killed at a change', flags, before_changes, expected) > 2


def test_the_real_command(server: Server, config: Path, environment: dict[str, str], root: Path, tmp_path: Path):
    flags = SETTINGS['one kept']
    server.run(tmp_path / 'undisturbed', flags)
    folder, script = tmp_path / 'killed', root / 'mllm/pipeline/finetune.py'
    command = [sys.executable, str(script), str(config), '--output_dir', str(folder), *FLAGS, *flags]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as started:
        while not checkpoints(str(folder)) and started.poll() is None:
            time.sleep(0.005)
        started.kill()
    assert started.returncode == -signal.SIGKILL
    assert is_unfinished(str(folder))
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    # Beginning anew would end in the same bits.
    assert f'the run continues from {folder / "checkpoint-"}' in again.stderr
    assert outcome(folder) == outcome(tmp_path / 'undisturbed')
