"""The moving average of the weights: by hand, in evaluation, in the final model, and after a resumption."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from mllm.engine.trainer import MultimodalTrainer

DECAY = 0.5


class Watch(TrainerCallback):
    """Keeps the weights of every step."""

    def __init__(self):
        self.steps = []

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        self.steps.append({name: tensor.detach().clone() for name, tensor in model.named_parameters()})

    on_step_end = on_train_begin


def make_trainer(folder, preprocessor, tiny, watch=None, decay=DECAY, evaluate=None, **changes):
    return MultimodalTrainer(
        model=tiny.model(dropout=0.1),
        args=tiny.args(folder, **{'max_steps': 6, 'save_strategy': 'steps', 'save_steps': 3, **changes}),
        preprocessor=preprocessor,
        train_dataset=tiny.dataset(14),
        validation=SimpleNamespace(prefix='eval', dataset=tiny.dataset(1)),
        evaluator=evaluate,
        callbacks=[watch] if watch else [],
        ema_decay=decay,
    )


def by_hand(steps):
    average = {name: tensor.clone() for name, tensor in steps[0].items()}
    for number, weights in enumerate(steps[1:], start=1):
        decay = min(DECAY, (1 + number) / (10 + number))
        average = {name: decay * average[name] + (1 - decay) * weights[name] for name in average}
    return average


def test_the_final_model_and_evaluations_have_the_average(preprocessor, tiny, tmp_path):
    seen = []

    def evaluate(model, evaluation):
        seen.append({name: tensor.detach().clone() for name, tensor in model.named_parameters()})
        return {'eval_loss': 0.0}

    watch = Watch()
    settings = {'eval_strategy': 'steps', 'eval_steps': 2}
    make_trainer(tmp_path, preprocessor, tiny, watch, evaluate=evaluate, **settings).fit()
    final = load_file(tmp_path / 'model.safetensors')
    for name, tensor in by_hand(watch.steps).items():
        torch.testing.assert_close(final[name], tensor)
        torch.testing.assert_close(seen[0][name], by_hand(watch.steps[:3])[name])
    # Training goes on with the weights, not with their average.
    plain = Watch()
    make_trainer(tmp_path / 'plain', preprocessor, tiny, plain, decay=None).fit()
    assert all(torch.equal(watch.steps[-1][name], plain.steps[-1][name]) for name in plain.steps[-1])
    assert not (tmp_path / 'plain' / 'checkpoint-3' / 'weight_average.safetensors').exists()


def test_a_run_that_resumes_has_the_same_average(preprocessor, tiny, tmp_path):
    make_trainer(tmp_path / 'whole', preprocessor, tiny).fit()
    make_trainer(tmp_path / 'cut', preprocessor, tiny).fit()
    for path in ('model.safetensors', 'checkpoint-6'):
        target = tmp_path / 'cut' / path
        target.unlink() if target.is_file() else target.rename(tmp_path / 'gone')
    make_trainer(tmp_path / 'cut', preprocessor, tiny).fit(str(tmp_path / 'cut' / 'checkpoint-3'))
    whole, cut = (load_file(tmp_path / run / 'model.safetensors') for run in ('whole', 'cut'))
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    # A finished run is not averaged any further.
    make_trainer(tmp_path / 'cut', preprocessor, tiny).fit(str(tmp_path / 'cut' / 'checkpoint-6'))
    again = load_file(tmp_path / 'cut' / 'model.safetensors')
    assert all(torch.equal(whole[name], again[name]) for name in whole)


@pytest.mark.parametrize('best', [3, 6])
def test_the_best_checkpoint_gives_its_average(preprocessor, tiny, tmp_path, best):
    count = iter([3, 6])
    evaluate = lambda model, evaluation: {'eval_loss': float(next(count) != best)}  # noqa: E731
    settings = {'eval_strategy': 'steps', 'eval_steps': 3, 'load_best_model_at_end': True}
    make_trainer(tmp_path, preprocessor, tiny, evaluate=evaluate, **settings).fit()
    final = load_file(tmp_path / 'model.safetensors')
    average = load_file(tmp_path / f'checkpoint-{best}' / 'weight_average.safetensors')
    assert all(torch.equal(final[name], tensor) for name, tensor in average.items())
