import math

import pytest
import torch

from mllm.engine.collator import Collator
from mllm.engine.loss import count_supervised, step_counts, supervised_columns, supervised_loss

CPU = torch.device('cpu')


@pytest.fixture
def batch(preprocessor, tiny):
    dataset = tiny.dataset(6)
    return Collator(preprocessor, 'right', training=True)([dataset[0, index] for index in range(6)])


def gradients(model):
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def loss_by_hand(logits, labels, smoothing):
    """-log p of each learnt token given those before it, token by token in double precision, mixed with the uniform."""
    terms = []
    for row, row_labels in zip(logits.double().log_softmax(-1), labels.tolist(), strict=True):
        for position, token in enumerate(row_labels):
            if token != -100 and position > 0:
                predicted = row[position - 1]
                terms.append(-(1 - smoothing) * predicted[token] - smoothing * predicted.mean())
    return torch.stack(terms).sum()


@pytest.mark.parametrize('text', ['llama', 'lfm2'])
@pytest.mark.parametrize('smoothing', [0.0, 0.1])
def test_loss_and_gradients_equal_the_full_computation(tiny, batch, text, smoothing):
    model = tiny.model(text)
    loss, _ = supervised_loss(model, batch, num_items=40, label_smoothing=smoothing)
    loss.backward()
    ours = gradients(model)
    model.zero_grad()
    full = model(**{key: value for key, value in batch.items() if key != 'labels'}).logits
    expected = loss_by_hand(full, batch['labels'], smoothing) / 40
    expected.backward()
    theirs = gradients(model)
    assert abs(loss.item() - expected.item()) <= 1e-6
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-5, atol=1e-6, msg=name)


def test_loss_is_the_one_the_model_itself_computes(tiny, batch):
    model = tiny.model()
    ours, _ = supervised_loss(model, batch, num_items=40)
    assert abs(ours.item() - model(**batch, num_items_in_batch=40).loss.item()) <= 1e-6


def test_only_supervised_positions_reach_the_vocabulary(tiny, batch):
    columns = supervised_columns(batch['labels'])
    _, outputs = supervised_loss(tiny.model(), batch)
    assert outputs.logits.shape[1] == len(columns) < batch['labels'].shape[1] - 1
    expected = {
        position - 1
        for row in batch['labels'].tolist()
        for position, token in enumerate(row)
        if token != -100 and position
    }
    assert columns.tolist() == sorted(expected)


def test_without_num_items_the_loss_is_the_mean_of_the_batch(tiny, batch):
    model = tiny.model()
    total, _ = supervised_loss(model, batch, num_items=1)
    mean, _ = supervised_loss(model, batch)
    assert math.isclose(mean.item(), total.item() / count_supervised(batch['labels']).item(), rel_tol=1e-6)


def test_a_batch_without_supervised_tokens_gives_zero_loss_and_zero_gradients(tiny, batch):
    model = tiny.model()
    batch['labels'][:] = -100
    loss, _ = supervised_loss(model, batch, num_items=count_supervised(batch['labels']))
    loss.backward()
    assert loss.item() == 0.0
    assert all(not gradient.any() for gradient in gradients(model).values())
    assert 'lm_head.weight' in gradients(model)


def test_the_first_token_is_never_learnt():
    labels = torch.tensor([[5, 6, -100], [5, -100, 7]])
    assert count_supervised(labels).item() == 2
    assert supervised_columns(labels).tolist() == [0, 1]


def test_step_counts(preprocessor, tiny, batch):
    dataset = tiny.dataset(6)
    tokens = sum(len(dataset[0, index].input_ids) for index in range(6))
    learnt = sum(label != -100 for index in range(6) for label in dataset[0, index].labels)
    assert step_counts([batch, batch], CPU).tolist() == [2 * learnt, 2 * tokens, 12]
    assert step_counts([], CPU).tolist() == [0, 0, 0]
