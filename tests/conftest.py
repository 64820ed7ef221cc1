"""A world small enough to train on in seconds: coloured squares in six art families, named, with neighbours."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from PIL import Image

ROOT = Path(__file__).parents[1]
FAMILIES = ('ink', 'oil', 'clay', 'wire', 'sand', 'glass')
NAMES = ('red fox', 'blue jay', 'lime', 'plum', 'cocoa', 'snow')
COLOURS = ((200, 30, 30), (30, 60, 210), (60, 200, 40), (120, 20, 130), (110, 70, 30), (240, 240, 240))

torch.set_num_threads(1)
# How long examples take to draw says nothing on a machine that is busy.
settings.register_profile('suite', deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile('suite')


@pytest.fixture(scope='session')
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope='session')
def environment() -> dict[str, str]:
    """For processes that tests start: one thread each, no progress bars in colour."""
    return {**os.environ, 'OMP_NUM_THREADS': '1', 'TOKENIZERS_PARALLELISM': 'false', 'TERM': 'dumb'}


@pytest.fixture(scope='session')
def launch_two(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a script of the tests in two processes on this machine, as users start them (about 12 s)."""

    def launch(script: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        words = '-m accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no'
        command = [sys.executable, *words.split(), '--dynamo_backend', 'no', '--main_process_port', str(port)]
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])])
        return subprocess.run(
            [*command, str(script), *map(str, arguments)],
            env={**environment, 'PYTHONPATH': path},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return launch


@pytest.fixture(scope='session')
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images and pairs.jsonl: six classes, one image in each of six families."""
    folder = tmp_path_factory.mktemp('world')
    rows = []
    for number, (name, colour) in enumerate(zip(NAMES, COLOURS, strict=True)):
        for family_number, family in enumerate(FAMILIES):
            shade = np.clip(np.array(colour) + 6 * family_number, 0, 255).astype(np.uint8)
            path = folder / 'images' / family / f'{number}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.broadcast_to(shade, (20, 24, 3)).copy()).save(path)
        samples = [f'{family}/{number}.png' for family in FAMILIES]
        neighbours = [[str(n), NAMES[n], f'ink/{n}.png'] for n in range(len(NAMES)) if n != number]
        rows.append({'class_id': str(number), 'class_name': name, 'samples': samples, 'neighbors': neighbours})
    (folder / 'pairs.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
    return folder


@pytest.fixture
def write_config(write_config_in: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Writes a run config on the small world; `tail` is Python code after it."""
    return partial(write_config_in, tmp_path)


@pytest.fixture(scope='session')
def write_config_in(small_world: Path) -> Callable[..., Path]:
    """The same, for a folder that is given first."""

    def write(folder: Path, tail: str = '') -> Path:
        path = folder / 'small_run.py'
        path.write_text(
            f"""
_base_ = [{str(ROOT / 'config/_base_/model/tiny_llava.py')!r}, {str(ROOT / 'config/_base_/train/tiny_cpu.py')!r}]
EPISODES = dict(
    type='LinkContextDataset',
    filename={str(small_world / 'pairs.jsonl')!r},
    image_folder={str(small_world / 'images')!r},
    distinct_groups=True,
    shot=1,
    policy=dict(type='link_context', names='invented', word_length=(2, 2), negatives='easy'),
)
data_args = dict(
    train=dict(EPISODES, episodes_per_class=4),
    validation=EPISODES,
    test=EPISODES,
    multitest=dict(two=dict(cfg=dict(EPISODES, shot=2), compute_metric=dict(type='LinkContextAccuracy'))),
    compute_metric=dict(type='LinkContextAccuracy'),
    gen_kwargs=dict(max_new_tokens=4),
)
training_args = dict(max_steps=3, per_device_train_batch_size=4, per_device_eval_batch_size=4, logging_steps=1)
{tail}
"""
        )
        return path

    return write


@pytest.fixture
def read_jsonl() -> Callable[[Path], list[Any]]:
    return lambda path: [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def run_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, dict[str, Any]]]:
    """Runs a recipe of `config/` for two steps, on a folder of data.

    With the tiny model in place of its own, unless `own_model`; `model_args` change either.
    """
    # Not every test that uses this file needs them.
    from mmengine import Config

    from mllm.config.config import prepare_args
    from mllm.pipeline.finetune import run

    tiny = Config.fromfile(ROOT / 'config/_base_/model/tiny_llava.py').to_dict()['model_args']

    def start(
        data_root: Path, name: str, *words: str, own_model: bool = False, **model_args: Any
    ) -> dict[str, dict[str, Any]]:
        monkeypatch.setenv('MLLM_DATA', str(data_root))
        path = tmp_path / f'{name}.py'
        model = model_args if own_model else {'_delete_': True, **tiny, **model_args}
        path.write_text(f'_base_ = [{str(ROOT / "config" / f"{name}.py")!r}]\nmodel_args = {model!r}\n')
        argv = [path, '--output_dir', tmp_path / name, '--max_steps', '2', '--save_steps', '2', '--use_cpu']
        argv += ['--bf16', 'false', '--tf32', 'false', '--dataloader_num_workers', '0', '--report_to', 'none']
        return run(*prepare_args([str(word) for word in (*argv, *words)]))

    return start


@pytest.fixture
def losses() -> Callable[[Path], list[float]]:
    """The losses that a run's folder tells of, those of steps and the mean."""

    def read(folder: Path) -> list[float]:
        history = json.loads((folder / 'trainer_state.json').read_text())['log_history']
        return [entry[key] for entry in history for key in ('loss', 'train_loss') if key in entry]

    return read
