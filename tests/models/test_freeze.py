"""Freezing by name pattern, and the table of what learns."""

from typing import Any

import pytest
import torch
from torch import nn

from mllm.models.freeze import apply_freeze, keep_in_evaluation, trainable_rows, trainable_table


class Net(nn.Module):
    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        self.tower = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.words = nn.Linear(2, 3, bias=False)
        self.head = nn.Linear(2, 3, bias=False)
        if tied:
            self.head.weight = self.words.weight


def learning(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize(
    ('freeze', 'tune', 'expected'),
    [
        ([], [], {'tower.0.weight', 'tower.0.bias', 'tower.1.weight', 'tower.1.bias', 'words.weight', 'head.weight'}),
        (['tower'], [], {'words.weight', 'head.weight'}),
        (['*'], ['head'], {'head.weight'}),
        (['tower', '*.weight'], ['tower.1'], {'tower.1.weight', 'tower.1.bias'}),
        (['tower.?.bias', 'words', 'head'], [], {'tower.0.weight', 'tower.1.weight'}),
    ],
)
def test_tune_is_an_exception_from_freeze(freeze: list[str], tune: list[str], expected: set[str]):
    model = Net()
    apply_freeze(model, ['tower'], [])
    apply_freeze(model, freeze, tune)
    assert learning(model) == expected


def test_a_pattern_means_whole_names():
    """'tower' is not a beginning of letters: it does not mean 'tower2', nor 'to' the tower."""
    with pytest.raises(
        ValueError, match=r"'to' matches no parameter.*'wrds' matches no parameter; did you mean 'words'"
    ):
        apply_freeze(Net(), ['to', 'tower'], ['wrds'])


@pytest.mark.parametrize('name', ['words', 'head', 'head.weight'])
def test_a_tied_parameter_goes_by_all_its_names(name: str):
    model = Net(tied=True)
    apply_freeze(model, [name], [])
    assert 'words.weight' not in learning(model)


def test_statistics_of_a_frozen_module_stand_still():
    model = Net()
    keep_in_evaluation(model.tower)
    model.train()
    model.tower(torch.randn(5, 2))
    assert model.words.training
    assert not model.tower[1].training
    assert torch.equal(model.tower[1].running_mean, torch.zeros(2))


def test_the_table_counts_parameters_by_part(build: Any):
    model, _ = build('resnet_lfm2', freeze=['model.multi_modal_projector.pool'])
    rows = {part: (total, learns) for part, total, learns in trainable_rows(model)}
    assert list(rows) == ['vision_tower', 'multi_modal_projector', 'embeddings', 'language_model']
    assert rows['vision_tower'][1] == 0
    assert rows['multi_modal_projector'] == (2 * 16 + 16 * 8 + 8 * 32 + 32, 8 * 32 + 32)
    assert rows['embeddings'] == (115 * 32, 115 * 32)
    assert sum(total for total, _ in rows.values()) == sum(parameter.numel() for parameter in model.parameters())
    untied, _ = build('clip_llama')
    assert [row[0] for row in trainable_rows(untied)][-1] == 'lm_head'
    total = sum(parameter.numel() for parameter in model.parameters())
    text = trainable_table(model)
    assert f'{total:,}' in text
    assert f'{sum(learns for _, learns in rows.values()):,}' in text
