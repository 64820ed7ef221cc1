"""Stage 9 of a sample's way, when learning: an exponential moving average of the weights (Polyak and Juditsky, 1992).

    average <- d * average + (1 - d) * weights        after every optimiser step n, d = min(decay, (1 + n) / (10 + n))

Evaluations and the final model have the average; training goes on with the weights. A checkpoint holds both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mllm.utils.log import get_logger
from mllm.utils.weight_files import read_file

logger = get_logger(__name__)

AVERAGE_NAME = 'weight_average.safetensors'


class WeightAverage(TrainerCallback):
    """The average of what learns, float32, on the weights' device; 4 bytes for each such parameter."""

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.average: dict[str, Tensor] = {}
        self.resumed: str | None = None
        """Folder of the checkpoint that the run goes on from."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        self.begin(model)
        if self.resumed is not None:
            self.load(self.resumed, model)

    def begin(self, model: nn.Module) -> None:
        self.average = {name: tensor.detach().float().clone() for name, tensor in learning(model).items()}

    @torch.no_grad()
    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        decay = min(self.decay, (1 + state.global_step) / (10 + state.global_step))
        for name, tensor in learning(model).items():
            self.average[name].lerp_(tensor.float(), 1 - decay)

    @torch.no_grad()
    def put_in(self, model: nn.Module) -> None:
        """Replace the weights by their average, for good."""
        for name, tensor in learning(model).items():
            if name in self.average:
                tensor.copy_(self.average[name])

    @contextmanager
    def in_place(self, model: nn.Module) -> Iterator[None]:
        """The average in place of the weights while something is evaluated."""
        kept = {name: tensor.detach().clone() for name, tensor in learning(model).items()}
        self.put_in(model)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, tensor in learning(model).items():
                    tensor.copy_(kept[name])

    def save(self, folder: str) -> None:
        save_file({name: tensor.contiguous() for name, tensor in self.average.items()}, Path(folder, AVERAGE_NAME))

    def load(self, folder: str, model: nn.Module) -> None:
        """Take the average of a checkpoint that `model` has the weights of; where it has none, these stand for it."""
        path = Path(folder, AVERAGE_NAME)
        if not path.is_file():
            logger.warning('%s has no average of the weights: it begins with them', folder)
            self.begin(model)
            return
        device = {name: tensor.device for name, tensor in learning(model).items()}
        self.average = {name: tensor.to(device.get(name, 'cpu')) for name, tensor in read_file(path).items()}


def learning(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
