"""Stages 8 to 10 of a sample's way on many steps: `MultimodalTrainer`, whose runs resume exactly.

    (epoch, index) pairs -> samples -> right-padded batches -> loss over all ranks and accumulation steps
    every eval_steps     -> the evaluator given -> metrics -> best checkpoint
    every save_steps     -> checkpoint under live names, optimiser, schedule, random states; loss.png

A run that stopped, at whatever moment, and was started again equals one that never did: sampler and dataset depend
on (epoch, index) alone, skipped batches are skipped by index, weights are loaded strictly, and a checkpoint has its
name only when it is complete.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import Seq2SeqTrainingArguments, TrainerCallback, TrainerState
from transformers.integrations import TensorBoardCallback
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import IntervalStrategy

from mllm.engine.callbacks import (
    LOSS_PLOT,
    EpochCallback,
    LossPlotCallback,
    ThroughputCallback,
    plot_history,
)
from mllm.engine.checkpoint import begin_run, check_resumable, end_run
from mllm.engine.collator import Collator
from mllm.engine.kernels import kernel_faults, liger_options
from mllm.engine.learning_rates import set_learning_rates
from mllm.engine.loss import step_counts, supervised_loss
from mllm.engine.sampler import EpochSampler
from mllm.engine.saving import SavingTrainer
from mllm.engine.weight_average import WeightAverage
from mllm.types import Batch, Preprocessor
from mllm.utils.faults import FaultsError
from mllm.utils.loading import Caught, raise_caught
from mllm.utils.log import get_logger

logger = get_logger(__name__)

LOGGED_APART = ('eval_', 'test_')
"""Beginnings of names that TensorBoard keeps apart from those of training."""

SAMPLING = {'random': True, 'sequential': False}
"""train_sampling_strategy -> whether to shuffle."""


class NamedEvaluation(Protocol):
    """What the trainer needs of an evaluation; the evaluator knows the rest."""

    @property
    def prefix(self) -> str: ...

    @property
    def dataset(self) -> Dataset[Any]: ...


Evaluator = Callable[[Any, Any], dict[str, Any]]
"""(model, evaluation) -> prefixed metrics, the same on every rank; called on all ranks at once."""


class MultimodalTrainer(SavingTrainer):
    """Trains any model whose forward takes `logits_to_keep`, on a dataset that maps (epoch, index) to a `Sample`.

    `validation` is evaluated during training (`eval_strategy`) by `evaluator`, which must return `{prefix}_loss` or
    whatever `metric_for_best_model` names. ValueError lists the arguments that cannot work.
    """

    # compute_loss divides by the tokens of all accumulation steps itself.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: Any,
        args: Seq2SeqTrainingArguments,
        preprocessor: Preprocessor,
        train_dataset: Dataset[Any] | None = None,
        validation: NamedEvaluation | None = None,
        evaluator: Evaluator | None = None,
        callbacks: list[TrainerCallback] | None = None,
        learning_rates: Mapping[str, float] | None = None,
        ema_decay: float | None = None,
    ) -> None:
        check_args(args, model, validation is not None)
        if args.use_liger_kernel:
            args.liger_kernel_config = liger_options(args)
        if args.ddp_find_unused_parameters is None:
            # Layers of an image encoder that no feature comes from have no gradient, and DDP must know. Stock does not
            # look for them with activation checkpointing, for the sake of its reentrant kind, no more the default.
            options = cast(dict[str, Any], args.gradient_checkpointing_kwargs or {})
            reentrant = options.get('use_reentrant', False)
            args.ddp_find_unused_parameters = not reentrant
        self.learning_rates = learning_rates
        self.average = WeightAverage(ema_decay) if ema_decay is not None else None
        self.preprocessor = preprocessor
        self.validation = validation
        self.evaluator = evaluator
        self.throughput = ThroughputCallback()
        self.skipped: set[str] = set()
        own: list[TrainerCallback] = [self.throughput, LossPlotCallback(), *([self.average] if self.average else [])]
        if train_dataset is not None:
            seed = args.seed if args.data_seed is None else args.data_seed
            size = len(train_dataset)  # type: ignore[arg-type]
            self.train_sampler = EpochSampler(size, seed, SAMPLING[args.train_sampling_strategy])
            own.append(EpochCallback(self.train_sampler))
        super().__init__(
            model=model,
            args=args,
            data_collator=Collator(preprocessor, padding_side='right', training=True),
            train_dataset=train_dataset,
            eval_dataset=validation.dataset if validation else None,
            processing_class=preprocessor.tokenizer,
            callbacks=[*own, *(callbacks or [])],
        )
        if self.sharded and ema_decay is not None:
            raise ValueError('training_args.ema_decay: not done for weights in shards (FSDP, DeepSpeed); leave it out')
        for callback in self.callback_handler.callbacks:
            # By default it would write to ./runs where a run only evaluates.
            if isinstance(callback, TensorBoardCallback):
                callback.logging_dir = callback.logging_dir or os.path.join(str(args.output_dir), 'runs')

    # ---- a whole run ----

    def fit(self, resume_from: str | None = None, afresh: bool = False) -> None:
        """Train from the start or from a checkpoint, then save the final (or best) model to `output_dir`.

        An error or Ctrl-C that ends the run leaves the log history and its plot. A finished run is not trained any
        further. `afresh` removes the checkpoints that are in `output_dir`.
        """
        checkpoint = None if self.sharded else resume_from
        if resume_from:
            logger.info('the run continues from %s', resume_from)
        if checkpoint:
            check_resumable(checkpoint, self.args.world_size)
        if self.average:
            self.average.resumed = checkpoint
        if self.args.should_save:
            begin_run(str(self.args.output_dir), afresh)
        try:
            if not (checkpoint and self.load_finished(checkpoint)):
                self.train(resume_from_checkpoint=resume_from)
            if self.average:
                self.average.put_in(cast(nn.Module, self.model))
            self.save_model()
            self.remove_left_over()
        finally:
            self.keep_history()
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            end_run(str(self.args.output_dir))

    def load_finished(self, checkpoint: str) -> bool:
        """Load the outcome of a run that needs no further step, where the stock trainer would make one more."""
        state = TrainerState.load_from_json(os.path.join(checkpoint, TRAINER_STATE_NAME))
        *_, max_steps = self.set_initial_training_values(self.args, self.get_train_dataloader())
        if state.max_steps != max_steps:
            logger.warning(
                '%s is of a run of %d steps, this one has %d: it goes on, with another learning rate schedule',
                checkpoint,
                state.max_steps,
                max_steps,
            )
        if state.global_step < max_steps:
            return False
        logger.info('all %d steps are done; nothing to train after %s', max_steps, checkpoint)
        state.init_training_references(self, max_steps, state.num_train_epochs, None)
        self.state = state
        self.note_best(Path(checkpoint))
        if self.args.load_best_model_at_end and state.best_model_checkpoint:
            self._load_best_model()
        else:
            self._load_from_checkpoint(checkpoint)
            if self.average:
                self.average.load(checkpoint, cast(nn.Module, self.model))
        return True

    def keep_history(self) -> None:
        """Write trainer_state.json and loss.png; a failure here never hides the error that ended the run.

        A run that failed before its first entry leaves those of an earlier run alone.
        """
        if not self.is_world_process_zero() or not self.state.log_history:
            return
        try:
            self.save_state()
            plot_history(self.state.log_history, os.path.join(str(self.args.output_dir), LOSS_PLOT))
        except OSError as error:
            logger.error('the log history could not be written: %s', error)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        super()._save(output_dir, state_dict)
        if not self.args.should_save:
            return
        folder = str(output_dir or self.args.output_dir)
        if self.preprocessor.save is not None:
            self.preprocessor.save(folder)
        if self.average and self.saving:
            self.average.save(folder)

    def _load_best_model(self) -> None:
        super()._load_best_model()
        if self.average:
            self.average.load(str(self.state.best_model_checkpoint), cast(nn.Module, self.model))

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        made = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if made and self.learning_rates:
            set_learning_rates(optimizer, cast(nn.Module, self.model if model is None else model), self.learning_rates)
        return optimizer

    def get_decay_parameter_names(self, model: Any) -> list[str]:
        """Without those that learn in part: decay would shrink the rows that do not."""
        partly = {name for name, one in model.named_parameters(remove_duplicate=False) if one._backward_hooks}
        return [name for name in super().get_decay_parameter_names(model) if name not in partly]

    # ---- data and loss ----

    def get_train_dataloader(self) -> DataLoader[Any]:
        if self.train_dataset is None:
            raise ValueError('there is no training data; give data_args.train')
        args = self.args
        loader = DataLoader(
            Caught(self.train_dataset),  # type: ignore[arg-type]
            batch_size=self._train_batch_size,
            sampler=self.train_sampler,
            collate_fn=self.data_collator,
            drop_last=args.dataloader_drop_last,
            num_workers=args.dataloader_num_workers,
            persistent_workers=args.dataloader_persistent_workers,
            prefetch_factor=args.dataloader_prefetch_factor,
            multiprocessing_context=args.dataloader_multiprocessing_context,
            pin_memory=args.dataloader_pin_memory and args.device.type == 'cuda',
            # Otherwise each new iterator draws from the global generator, which dropout needs as it was: workers
            # that persist have fewer iterators than a run that resumes.
            generator=torch.Generator().manual_seed(args.seed),
        )
        return self.accelerator.prepare(loader)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], Tensor]:
        """The batches of one optimiser step, and its number of supervised tokens over all ranks."""
        self.throughput.start()
        batches = list(itertools.islice(epoch_iterator, num_batches))
        self.throughput.fetched()
        raise_caught(item for batch in batches for item in batch.get('bad', []))
        for batch in batches:
            self.note_skipped(batch.pop('skipped', []))
        counts = step_counts(batches, device)
        if self.args.world_size > 1:
            counts = self.accelerator.reduce(counts, 'sum')
        self.throughput.count(counts[1:])
        return batches, counts[0]

    def compute_loss(
        self,
        model: Any,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Cross entropy per supervised token of the whole optimiser step.

        DDP, FSDP and DeepSpeed average gradients over ranks where a sum is wanted: hence the factor.
        """
        loss, outputs = supervised_loss(model, inputs, num_items_in_batch, self.args.label_smoothing_factor)
        if num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def note_skipped(self, reasons: list[str]) -> None:
        """Log each reason once, on the rank that met it."""
        for reason in reasons:
            if reason not in self.skipped:
                self.skipped.add(reason)
                logger.warning('left out of training: %s', reason)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if 'loss' in logs:
            logs = {**logs, **self.throughput.take()}
            if self.skipped:
                logs['skipped_samples'] = len(self.skipped)
        super().log(logs, start_time)

    # ---- evaluation ----

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = 'eval', **_: Any
    ) -> dict[str, Any]:
        """Evaluate `validation`; this is what `eval_strategy` calls."""
        if self.validation is None or eval_dataset is not None:
            raise ValueError('evaluate() takes the validation data given at the start; for others use evaluate_named')
        metrics = self.evaluate_named(self.validation)
        wanted = self.args.metric_for_best_model
        if wanted and f'eval_{wanted.removeprefix("eval_")}' not in metrics:
            names = ', '.join(key.removeprefix('eval_') for key in metrics)
            raise FaultsError([f'training_args.metric_for_best_model: no {wanted!r} in evaluation; there are: {names}'])
        return metrics

    def evaluate_named(self, evaluation: NamedEvaluation) -> dict[str, Any]:
        """Run one evaluation, log its numbers and tell the callbacks."""
        if self.evaluator is None:
            raise ValueError('MultimodalTrainer was made without an evaluator')
        # A model that was trained has this in its forward; one that is only evaluated must compute alike.
        average = self.average.in_place(cast(nn.Module, self.model)) if self.average else nullcontext()
        with average, self.accelerator.autocast():
            metrics = self.evaluator(self.model, evaluation)
        numbers = {key: value for key, value in metrics.items() if isinstance(value, int | float)}
        self.log({key if key.startswith(LOGGED_APART) else f'test_{key}': value for key, value in numbers.items()})
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def check_args(args: Seq2SeqTrainingArguments, model: Any, has_validation: bool) -> None:
    """ValueError that lists the training arguments this trainer cannot honour."""
    faults = [*kernel_faults(model, args)]
    if args.n_gpu > 1:
        faults.append(
            f'one process sees {args.n_gpu} GPUs; start with `accelerate launch --num_processes {args.n_gpu}`, '
            'or set CUDA_VISIBLE_DEVICES to one of them'
        )
    if args.train_sampling_strategy not in SAMPLING:
        faults.append(f"train_sampling_strategy is {args.train_sampling_strategy!r}; write 'random' or 'sequential'")
    if not args.average_tokens_across_devices:
        faults.append('average_tokens_across_devices is False; the loss is per token over all ranks, leave it out')
    if args.use_cpu and args.fp16:
        faults.append('fp16 is computed on GPUs only; write bf16, or leave it out')
    faults += [
        f'{name} is not done: weights stay as they are; write {name.split("_")[0]}=True to compute in it'
        for name in ('fp16_full_eval', 'bf16_full_eval')
        if getattr(args, name)
    ]
    if args.eval_strategy != 'no' and not has_validation:
        strategy = IntervalStrategy(args.eval_strategy).value
        faults.append(f'eval_strategy is {strategy!r} without validation data; give data_args.validation')
    if faults:
        raise ValueError('training_args:\n' + '\n'.join(f'  {fault}' for fault in faults))
