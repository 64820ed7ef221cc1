"""What a run leaves in its output folder, and in what order it comes and goes."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from mllm.engine.checkpoint import UNFINISHED, checkpoints, is_unfinished, remove_oldest, resume_point
from mllm.engine.trainer import MultimodalTrainer
from mllm.utils.manifest import MANIFEST, damage
from mllm.utils.weight_files import read_folder

SAVING = {'max_steps': 6, 'save_strategy': 'steps', 'save_steps': 2}
BEST = {'eval_strategy': 'steps', 'eval_steps': 2, 'load_best_model_at_end': True, 'metric_for_best_model': 'eval_loss'}


def make_trainer(folder, preprocessor, tiny, losses=(3.0, 1.0, 2.0), **changes):
    """Evaluations give the losses, one after the other."""
    given = iter(losses)
    return MultimodalTrainer(
        model=tiny.model(),
        args=tiny.args(folder, **SAVING | changes),
        preprocessor=preprocessor,
        train_dataset=tiny.dataset(12),
        validation=SimpleNamespace(prefix='eval', dataset=tiny.dataset(1)),
        evaluator=lambda model, evaluation: {'eval_loss': next(given)},
    )


def left(folder):
    return [path.name for path in checkpoints(str(folder))]


def test_checkpoints_are_whole_and_nothing_half_written_is_left(tmp_path, preprocessor, tiny):
    make_trainer(tmp_path, preprocessor, tiny).fit()
    assert left(tmp_path) == ['checkpoint-2', 'checkpoint-4', 'checkpoint-6']
    for path in checkpoints(str(tmp_path)):
        assert damage(path) is None
        listed = set(json.loads((path / MANIFEST).read_text())) | {MANIFEST}
        assert listed == {file.name for file in path.iterdir()}
        assert {'model.safetensors', 'optimizer.pt', 'scheduler.pt', 'rng_state.pth', 'trainer_state.json'} < listed
    assert not is_unfinished(str(tmp_path))
    assert not list(tmp_path.rglob('*.part'))


def test_the_best_checkpoint_has_its_final_name_and_stays(tmp_path, preprocessor, tiny):
    trainer = make_trainer(tmp_path, preprocessor, tiny, save_total_limit=1, **BEST)
    seen = []
    publish = trainer._save_checkpoint

    def watched(*arguments):
        publish(*arguments)
        folder = tmp_path / f'checkpoint-{trainer.state.global_step}'
        best = json.loads((folder / 'trainer_state.json').read_text())['best_model_checkpoint']
        seen.append((left(tmp_path), best))

    trainer._save_checkpoint = watched
    trainer.fit()
    two, four = str(tmp_path / 'checkpoint-2'), str(tmp_path / 'checkpoint-4')
    assert seen == [
        (['checkpoint-2'], two),
        (['checkpoint-4'], four),
        (['checkpoint-4', 'checkpoint-6'], four),
    ]
    final, best = read_folder(str(tmp_path)), read_folder(four)
    assert all(final[name].equal(tensor) for name, tensor in best.items())


def test_a_run_that_was_moved_finds_its_best_checkpoint(tmp_path, preprocessor, tiny):
    make_trainer(tmp_path / 'a', preprocessor, tiny, **BEST).fit()
    (tmp_path / 'a').rename(tmp_path / 'b')
    again = make_trainer(tmp_path / 'b', preprocessor, tiny, **BEST)
    again.fit(resume_from=str(tmp_path / 'b' / 'checkpoint-6'))
    assert again.state.best_model_checkpoint == str(tmp_path / 'b' / 'checkpoint-4')


def test_a_damaged_best_checkpoint_stops_the_run(tmp_path, preprocessor, tiny):
    make_trainer(tmp_path, preprocessor, tiny, **BEST).fit()
    weights = tmp_path / 'checkpoint-4' / 'model.safetensors'
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    again = make_trainer(tmp_path, preprocessor, tiny, **BEST)
    with pytest.raises(ValueError, match=r'model\.safetensors has changed'):
        again.fit(resume_from=str(tmp_path / 'checkpoint-6'))


@pytest.mark.parametrize(('changes', 'kept'), [({}, 6), (BEST, 4)])
def test_an_old_checkpoint_that_a_kill_left_goes(tmp_path, preprocessor, tiny, monkeypatch, changes, kept):
    class Killed(BaseException):
        pass

    def killed(folder, limit, keep):
        if Path(folder, 'checkpoint-6').is_dir():
            raise Killed
        remove_oldest(folder, limit, keep)

    monkeypatch.setattr('mllm.engine.saving.remove_oldest', killed)
    with pytest.raises(Killed):
        make_trainer(tmp_path, preprocessor, tiny, save_total_limit=1, **changes).fit()
    assert left(tmp_path) == ['checkpoint-4', 'checkpoint-6']
    monkeypatch.undo()
    shutil.copytree(tmp_path / 'checkpoint-4', tmp_path / 'checkpoint-2')
    again = make_trainer(tmp_path, preprocessor, tiny, save_total_limit=1, **changes)
    again.fit(resume_from=resume_point(str(tmp_path)))
    assert left(tmp_path) == (['checkpoint-6'] if kept == 6 else ['checkpoint-4', 'checkpoint-6'])


def test_a_checkpoint_named_to_go_on_from_is_not_removed(tmp_path, preprocessor, tiny):
    make_trainer(tmp_path, preprocessor, tiny, max_steps=2).fit()
    named = str(tmp_path / 'checkpoint-2')
    limits = {'save_total_limit': 1, 'resume_from_checkpoint': named}
    make_trainer(tmp_path, preprocessor, tiny, **limits).fit(resume_from=named)
    assert left(tmp_path) == ['checkpoint-2', 'checkpoint-6']


def test_weights_alone(tmp_path, preprocessor, tiny):
    make_trainer(tmp_path, preprocessor, tiny, save_only_model=True, save_total_limit=2).fit()
    assert left(tmp_path) == ['checkpoint-4', 'checkpoint-6']
    for path in checkpoints(str(tmp_path)):
        assert damage(path) is None
        assert not (path / 'optimizer.pt').exists()


def test_a_run_that_fails_is_unfinished(tmp_path, preprocessor, tiny):
    trainer = make_trainer(tmp_path, preprocessor, tiny, losses=(), **BEST)
    with pytest.raises(StopIteration):
        trainer.fit()
    assert is_unfinished(str(tmp_path))


def test_a_fault_while_the_model_is_saved_leaves_the_one_that_was_there(tmp_path, preprocessor, tiny, monkeypatch):
    trainer = make_trainer(tmp_path, preprocessor, tiny)
    trainer.save_model()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}

    def half(model, folder, state_dict):
        Path(folder).mkdir(parents=True)
        Path(folder, 'model.safetensors').write_bytes(b'half')
        raise OSError('no space left')

    monkeypatch.setattr('mllm.engine.saving.save_weights', half)
    with pytest.raises(OSError, match='no space left'):
        trainer.save_model()
    assert {'model.safetensors', 'config.json', 'tokenizer.json'} < before.keys()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_model_saved_elsewhere_is_written_there(tmp_path, preprocessor, tiny):
    trainer = make_trainer(tmp_path / 'out', preprocessor, tiny)
    trainer.save_model(str(tmp_path / 'elsewhere'))
    assert read_folder(str(tmp_path / 'elsewhere')).keys() >= {'lm_head.weight'}
    assert not (tmp_path / 'out' / UNFINISHED).exists()
