"""The whole command as a user types it, on the small world: train, evaluate, continue, and be told what is wrong."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from mllm.config.config import ConfigError
from mllm.config.training_args import TrainingArguments
from mllm.engine.checkpoint import begin_run
from mllm.pipeline import finetune, trained
from mllm.pipeline.finetune import main, starting_point
from mllm.utils.manifest import write_manifest

WriteConfig = Callable[..., Path]
Launch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def launch(root: Path, environment: dict[str, str], tmp_path: Path) -> Launch:
    """Runs the entry script through `accelerate launch` from another folder."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, '-m', 'accelerate.commands.launch']
        command += ['--config_file', str(root / 'accelerate_config/default_config.yaml')]
        command += [str(root / 'mllm/pipeline/finetune.py'), *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


def test_train_and_all_evaluations(
    launch: Launch, write_config: WriteConfig, tmp_path: Path, read_jsonl: Any, root: Path
):
    out, tokenizer = tmp_path / 'out', AutoTokenizer.from_pretrained(root / 'data/tiny_llava')
    flags = ['--do_eval', '--do_predict', '--eval_strategy', 'steps', '--eval_steps', 2, '--report_to', 'tensorboard']
    flags += ['--save_strategy', 'steps', '--save_steps', 2, '--load_best_model_at_end']
    done = launch(write_config(), '--output_dir', out, *flags, '--cfg-options', 'data_args.gen_kwargs.max_new_tokens=3')
    assert done.returncode == 0, done.stderr[-3000:]
    for prefix in ('eval', 'test', 'multitest_two'):
        rows = read_jsonl(out / f'{prefix}_extra_prediction.jsonl')
        assert [row['index'] for row in rows] == list(range(6))
        assert json.loads((out / f'{prefix}_results.json').read_text())[f'{prefix}_n'] == 6
        assert prefix in done.stdout
        # gen_kwargs reach the model: three tokens are at most three phrases or letters.
        assert all(len(tokenizer(row['pred']).input_ids) <= 3 for row in rows)
    assert (out / 'loss.png').stat().st_size > 5000
    assert (out / 'checkpoint-2' / 'model.safetensors').is_file()
    assert list(out.rglob('events.out.tfevents*'))
    history = json.loads((out / 'trainer_state.json').read_text())['log_history']
    assert {'loss', 'samples_per_second', 'tokens_per_second', 'data_wait'} <= history[0].keys()
    assert any('eval_accuracy' in entry for entry in history)

    scores = [row['score'] for row in read_jsonl(out / 'multitest_two_extra_prediction.jsonl')]
    config = (out / 'cfg.py').read_text()
    for folder, options in (
        (out, []),
        (tmp_path / 'evaluated', ['--cfg-options', f'model_args.model_name_or_path={out}']),
    ):
        again = launch(out / 'cfg.py', '--output_dir', folder, '--do_train', 'false', *options)
        assert again.returncode == 0, again.stderr[-3000:]
        assert (f'the model in {out} is evaluated' in again.stderr) == (not options)
        found = [row['score'] for row in read_jsonl(folder / 'multitest_two_extra_prediction.jsonl')]
        assert found == [pytest.approx(score, abs=1e-5) for score in scores]
    assert (out / 'cfg.py').read_text() == config


def test_what_is_wrong_is_told_at_once_and_without_a_traceback(
    launch: Launch, write_config: WriteConfig, small_world: Path, tmp_path: Path
):
    config = write_config("data_args['trian'] = None\nmodel_args = dict(projektor='linear')")
    done = launch(config, '--output_dir', tmp_path / 'out')
    assert done.returncode != 0
    assert "did you mean 'train'" in done.stderr
    assert "did you mean 'projector'" in done.stderr
    assert not (tmp_path / 'out').exists()


def test_bad_data_stops_the_run_before_its_first_step(launch: Launch, write_config: WriteConfig, tmp_path: Path):
    missing = tmp_path / 'nowhere.jsonl'
    done = launch(
        write_config(), '--output_dir', tmp_path / 'out', '--cfg-options', f'data_args.train.filename={missing}'
    )
    assert done.returncode != 0
    assert str(missing) in done.stderr
    assert 'data_args.train' in done.stderr
    assert 'finetune.py", line' not in done.stderr


@pytest.mark.parametrize('workers', [0, 1])
def test_a_bad_sample_ends_a_run_with_one_line(
    workers: int, write_config: WriteConfig, small_world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    config = write_config()
    images = tmp_path / 'images'
    shutil.copytree(small_world / 'images', images)
    damaged = sorted(images.rglob('*.png'))[-1]
    damaged.write_bytes(damaged.read_bytes()[:60])
    options = [f'data_args.{part}.image_folder={images}' for part in ('train', 'multitest.two.cfg')]
    flags = ['--output_dir', str(tmp_path / 'out'), '--dataloader_num_workers', str(workers), '--max_steps', '40']
    assert main([str(config), *flags, '--cfg-options', *options]) == 2
    (line,) = (line for line in capfd.readouterr().err.splitlines() if damaged.name in line)
    assert '.jsonl:' in line
    assert 'truncated or damaged' in line


def test_another_run_is_not_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    told: list[str] = []
    monkeypatch.setattr(finetune.logger, 'warning', lambda text, *values: told.append(text % values))
    folder = tmp_path / 'out'
    make_checkpoint(folder, 5)
    (folder / 'cfg.py').write_text(
        "model_args = dict(type='llava', image_splice='all', feature_cache='memory')\n"
        'data_args = dict(train=dict(shot=1), multitest=dict())\ntraining_args = dict(seed=42, max_steps=5)\n'
    )
    same: Any = {
        'model_args': {'type': 'llava', 'image_splice': 'all', 'feature_cache': None},
        'data_args': {'train': {'shot': 1}, 'multitest': {'two': {'cfg': {}}}},
        'training_args': {'seed': 9, 'max_steps': 9},
    }
    assert starting_point(same, arguments(folder)) == str(folder / 'checkpoint-5')
    assert told == ['the run goes on, but not as it would have: training_args.seed is 9, was 42']
    other = {**same, 'model_args': {'type': 'llava', 'image_splice': 'last_only'}, 'data_args': {'train': {'shot': 2}}}
    with pytest.raises(ConfigError) as caught:
        starting_point(other, arguments(folder))
    assert caught.value.faults[:2] == [
        "model_args.image_splice is 'last_only', was 'all'",
        'data_args.train.shot is 2, was 1',
    ]
    assert starting_point(other, arguments(folder, overwrite_output_dir=True)) is None


def test_a_model_of_which_nothing_learns_is_no_run(
    write_config: WriteConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    options = ['--cfg-options', "model_args.freeze=['*']", f'training_args.output_dir={tmp_path / "out"}']
    assert main([str(write_config()), *options]) == 2
    assert 'model_args.freeze: nothing is left that learns' in capsys.readouterr().err


def test_evaluation_looks_for_the_model_that_was_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    told: list[str] = []
    monkeypatch.setattr(trained.logger, 'warning', lambda text, *values: told.append(text % values))
    wanted = str(tmp_path)
    assert trained.trained_model({'type': 'llava'}, wanted) == {'type': 'llava'}
    assert 'nothing is trained here' in told[0]
    checkpoint = make_checkpoint(tmp_path, 5)
    assert trained.trained_model({}, wanted) == {'model_name_or_path': str(checkpoint)}
    (tmp_path / 'model.safetensors').write_bytes(b'')
    assert trained.trained_model({}, wanted) == {'model_name_or_path': wanted}
    named = {'model_name_or_path': 'other'}
    assert trained.trained_model(named, wanted) == named
    adapted = {**named, 'lora': {'r': 2}}
    assert trained.trained_model(adapted, wanted) == {**adapted, 'adapter': wanted}
    assert len(told) == 1


def arguments(folder: Path, **changes: Any) -> TrainingArguments:
    return TrainingArguments(**{'output_dir': str(folder), 'do_train': True, 'use_cpu': True, **changes})


def make_checkpoint(folder: Path, step: int) -> Path:
    path = folder / f'checkpoint-{step}'
    path.mkdir(parents=True)
    for name in ('rng_state.pth', 'trainer_state.json'):
        (path / name).write_text('{}')
    write_manifest(path)
    return path


def test_a_run_starts_at_its_last_checkpoint_or_at_the_one_named(tmp_path: Path):
    for step in (5, 9):
        make_checkpoint(tmp_path / 'out', step)
    other = make_checkpoint(tmp_path / 'other', 3)
    assert starting_point({}, arguments(tmp_path / 'out')) == str(tmp_path / 'out' / 'checkpoint-9')
    assert starting_point({}, arguments(tmp_path / 'out', resume_from_checkpoint=str(other))) == str(other)
    assert starting_point({}, arguments(tmp_path / 'out', overwrite_output_dir=True)) is None
    assert starting_point({}, arguments(tmp_path / 'new')) is None


def test_a_run_cut_off_before_its_first_checkpoint_begins_again(tmp_path: Path):
    (tmp_path / 'eval_results.json').write_text('{}')
    with pytest.raises(ConfigError, match='no complete checkpoint'):
        starting_point({}, arguments(tmp_path))
    begin_run(str(tmp_path))
    assert starting_point({}, arguments(tmp_path)) is None


def test_a_checkpoint_named_must_be_whole(tmp_path: Path):
    path = make_checkpoint(tmp_path, 5)
    (path / 'rng_state.pth').write_text('')
    for folder, told in ((path, r'rng_state\.pth has 0 bytes'), (tmp_path / 'nowhere', r'manifest\.json is missing')):
        with pytest.raises(ConfigError, match=f'resume_from_checkpoint: .*{told}'):
            starting_point({}, arguments(tmp_path / 'out', resume_from_checkpoint=str(folder)))


def test_only_rank_0_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # Rank 0 may have written by the time another rank looks.
    monkeypatch.setattr(TrainingArguments, 'process_index', 1)
    (tmp_path / 'notes.txt').write_text('mine')
    assert starting_point({}, arguments(tmp_path)) is None
