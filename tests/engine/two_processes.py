"""What each of two processes does in test_two_processes: accelerate launch ... two_processes.py OUT_FOLDER.

Started as a script, so that this folder is on the path and `conftest` can be imported.
"""

import sys
from pathlib import Path

import torch
from conftest import SyntheticDataset, make_args, make_model, make_preprocessor
from transformers import TrainerCallback

from mllm.engine.trainer import MultimodalTrainer


class Recording(SyntheticDataset):
    """Notes which pairs this process asked for."""

    def __init__(self, length):
        super().__init__(length)
        self.pairs = []

    def __getitem__(self, key):
        self.pairs.append(key)
        return super().__getitem__(key)


class Watch(TrainerCallback):
    """Keeps the gradients of the last step and, if told to, ends the run after a step, or fails on one rank."""

    def __init__(self, crash_after=None, failing_rank=None):
        self.crash_after = crash_after
        self.failing_rank = failing_rank

    def on_pre_optimizer_step(self, args, state, control, model, **kwargs):
        self.gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.crash_after:
            raise InterruptedError
        if args.process_index == self.failing_rank:
            raise RuntimeError(f'planned: rank {self.failing_rank} fails')


def run(folder, length, resume_from=None, crash_after=None, failing_rank=None, seed=0, **changes):
    """One training; returns what the test compares."""
    dataset, watch = Recording(length), Watch(crash_after, failing_rank)
    trainer = MultimodalTrainer(
        model=make_model(dropout=changes.pop('dropout', 0.0), seed=seed),
        args=make_args(folder, **changes),
        preprocessor=make_preprocessor(),
        train_dataset=dataset,
        callbacks=[watch],
    )
    try:
        trainer.fit(resume_from=resume_from)
    except InterruptedError:
        return None
    return {
        'wrapped': type(trainer.model_wrapped).__name__,
        'world_size': trainer.args.world_size,
        'losses': [entry['loss'] for entry in trainer.state.log_history if 'loss' in entry],
        'gradients': watch.gradients,
        'pairs': dataset.pairs,
        'weights': trainer.model.state_dict(),
    }


def main(out: Path) -> None:
    torch.set_num_threads(1)
    one_step = {'max_steps': 1, 'max_grad_norm': 0.0}
    results = {
        'accumulated': run(
            out / 'a',
            16,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2,
            label_smoothing_factor=0.1,
            **one_step,
        ),
        # Rank 0 gets a sample without an image, rank 1 one with.
        'text_only_rank': run(
            out / 'b', 4, per_device_train_batch_size=1, train_sampling_strategy='sequential', **one_step
        ),
    }
    # 11 samples: 3 batches of 2 an epoch and rank. Stopped in the middle of the second.
    many = {'length': 11, 'per_device_train_batch_size': 2, 'max_steps': 8, 'dropout': 0.2}
    results['undisturbed'] = run(out / 'c', **many)
    results['checkpointed'] = run(out / 'f', **many, gradient_checkpointing=True)
    saving = {'save_strategy': 'steps', 'save_steps': 4}
    run(out / 'd', crash_after=5, **many, **saving)
    results['resumed'] = run(out / 'd', resume_from=str(out / 'd' / 'checkpoint-4'), seed=1, **many, **saving)
    torch.save(results, out / f'rank{torch.distributed.get_rank()}.pt')
    run(out / 'e', failing_rank=1, **many)


if __name__ == '__main__':
    main(Path(sys.argv[1]))
