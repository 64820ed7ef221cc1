"""Parts of a model learn at the rates that are given for them, and the schedule scales them alike."""

import pytest
import torch

from mllm.engine.trainer import MultimodalTrainer
from mllm.utils.faults import FaultsError

TOWER, HEAD = 'model.vision_tower', 'lm_head'


def make_trainer(folder, preprocessor, tiny, rates, **changes):
    return MultimodalTrainer(
        model=tiny.model(),
        args=tiny.args(folder, **changes),
        preprocessor=preprocessor,
        train_dataset=tiny.dataset(14),
        learning_rates=rates,
    )


def rates_of(trainer):
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    return {names[id(p)]: (g['lr'], g['weight_decay']) for g in trainer.optimizer.param_groups for p in g['params']}


def test_each_parameter_has_the_rate_of_the_last_pattern_it_matches(preprocessor, tiny, tmp_path):
    rates = {TOWER: 1e-4, '*layer_norm*': 5e-4, HEAD: 2e-3}
    trainer = make_trainer(tmp_path, preprocessor, tiny, rates, learning_rate=1e-3, weight_decay=0.1)
    trainer.create_optimizer()
    found = rates_of(trainer)
    assert found.keys() == {name for name, p in trainer.model.named_parameters() if p.requires_grad}
    for name, (rate, decay) in found.items():
        part = 2e-3 if name.startswith(HEAD) else 1e-4 if name.startswith(TOWER) else 1e-3
        assert rate == (5e-4 if 'layer_norm' in name else part), name
        assert decay == (0.0 if 'norm' in name or name.endswith('bias') else 0.1) or 'embed' in name
    assert trainer.optimizer.param_groups[0]['lr'] == 1e-3


def test_a_rate_of_zero_leaves_a_part_as_it_is_and_the_schedule_scales_the_others(preprocessor, tiny, tmp_path):
    trainer = make_trainer(
        tmp_path, preprocessor, tiny, {TOWER: 0.0, HEAD: 1e-4}, learning_rate=1e-3, lr_scheduler_type='linear'
    )
    before = {name: tensor.clone() for name, tensor in trainer.model.named_parameters()}
    trainer.train()
    for name, tensor in trainer.model.named_parameters():
        # What no feature comes from has no gradient either.
        unused = 'post_layernorm' in name or 'encoder.layers.1' in name
        assert torch.equal(tensor, before[name]) == name.startswith(TOWER) or unused, name
    last = trainer.lr_scheduler.get_last_lr()
    assert sorted(set(last)) == [0.0]
    half = make_trainer(tmp_path, preprocessor, tiny, {HEAD: 1e-4}, learning_rate=1e-3, warmup_steps=2, max_steps=4)
    half.create_optimizer_and_scheduler(4)
    half.lr_scheduler.step()
    assert sorted(set(half.lr_scheduler.get_last_lr())) == [5e-5, 5e-4]


def test_a_pattern_of_which_nothing_learns_is_named(preprocessor, tiny, tmp_path):
    trainer = make_trainer(tmp_path, preprocessor, tiny, {'model.vision_towre': 1e-4})
    with pytest.raises(FaultsError, match=r"nothing that learns matches 'model\.vision_towre'"):
        trainer.create_optimizer()


def test_decay_leaves_rows_alone_that_do_not_learn(preprocessor, tiny, tmp_path):
    trainer = make_trainer(tmp_path, preprocessor, tiny, None, learning_rate=1e-2, weight_decay=0.5)
    weight = trainer.model.get_input_embeddings().weight
    before = weight.detach().clone()
    learns = torch.zeros(len(weight), 1)
    learns[: len(weight) // 2] = 1
    weight.register_hook(lambda gradient: gradient * learns)
    trainer.train()
    changed = (weight != before).any(1)
    assert changed.any()
    assert not changed[learns[:, 0] == 0].any()
