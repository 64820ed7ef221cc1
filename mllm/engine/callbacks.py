"""What watches training: throughput, the curve in loss.png, and the sampler's epoch."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mllm.engine.sampler import EpochSampler
from mllm.utils.files import replacing

LOSS_PLOT = 'loss.png'
SMOOTHED_FROM = 30
"""Training losses this many or more are drawn with their running mean."""
NOT_PLOTTED = ('_n', '_parse_failures', '_skipped', '_runtime', '_samples_per_second', '_ci_low', '_ci_high')
"""Endings of evaluation entries that are not curves of their own; intervals become bands."""


class EpochCallback(TrainerCallback):
    """Tells the sampler its epoch; with two ranks accelerate does not where it skips the first batches."""

    def __init__(self, sampler: EpochSampler) -> None:
        self.sampler = sampler

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.sampler.set_epoch(int(state.epoch))


class ThroughputCallback(TrainerCallback):
    """Samples and tokens per second of training steps; evaluation and saving do not count.

    The trainer calls `start` before it fetches the batches of a step, and `fetched` after.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.started = time.perf_counter()
        self.seconds = 0.0
        self.waited = 0.0
        self.counts: Tensor | None = None

    def start(self) -> None:
        self.started = time.perf_counter()

    def fetched(self) -> None:
        self.waited += time.perf_counter() - self.started

    def count(self, tokens_and_samples: Tensor) -> None:
        """Add tokens without padding and samples [2] of one step over all ranks; stays on its device until logged."""
        self.counts = tokens_and_samples if self.counts is None else self.counts + tokens_and_samples

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.seconds += time.perf_counter() - self.started

    def take(self) -> dict[str, float]:
        """Entries for the log since the last call: rates over all ranks, and the share of time waited for data."""
        if self.counts is None or not self.seconds:
            return {}
        tokens, samples = self.counts.tolist()
        rates = {
            'samples_per_second': round(samples / self.seconds, 2),
            'tokens_per_second': round(tokens / self.seconds, 1),
            'data_wait': round(self.waited / self.seconds, 4),
        }
        self.reset()
        return rates


class LossPlotCallback(TrainerCallback):
    """Draws `loss.png` in the output folder at each save; the trainer draws it once more when a run ends."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            plot_history(state.log_history, os.path.join(str(args.output_dir), LOSS_PLOT))


def plot_history(history: Sequence[Mapping[str, Any]], path: str) -> None:
    """Draw a `log_history` to a png: losses above, evaluation metrics below; nothing where there is nothing to draw."""
    lines = curves(history)
    losses = [name for name in lines if name == 'loss' or name.endswith('_loss')]
    metrics = [name for name in lines if name.startswith('eval_') and not name.endswith(('_loss', *NOT_PLOTTED))]
    panels = [(title, names) for title, names in (('loss', losses), ('evaluation', metrics)) if names]
    if not panels:
        return
    figure = Figure(figsize=(8, 1 + 3.2 * len(panels)), layout='constrained')
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (title, names) in zip(axes, panels, strict=True):
        for name in names:
            draw_curve(axis, name, lines)
        finish(axis, title)
    axes[-1].set_xlabel('optimiser steps')
    with replacing(Path(path)) as part:
        figure.savefig(part, dpi=120, format='png')


def curves(history: Sequence[Mapping[str, Any]]) -> dict[str, tuple[list[int], list[float]]]:
    """(steps, values) of each numeric entry, in the order they were logged; not the summary at a run's end."""
    lines: dict[str, tuple[list[int], list[float]]] = {}
    for entry in history:
        for key, value in entry.items():
            if isinstance(value, int | float) and not key.startswith('train_'):
                steps, values = lines.setdefault(key, ([], []))
                steps.append(entry['step'])
                values.append(value)
    return lines


def draw_curve(axis: Axes, name: str, lines: Mapping[str, tuple[list[int], list[float]]]) -> None:
    """One line: the training loss faint under its running mean, a metric with markers and its confidence band."""
    steps, values = lines[name]
    label = 'train_loss' if name == 'loss' else name
    if name == 'loss' and len(values) >= SMOOTHED_FROM:
        (line,) = axis.plot(steps, values, linewidth=0.8, alpha=0.3)
        smooth = running_mean(values, len(values) // SMOOTHED_FROM)
        axis.plot(steps, smooth, color=line.get_color(), linewidth=1.8, label=label)
        return
    (line,) = axis.plot(steps, values, linewidth=1.8, marker='o', markersize=3.5, label=label)
    low, high = lines.get(f'{name}_ci_low'), lines.get(f'{name}_ci_high')
    if low and high and low[0] == high[0] == steps:
        axis.fill_between(steps, low[1], high[1], color=line.get_color(), alpha=0.12, linewidth=0)


def running_mean(values: Sequence[float], reach: int) -> list[float]:
    """Mean over up to `reach` values before and after each; one NaN spoils no more than its surroundings."""
    window, inside = np.ones(2 * reach + 1), slice(reach, reach + len(values))
    counts = np.convolve(np.ones(len(values)), window)[inside]
    return (np.convolve(values, window)[inside] / counts).tolist()


def finish(axis: Axes, title: str) -> None:
    axis.set_ylabel(title)
    axis.grid(alpha=0.25)
    axis.spines[['top', 'right']].set_visible(False)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(frameon=False, fontsize=8)
