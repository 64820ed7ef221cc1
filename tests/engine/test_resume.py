"""A run that was stopped and started again equals one that never was, bit for bit."""

from types import SimpleNamespace

import pytest
import torch
from transformers import TrainerCallback

from mllm.engine.trainer import MultimodalTrainer

# 14 samples in batches of 2, 2 batches a step: 4 steps an epoch, the last with one batch.
STEPS = 12
SETTINGS = {
    'max_steps': STEPS,
    'per_device_train_batch_size': 2,
    'gradient_accumulation_steps': 2,
    'dataloader_num_workers': 2,
    'lr_scheduler_type': 'cosine',
    'warmup_steps': 3,
    'weight_decay': 0.1,
    'label_smoothing_factor': 0.1,
    'eval_strategy': 'steps',
    'eval_steps': 5,
}


def evaluate(model, evaluation):
    """Leaves its traces: another mode, and a random number drawn."""
    model.eval()
    return {'eval_loss': torch.rand(()).item()}


class Crash(TrainerCallback):
    """Ends the run after a step, as a fault in the middle of it would."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise InterruptedError


def make_trainer(folder, preprocessor, tiny, callbacks=(), seed=0, **changes):
    return MultimodalTrainer(
        model=tiny.model(dropout=0.2, seed=seed),
        args=tiny.args(folder, **SETTINGS | changes),
        preprocessor=preprocessor,
        train_dataset=tiny.dataset(14),
        validation=SimpleNamespace(prefix='eval', dataset=tiny.dataset(1)),
        evaluator=evaluate,
        callbacks=list(callbacks),
    )


def tensors(value):
    """All tensors and numbers of a nested state, as bytes and numbers."""
    if isinstance(value, torch.Tensor):
        return value.numpy().tobytes()
    if isinstance(value, dict):
        return {key: tensors(item) for key, item in value.items()}
    return [tensors(item) for item in value] if isinstance(value, list | tuple) else value


def outcome(trainer):
    logged = [entry for entry in trainer.state.log_history if 'loss' in entry]
    return SimpleNamespace(
        weights=tensors(trainer.model.state_dict()),
        optimizer=tensors(trainer.optimizer.state_dict()),
        schedule=trainer.lr_scheduler.state_dict(),
        random=torch.get_rng_state().numpy().tobytes(),
        steps=[entry['step'] for entry in logged],
        losses=[entry['loss'] for entry in logged],
        norms=[entry['grad_norm'] for entry in logged],
        rates=[entry['learning_rate'] for entry in logged],
    )


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory, preprocessor, tiny):
    trainer = make_trainer(tmp_path_factory.mktemp('undisturbed'), preprocessor, tiny)
    trainer.fit()
    return outcome(trainer)


def stop_and_resume(folder, stop, preprocessor, tiny, **changes):
    """Stop one step after a checkpoint, then go on from it with another model and other random states."""
    changes = {'save_strategy': 'steps', 'save_steps': stop, **changes}
    with pytest.raises(InterruptedError):
        make_trainer(folder, preprocessor, tiny, [Crash(stop + 1)], **changes).fit()
    resumed = make_trainer(folder, preprocessor, tiny, seed=1, **changes)
    torch.manual_seed(99)
    resumed.fit(resume_from=str(folder / f'checkpoint-{stop}'))
    return outcome(resumed)


@pytest.mark.parametrize(
    ('stop', 'workers', 'persistent'),
    [
        pytest.param(6, 2, False, id='in the middle of an epoch'),
        pytest.param(4, 2, True, id='between two epochs'),
        pytest.param(7, 0, False, id='before the last, shorter step of an epoch'),
    ],
)
def test_resume_is_exact(tmp_path, preprocessor, tiny, undisturbed, stop, workers, persistent):
    data = {'dataloader_num_workers': workers, 'dataloader_persistent_workers': persistent}
    result = stop_and_resume(tmp_path, stop, preprocessor, tiny, **data)
    assert result.steps == undisturbed.steps == list(range(1, STEPS + 1))
    assert result.losses[stop] == undisturbed.losses[stop]
    assert result == undisturbed


def test_a_resume_that_loses_weights_would_show(tmp_path, preprocessor, tiny, undisturbed, monkeypatch):
    monkeypatch.setattr('mllm.engine.saving.load_weights', lambda model, folder: None)
    result = stop_and_resume(tmp_path, 6, preprocessor, tiny)
    assert result.losses[:6] == undisturbed.losses[:6]
    assert result.losses[6] != undisturbed.losses[6]


def test_a_checkpoint_of_another_model_stops_the_run(tmp_path, preprocessor, tiny):
    make_trainer(tmp_path, preprocessor, tiny, max_steps=1, save_strategy='steps', save_steps=1).fit()
    trainer = make_trainer(tmp_path, preprocessor, tiny)
    trainer.model.model.multi_modal_projector = torch.nn.Sequential(torch.nn.Linear(32, 32))
    with pytest.raises(ValueError, match=r'unexpected: model\.multi_modal_projector\.bias'):
        trainer.fit(resume_from=str(tmp_path / 'checkpoint-1'))
    assert (tmp_path / 'trainer_state.json').read_text().count('"loss"') == 1  # the first run's history is still there


def test_a_checkpoint_without_optimizer_stops_the_run(tmp_path, preprocessor, tiny):
    changes = {'save_strategy': 'steps', 'save_steps': 1, 'save_only_model': True}
    make_trainer(tmp_path, preprocessor, tiny, max_steps=1, **changes).fit()
    with pytest.raises(ValueError, match=r'optimizer\.pt, scheduler\.pt missing'):
        make_trainer(tmp_path, preprocessor, tiny).fit(resume_from=str(tmp_path / 'checkpoint-1'))


def test_a_finished_run_is_not_trained_any_further(tmp_path, preprocessor, tiny, caplog):
    saving = {'save_strategy': 'steps', 'save_steps': 2}
    first = make_trainer(tmp_path, preprocessor, tiny, max_steps=6, **saving)
    first.fit()
    again = make_trainer(tmp_path, preprocessor, tiny, seed=1, max_steps=6, **saving)
    again.fit(resume_from=str(tmp_path / 'checkpoint-6'))
    assert again.state.global_step == 6
    assert tensors(again.model.state_dict()) == tensors(first.model.state_dict())
    assert [e['step'] for e in again.state.log_history if 'loss' in e] == list(range(1, 7))
    assert not [record for record in caplog.records if record.name.startswith('mllm')]
    longer = make_trainer(tmp_path, preprocessor, tiny, seed=1, max_steps=8, **saving)
    longer.fit(resume_from=str(tmp_path / 'checkpoint-6'))
    assert longer.state.global_step == 8
    assert 'is of a run of 6 steps, this one has 8' in caplog.text
