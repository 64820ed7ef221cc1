import math
import time
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from mllm.engine import callbacks
from mllm.engine.callbacks import EpochCallback, LossPlotCallback, ThroughputCallback, plot_history, running_mean
from mllm.engine.sampler import EpochSampler


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved."""
    figures = []

    class Kept(Figure):
        def savefig(self, *args, **kwargs):
            figures.append(self)
            super().savefig(*args, **kwargs)

    monkeypatch.setattr(callbacks, 'Figure', Kept)
    return figures


def history(steps):
    """Falling losses and rising accuracies, logged as the trainer does."""
    entries = []
    for step in range(1, steps + 1):
        entries.append({'loss': 2 * math.exp(-step / 40) + 0.1 * math.sin(step), 'learning_rate': 1e-3, 'step': step})
        if step % 20 == 0:
            accuracy = 1 - 0.5 * math.exp(-step / 60)
            interval = {'eval_accuracy_ci_low': accuracy - 0.05, 'eval_accuracy_ci_high': accuracy + 0.04}
            numbers = {'eval_loss': 2.2 * math.exp(-step / 50), 'eval_n': 500, 'eval_accuracy': accuracy}
            entries.append({**numbers, **interval, 'eval_likelihood_accuracy': accuracy + 0.03, 'step': step})
    entries.append({'train_loss': 1.0, 'train_runtime': 3.0, 'step': steps})
    return entries


def test_losses_and_metrics_have_a_panel_each(tmp_path, drawn):
    plot_history(history(100), str(tmp_path / 'loss.png'))
    assert [path.name for path in tmp_path.iterdir()] == ['loss.png']
    legends = [[text.get_text() for text in axis.get_legend().get_texts()] for axis in drawn[0].axes]
    assert legends == [['train_loss', 'eval_loss'], ['eval_accuracy', 'eval_likelihood_accuracy']]
    assert len(drawn[0].axes[1].collections) == 1  # the band of the interval


def test_short_and_empty_histories(tmp_path, drawn):
    plot_history(history(3), str(tmp_path / 'loss.png'))
    assert len(drawn[0].axes) == 1
    plot_history([{'train_loss': 1.0, 'step': 3}], str(tmp_path / 'none.png'))
    assert not (tmp_path / 'none.png').exists()
    plot_history([{'loss': math.nan, 'step': 1}, {'loss': 1.0, 'step': 2}], str(tmp_path / 'nan.png'))
    assert (tmp_path / 'nan.png').is_file()


def test_only_the_first_process_draws(tmp_path):
    state = SimpleNamespace(is_world_process_zero=False, log_history=history(3))
    args = SimpleNamespace(output_dir=str(tmp_path))
    LossPlotCallback().on_save(args, state, None)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
    state.is_world_process_zero = True
    LossPlotCallback().on_save(args, state, None)  # type: ignore[arg-type]
    assert (tmp_path / 'loss.png').is_file()


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=20), st.integers(0, 5))
def test_running_mean(values, reach):
    for i, mean in enumerate(running_mean(values, reach)):
        window = values[max(0, i - reach) : i + reach + 1]
        assert mean == pytest.approx(sum(window) / len(window), abs=1e-9)


def test_throughput_counts_steps_and_waiting_but_not_what_is_between(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(time, 'perf_counter', lambda: clock.now)
    meter = ThroughputCallback()
    assert meter.take() == {}
    for _ in range(2):
        clock.now += 100  # evaluation or saving
        meter.start()
        clock.now += 1
        meter.fetched()
        meter.count(torch.tensor([300, 8]))
        clock.now += 3
        meter.on_step_end(None, None, None)  # type: ignore[arg-type]
    assert meter.take() == {'samples_per_second': 2.0, 'tokens_per_second': 75.0, 'data_wait': 0.25}
    assert meter.take() == {}


@pytest.mark.parametrize(('reached', 'epoch'), [(0, 0), (1.714, 1), (2.0, 2)])
def test_the_sampler_gets_its_epoch(reached, epoch):
    sampler = EpochSampler(4, 0, True)
    EpochCallback(sampler).on_epoch_begin(None, SimpleNamespace(epoch=reached), None)  # type: ignore[arg-type]
    assert sampler.epoch == epoch
