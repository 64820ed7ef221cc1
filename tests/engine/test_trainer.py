import json
import logging
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from mllm.engine.loss import supervised_loss
from mllm.engine.trainer import MultimodalTrainer
from mllm.types import Sample
from mllm.utils.faults import FaultsError


def make_trainer(folder, preprocessor, tiny, **changes):
    names = ('model', 'train_dataset', 'validation', 'evaluator', 'callbacks')
    parts = {'model': tiny.model(), 'train_dataset': tiny.dataset(12)}
    parts |= {name: changes.pop(name) for name in names if name in changes}
    return MultimodalTrainer(args=tiny.args(folder, **changes), preprocessor=preprocessor, **parts)


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_it_learns_and_saves_the_final_model(tmp_path, preprocessor, tiny):
    trainer = make_trainer(tmp_path, preprocessor, tiny, max_steps=12)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    trainer.fit()
    losses = [entry['loss'] for entry in trainer.state.log_history if 'loss' in entry]
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])
    saved = load_file(tmp_path / 'model.safetensors')
    assert saved.keys() == before.keys()
    assert same(saved, trainer.model.state_dict())
    assert not same(saved, before)
    assert (tmp_path / 'tokenizer.json').is_file()
    assert (tmp_path / 'loss.png').read_bytes().startswith(b'\x89PNG')
    assert json.loads((tmp_path / 'trainer_state.json').read_text())['global_step'] == 12


def test_training_batches_are_padded_on_the_right_in_the_sampler_s_order(tmp_path, preprocessor, tiny):
    trainer = make_trainer(tmp_path, preprocessor, tiny)
    batches = list(trainer.get_train_dataloader())
    assert all(batch['attention_mask'][:, 0].all() for batch in batches)
    assert any(not batch['attention_mask'].all() for batch in batches)
    rows = [ids[mask.bool()].tolist() for b in batches for ids, mask in zip(b['input_ids'], b['attention_mask'])]
    assert rows == [trainer.train_dataset[pair].input_ids for pair in trainer.train_sampler]


def test_the_order_has_a_seed_of_its_own_and_the_last_batch_can_be_dropped(tmp_path, preprocessor, tiny):
    trainer = make_trainer(tmp_path, preprocessor, tiny, data_seed=7, dataloader_drop_last=True, seed=1)
    assert trainer.train_sampler.seed == 7
    loader = trainer.get_train_dataloader()
    assert len(loader) == len(trainer.train_dataset) // trainer.args.per_device_train_batch_size
    assert {len(batch['input_ids']) for batch in loader} == {trainer.args.per_device_train_batch_size}


def test_accumulation_normalises_by_the_tokens_of_the_whole_step(tmp_path, preprocessor, tiny):
    """One step over 3 unequal micro-batches has the gradient of one batch of all samples."""
    gradients = {}

    class Keep(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model, **kwargs):
            gradients.update({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})

    trainer = make_trainer(
        tmp_path,
        preprocessor,
        tiny,
        callbacks=[Keep()],
        max_steps=1,
        gradient_accumulation_steps=3,
        max_grad_norm=0.0,
        label_smoothing_factor=0.1,
    )
    trainer.fit()
    model = tiny.model()
    samples = [trainer.train_dataset[pair] for pair in trainer.train_sampler]
    loss, _ = supervised_loss(model, trainer.data_collator(samples), label_smoothing=0.1)
    loss.backward()
    expected = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert gradients.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-5, atol=1e-6, msg=name)
    assert trainer.state.log_history[0]['loss'] == pytest.approx(loss.item(), abs=1e-6)


def test_a_number_that_evaluation_does_not_give_cannot_choose_the_best(tmp_path, preprocessor, tiny):
    validation = SimpleNamespace(prefix='eval', dataset=tiny.dataset(2))
    trainer = make_trainer(
        tmp_path,
        preprocessor,
        tiny,
        validation=validation,
        evaluator=lambda model, evaluation: {'eval_loss': 1.0, 'eval_accuracy': 0.5},
        metric_for_best_model='acuracy',
        eval_strategy='steps',
        eval_steps=1,
        max_steps=2,
    )
    with pytest.raises(
        FaultsError, match="metric_for_best_model: no 'acuracy' in evaluation; there are: loss, accuracy"
    ):
        trainer.fit()


def test_evaluation_during_training_chooses_the_best_checkpoint(tmp_path, preprocessor, tiny):
    validation = SimpleNamespace(prefix='eval', dataset=tiny.dataset(2))
    accuracies = iter([0.2, 0.9, 0.4])
    seen = []

    def evaluator(model, evaluation):
        seen.append((model, evaluation))
        return {'eval_loss': 1.0, 'eval_accuracy': next(accuracies), 'eval_note': 'text'}

    class Listen(TrainerCallback):
        metrics = []

        def on_evaluate(self, args, state, control, metrics, **kwargs):
            self.metrics.append(metrics['eval_accuracy'])

    trainer = make_trainer(
        tmp_path,
        preprocessor,
        tiny,
        validation=validation,
        evaluator=evaluator,
        callbacks=[Listen()],
        max_steps=3,
        eval_strategy='steps',
        eval_steps=1,
        save_strategy='steps',
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model='accuracy',
        greater_is_better=True,
    )
    trainer.fit()
    assert seen == [(trainer.model, validation)] * 3
    assert Listen.metrics == [0.2, 0.9, 0.4]
    assert [e['eval_accuracy'] for e in trainer.state.log_history if 'eval_accuracy' in e] == [0.2, 0.9, 0.4]
    assert trainer.state.best_model_checkpoint == str(tmp_path / 'checkpoint-2')
    best, last = (load_file(tmp_path / f'checkpoint-{step}' / 'model.safetensors') for step in (2, 3))
    assert not same(best, last)
    assert same(best, trainer.model.state_dict())
    assert same(best, load_file(tmp_path / 'model.safetensors'))


def test_evaluate_named(tmp_path, preprocessor, tiny):
    evaluation = SimpleNamespace(prefix='test', dataset=tiny.dataset(2))
    trainer = make_trainer(tmp_path, preprocessor, tiny, evaluator=lambda model, _: {'test_accuracy': 0.5})
    assert trainer.evaluate_named(evaluation) == {'test_accuracy': 0.5}
    assert trainer.state.log_history == [{'test_accuracy': 0.5, 'epoch': 0, 'step': 0}]
    with pytest.raises(ValueError, match='evaluate_named'):
        trainer.evaluate()
    with pytest.raises(ValueError, match='without an evaluator'):
        make_trainer(tmp_path, preprocessor, tiny).evaluate_named(evaluation)


def test_throughput_and_tensorboard(tmp_path, preprocessor, tiny):
    trainer = make_trainer(tmp_path, preprocessor, tiny, max_steps=3, logging_steps=3, report_to='tensorboard')
    trainer.fit()
    entry = trainer.state.log_history[0]
    tokens = sum(len(trainer.train_dataset[pair].input_ids) for pair in trainer.train_sampler)
    assert entry['tokens_per_second'] / entry['samples_per_second'] == pytest.approx(tokens / 12, rel=0.01)
    assert 0 < entry['data_wait'] < 1
    (events,) = tmp_path.glob('runs/events.out.tfevents.*')
    assert b'train/tokens_per_second' in events.read_bytes()


def test_tensorboard_of_a_run_that_only_evaluates(tmp_path, preprocessor, tiny, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parts = {'evaluator': lambda model, _: {'test_accuracy': 0.5}, 'report_to': 'tensorboard'}
    trainer = make_trainer(tmp_path / 'out', preprocessor, tiny, **parts)
    trainer.evaluate_named(SimpleNamespace(prefix='test', dataset=tiny.dataset(2)))
    assert list(tmp_path.glob('out/runs/events.out.tfevents.*'))
    assert not (tmp_path / 'runs').exists()


class FailingDataset:
    """Good for the first epoch, then not."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, key):
        if key[0] == 1:
            raise ValueError('train.jsonl:3: image is missing')
        return self.dataset[key]


@pytest.mark.parametrize('disk_full', [False, True])
def test_a_crash_keeps_what_was_written_and_its_own_error(tmp_path, preprocessor, tiny, disk_full, monkeypatch, caplog):
    dataset = FailingDataset(tiny.dataset(12))
    trainer = make_trainer(
        tmp_path, preprocessor, tiny, train_dataset=dataset, max_steps=9, save_strategy='steps', save_steps=2
    )
    if disk_full:
        monkeypatch.setattr(trainer, 'save_state', (tmp_path / 'no' / 'such' / 'folder').read_text)
    with pytest.raises(ValueError, match=r'train\.jsonl:3'):
        trainer.fit()
    assert (tmp_path / 'checkpoint-2' / 'model.safetensors').is_file()
    if disk_full:
        assert 'the log history could not be written' in caplog.text
    else:
        assert len(json.loads((tmp_path / 'trainer_state.json').read_text())['log_history']) == 3
        assert (tmp_path / 'loss.png').is_file()


class SkippingDataset:
    """Every sample has taken the place of a bad one."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, key) -> Sample:
        sample = self.dataset[key]
        sample.meta['skipped'] = [f'row {key[1] % 2} is bad']
        return sample


def test_skipped_samples_are_counted_and_listed_once(tmp_path, preprocessor, tiny, caplog):
    dataset = SkippingDataset(tiny.dataset(12))
    with caplog.at_level(logging.WARNING):
        trainer = make_trainer(tmp_path, preprocessor, tiny, train_dataset=dataset, max_steps=6)
        trainer.fit()
    assert caplog.text.count('left out of training: row 0 is bad') == 1
    assert caplog.text.count('left out of training: row 1 is bad') == 1
    assert [e['skipped_samples'] for e in trainer.state.log_history if 'loss' in e][-1] == 2


@pytest.mark.parametrize('text', ['llama', 'lfm2'])
def test_norms_and_biases_are_not_decayed(tmp_path, preprocessor, tiny, text):
    trainer = make_trainer(tmp_path, preprocessor, tiny, model=tiny.model(text), weight_decay=0.1)
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    groups = {group['weight_decay']: group['params'] for group in trainer.create_optimizer().param_groups}
    decayed = {names[id(parameter)] for parameter in groups[0.1]}
    spared = {names[id(parameter)] for parameter in groups[0.0]}
    assert decayed | spared == set(names.values())
    assert all(parameter.ndim == 1 for parameter in groups[0.0])
    # The one 1-d weight that is decayed, as in CLIP's own training.
    assert {names[id(p)] for p in groups[0.1] if p.ndim == 1} == {'model.vision_tower.embeddings.class_embedding'}


def test_arguments_that_cannot_work_are_listed_together(tmp_path, preprocessor, tiny):
    with pytest.raises(ValueError, match='training_args') as error:
        make_trainer(
            tmp_path,
            preprocessor,
            tiny,
            train_sampling_strategy='group_by_length',
            average_tokens_across_devices=False,
            eval_strategy='steps',
            eval_steps=1,
        )
    for name in ('train_sampling_strategy', 'average_tokens_across_devices', "eval_strategy is 'steps'"):
        assert name in str(error.value)


def test_sequential_order_and_missing_training_data(tmp_path, preprocessor, tiny):
    trainer = make_trainer(tmp_path, preprocessor, tiny, train_sampling_strategy='sequential')
    assert [index for _, index in trainer.train_sampler] == list(range(12))
    with pytest.raises(ValueError, match=r'data_args\.train'):
        make_trainer(tmp_path, preprocessor, tiny, train_dataset=None).get_train_dataloader()
