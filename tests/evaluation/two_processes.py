"""What each of two processes does in test_two_processes: accelerate launch ... two_processes.py CONFIG OUT_FOLDER."""

import json
import sys
from pathlib import Path

import torch
from accelerate import PartialState
from torch.utils.data import Dataset
from transformers import set_seed

from mllm.config.config import load_config
from mllm.dataset.builder import prepare_data
from mllm.evaluation.evaluator import Evaluation, Evaluator
from mllm.evaluation.report import files
from mllm.metric.link_context import LinkContextAccuracy
from mllm.models.builder import load_model, load_preprocessor
from mllm.types import Skipped

LENGTH, SKIPPED = 11, 4
BATCH_SIZES = (1, 3, 4)


class Uneven(Dataset):
    """The first samples of a dataset, one of which could not be made."""

    def __init__(self, inner, fails=False):
        self.inner = inner
        self.fails = fails

    def __len__(self):
        return LENGTH

    def __getitem__(self, index):
        if self.fails:
            raise RuntimeError('planned: rank 1 fails')
        return Skipped(index, 'rows.jsonl:3: no such image') if index == SKIPPED else self.inner[index]


def evaluate(config, out, fails=False):
    """The metrics for each batch size, whose files are in a folder of its own, and which files this rank wrote."""
    cfg = load_config(str(config))
    preprocessor = load_preprocessor(cfg.model_args)
    set_seed(3)
    model = load_model(cfg.model_args, preprocessor).eval()
    inner = prepare_data(cfg.data_args, preprocessor, 0, ['multitest'])['multitest_two']
    evaluation = Evaluation('two', Uneven(inner, fails), LinkContextAccuracy())
    written, write = [], files.write_text_atomically

    def watched(path, text):
        written.append(str(path.relative_to(out)))
        write(path, text)

    files.write_text_atomically = watched
    try:
        metrics = {
            size: Evaluator(preprocessor, str(out / str(size)), size, 0, {'max_new_tokens': 3}, False)(
                model, evaluation
            )
            for size in BATCH_SIZES
        }
    finally:
        files.write_text_atomically = write
    return {'metrics': metrics, 'written': written}


def main(config: Path, out: Path) -> None:
    torch.set_num_threads(1)
    state = PartialState(cpu=True)
    result = evaluate(config, out)
    (out / f'rank{state.process_index}.json').write_text(json.dumps({**result, 'world_size': state.num_processes}))
    evaluate(config, out / 'failing', fails=state.process_index == 1)


if __name__ == '__main__':
    main(Path(sys.argv[1]), Path(sys.argv[2]))
