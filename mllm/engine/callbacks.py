"""What watches training: throughput, the curve in loss.png, and the sampler's epoch."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mllm.engine.sampler import EpochSampler

LOSS_PLOT = 'loss.png'
NOT_PLOTTED = ('runtime', 'samples_per_second', 'steps_per_second', 'skipped')
"""Endings of evaluation entries that say nothing about the model."""


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
    losses = curves(history, lambda key: key == 'loss' or (key.endswith('_loss') and key != 'train_loss'))
    metrics = curves(history, lambda key: key.startswith('eval_') and not key.endswith(('_loss', *NOT_PLOTTED)))
    panels = [(title, lines) for title, lines in (('loss', losses), ('evaluation', metrics)) if lines]
    if not panels:
        return
    figure = Figure(figsize=(8, 1.2 + 3.4 * len(panels)), layout='constrained')
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (title, lines) in zip(axes, panels, strict=True):
        for name, points in lines.items():
            draw_curve(axis, name, points)
        finish(axis, title, max_lines=len(lines))
    axes[-1].set_xlabel('optimiser steps')
    part = f'{path}.part'
    figure.savefig(part, dpi=120, format='png')
    os.replace(part, path)


def curves(history: Sequence[Mapping[str, Any]], wanted: Any) -> dict[str, list[tuple[int, float]]]:
    """Points (step, value) of each wanted numeric entry, in the order they were logged."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for entry in history:
        for key, value in entry.items():
            if wanted(key) and isinstance(value, int | float):
                lines.setdefault(key, []).append((entry['step'], value))
    return lines


def draw_curve(axis: Axes, name: str, points: Sequence[tuple[int, float]]) -> None:
    """One line; the training loss as a faint line under its running mean, evaluation with markers."""
    steps, values = zip(*points, strict=True)
    label = 'train' if name == 'loss' else name
    if name == 'loss' and len(values) >= 20:
        (line,) = axis.plot(steps, values, linewidth=0.8, alpha=0.3)
        axis.plot(steps, running_mean(values, len(values) // 20), color=line.get_color(), linewidth=1.6, label=label)
    else:
        marker = None if name == 'loss' and len(values) > 1 else 'o'
        axis.plot(steps, values, linewidth=1.6, marker=marker, markersize=4, label=label)


def running_mean(values: Sequence[float], reach: int) -> list[float]:
    """Mean over up to `reach` values before and after each."""
    sums = list(itertools.accumulate(values, initial=0.0))
    bounds = [(max(0, i - reach), min(len(values), i + reach + 1)) for i in range(len(values))]
    return [(sums[stop] - sums[start]) / (stop - start) for start, stop in bounds]


def finish(axis: Axes, title: str, max_lines: int) -> None:
    axis.set_ylabel(title)
    axis.grid(alpha=0.25)
    axis.spines[['top', 'right']].set_visible(False)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(frameon=False, fontsize=8, ncols=1 if max_lines <= 6 else 2)
