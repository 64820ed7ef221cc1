"""The `training_args` section: what Hugging Face has, and what this project adds; before stage 1."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, get_type_hints

from transformers import Seq2SeqTrainingArguments
from transformers.training_args import ParallelismConfig


@dataclass
class TrainingArguments(Seq2SeqTrainingArguments):
    """`Seq2SeqTrainingArguments` with this project's defaults and a few fields more.

    do_multi_predict      evaluate every dataset of `data_args.multitest`
    overwrite_output_dir  start afresh in a folder that holds another run; that run's checkpoints are removed
    lr_by_part            {name pattern: learning rate} of parts that learn at another rate than `learning_rate`
    ema_decay             evaluate and save an exponential moving average of the weights; None: the weights themselves
    """

    do_multi_predict: bool = field(default=False, metadata={'help': 'Evaluate every dataset of data_args.multitest.'})
    overwrite_output_dir: bool = field(
        default=False,
        metadata={'help': 'Start afresh in an output_dir that holds another run, and remove its checkpoints.'},
    )
    # The collator reads columns that the model's forward does not name.
    remove_unused_columns: bool = field(default=False, metadata={'help': 'Kept False: samples are not columns.'})
    predict_with_generate: bool = field(default=True, metadata={'help': 'Evaluation generates answers.'})
    # The parser of flags takes the type in second place.
    report_to: None | str | list[str] = field(  # noqa: RUF036
        default='tensorboard', metadata={'help': 'Where logs go besides the console, e.g. tensorboard, wandb, none.'}
    )
    logging_steps: float = field(default=10, metadata={'help': 'Log every so many steps; below 1: share of all steps.'})
    lr_by_part: dict | str | None = field(
        default=None, metadata={'help': 'JSON of learning rates by name pattern, for parts with a rate of their own.'}
    )
    ema_decay: float | None = field(default=None, metadata={'help': 'Decay of a moving average of the weights.'})
    # Hugging Face types these two so that they cannot be given as flags.
    liger_kernel_config: dict | str | None = field(default=None, metadata={'help': 'JSON for the Liger kernels.'})
    parallelism_config: dict | str | None = field(
        default=None, metadata={'help': "JSON for accelerate's ParallelismConfig, e.g. '{\"tp_size\": 2}'."}
    )

    _VALID_DICT_FIELDS: ClassVar[list[str]] = [
        *Seq2SeqTrainingArguments._VALID_DICT_FIELDS,
        'liger_kernel_config',
        'lr_by_part',
    ]

    def __post_init__(self) -> None:
        if isinstance(self.parallelism_config, str):
            self.parallelism_config = json.loads(self.parallelism_config)
        if isinstance(self.parallelism_config, dict):
            self.parallelism_config = ParallelismConfig(**self.parallelism_config)  # type: ignore[assignment]
        super().__post_init__()


def training_hints() -> dict[str, Any]:
    """Name and type of every field that may be set."""
    types = get_type_hints(TrainingArguments)
    hints = {}
    for item in fields(TrainingArguments):
        if item.init:
            choices = item.metadata.get('choices')
            hints[item.name] = Literal[(*choices, item.default)] if choices else types[item.name]
    # transformers calls a string here deprecated and asks for True, but has not widened the type.
    return {**hints, 'fsdp': bool | str | list | None}
