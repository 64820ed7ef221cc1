"""After some of stage 10's steps: `SavingTrainer`, a `Seq2SeqTrainer` whose checkpoints and models are whole or absent.

`engine/checkpoint.py` shows how they come to be; here is what stock saves, where, and when all ranks are done with it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import Seq2SeqTrainer
from transformers.trainer import TRAINER_STATE_NAME, TRAINING_ARGS_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from mllm.engine.checkpoint import UNFINISHED, check_undamaged, checkpoints, move_model, publish, remove_oldest
from mllm.utils.files import replacing
from mllm.utils.weights import load_weights, save_weights


class SavingTrainer(Seq2SeqTrainer):
    """Saves under live names and loads strictly. A checkpoint has its name only when it is complete on the disk."""

    saving = False
    """Whether a checkpoint is being written."""

    @property
    def sharded(self) -> bool:
        """FSDP and DeepSpeed write checkpoints of their own format, which only they can read."""
        return self.is_fsdp_enabled or self.is_deepspeed_enabled

    def _get_output_dir(self, trial: Any) -> str:
        """Where checkpoints go: while one is written, not yet where they count."""
        folder = str(super()._get_output_dir(trial))
        return os.path.join(folder, UNFINISHED) if self.saving else folder

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Every rank writes its part; one gives the whole its name, and only then removes an older one."""
        self.saving = True
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.saving = False
        final = Path(self._get_output_dir(trial), f'{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}')
        part = final.parent / UNFINISHED / final.name
        self.note_best(final)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            # Stock wrote it before the best checkpoint had its name.
            self.state.save_to_json(str(part / TRAINER_STATE_NAME))
            publish(part, final)
            self.remove_excess(final)
        self.accelerator.wait_for_everyone()
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(final))

    def remove_excess(self, last: Path) -> None:
        """Remove the oldest checkpoints beyond `save_total_limit`, but not `last`, the best or one asked for."""
        named = (self.state.best_model_checkpoint, self.args.resume_from_checkpoint)
        keep = [last, *(Path(path) for path in named if path)]
        remove_oldest(str(last.parent), self.args.save_total_limit, keep)

    def remove_left_over(self) -> None:
        """A run that was cut off between its last checkpoint and the removal of an older one removes it at its end."""
        last = Path(str(self.args.output_dir), f'{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}')
        if self.args.should_save and last in checkpoints(str(self.args.output_dir)):
            self.remove_excess(last)

    def note_best(self, current: Path) -> None:
        """Set the folder of the best checkpoint, which may be the one being written, by its final name."""
        best = current.with_name(f'{PREFIX_CHECKPOINT_DIR}-{self.state.best_global_step}')
        if best == current or best.is_dir():
            self.state.best_model_checkpoint = str(best)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Stock would upload, in the background, a folder that is about to be renamed."""
        if not self.saving:
            super()._push_from_checkpoint(checkpoint_folder)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model so that `from_pretrained` loads it. The output folder never holds half of one."""
        folder = Path(str(self.args.output_dir))
        if output_dir is not None and Path(output_dir).resolve() != folder.resolve():
            super().save_model(output_dir, _internal_call)
            return
        part = folder / UNFINISHED / 'model'
        super().save_model(str(part), _internal_call=True)
        self.accelerator.wait_for_everyone()
        # FSDP leaves the weights to its checkpoints unless told to gather them.
        if self.args.should_save and part.is_dir():
            move_model(part, folder)
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub(commit_message='Model save', revision=self.args.hub_revision)

    def save_state(self) -> None:
        """Write the log history of the run to `output_dir`, on one rank."""
        if self.is_world_process_zero():
            with replacing(Path(str(self.args.output_dir), TRAINER_STATE_NAME)) as part:
                self.state.save_to_json(str(part))

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        if not self.args.should_save:
            return
        folder = str(output_dir or self.args.output_dir)
        save_weights(self.accelerator.unwrap_model(self.model, keep_torch_compile=False), folder, state_dict)
        cast(Any, self.processing_class).save_pretrained(folder)
        torch.save(self.args, os.path.join(folder, TRAINING_ARGS_NAME))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self.sharded:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            load_weights(cast(nn.Module, self.model if model is None else model), resume_from_checkpoint)

    def _load_best_model(self) -> None:
        best = str(self.state.best_model_checkpoint)
        if self.args.should_save:
            check_undamaged(best)
        if self.sharded:
            super()._load_best_model()
        else:
            load_weights(cast(nn.Module, self.model), best)
