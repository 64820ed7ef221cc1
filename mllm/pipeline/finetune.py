"""Train and evaluate what one config describes.

accelerate launch mllm/pipeline/finetune.py CONFIG [--cfg-options a.b=c ...] [--any_hf_flag value ...]
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == '__main__':
    # `accelerate launch` runs this file by path: an uninstalled checkout must work, and win over an installed one.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from accelerate.utils import broadcast_object_list
from mmengine import Config
from torch.utils.data import Dataset
from transformers import set_seed
from transformers.utils import logging as hf_logging

from mllm.config.changes import changes
from mllm.config.config import ConfigError, check_output_dir, dump_config, prepare_args
from mllm.config.output_dir import CONFIG_NAME
from mllm.dataset.builder import FLAGS, DatasetEntry, entries, prepare_data
from mllm.engine.checkpoint import is_unfinished, resume_point
from mllm.engine.trainer import MultimodalTrainer
from mllm.evaluation.evaluator import Evaluation, Evaluator
from mllm.evaluation.report.table import results_table
from mllm.metric.builder import build_metric, metric_config
from mllm.models.builder import load_model, load_preprocessor
from mllm.models.freeze import is_frozen, trainable_table
from mllm.pipeline.trained import trained_model
from mllm.utils.faults import BadSampleError, FaultsError, lines_of
from mllm.utils.log import console, get_logger, setup_logging

if TYPE_CHECKING:
    from mllm.config.training_args import TrainingArguments

logger = get_logger(__name__)


def run(cfg: Config, training_args: TrainingArguments) -> dict[str, dict[str, Any]]:
    """Everything a config asks for; returns the metrics of each evaluation by prefix."""
    resume_from = starting_point(cfg.to_dict(), training_args) if training_args.do_train else None
    trainer, evaluations = prepare(cfg, training_args)
    if training_args.do_train:
        trainer.fit(resume_from, afresh=training_args.overwrite_output_dir)
    return {prefix: trainer.evaluate_named(evaluation) for prefix, evaluation in evaluations.items()}


def starting_point(cfg: Mapping[str, Any], training_args: TrainingArguments) -> str | None:
    """The checkpoint that training goes on from, None for its beginning; rank 0 looks, all ranks agree.

    ConfigError, on every rank, where the output folder holds another run, or one of another model or other data, or a
    checkpoint named is damaged.
    """
    resume_from: str | None = None
    faults: list[str] = []
    if training_args.process_index == 0:
        folder = str(training_args.output_dir)
        try:
            resume_from = resume_point(
                folder, training_args.resume_from_checkpoint, afresh=training_args.overwrite_output_dir
            )
            check_output_dir(training_args, goes_on=bool(resume_from) or is_unfinished(folder))
            faults = faults_of_change(cfg, Path(folder), resume_from) if resume_from else []
        except ConfigError as error:
            faults = error.faults
        except ValueError as error:
            faults = [f'resume_from_checkpoint: {error}']
    resume_from, faults = broadcast_object_list([resume_from, faults])
    if faults:
        raise ConfigError(faults)
    return resume_from


def faults_of_change(cfg: Mapping[str, Any], folder: Path, resume_from: str) -> list[str]:
    """What of model and data is not as the run in `folder` began: it would be another run.

    Other training arguments are the user's to change; those that change the course of training are warned of.
    """
    if not (folder / CONFIG_NAME).is_file():
        return []
    changed, course = changes(Config.fromfile(folder / CONFIG_NAME).to_dict(), cfg)
    for line in course:
        logger.warning('the run goes on, but not as it would have: %s', line)
    if changed:
        changed.append(
            f'{resume_from} is of a run with other settings: give another --output_dir, or --overwrite_output_dir'
        )
    return changed


def prepare(cfg: Config, training_args: TrainingArguments) -> tuple[MultimodalTrainer, dict[str, Evaluation]]:
    """Everything before the first step. ConfigError for whatever the user can mend."""
    set_seed(training_args.seed)
    parts = [part for part, flag in FLAGS.items() if getattr(training_args, flag)]
    if training_args.eval_strategy != 'no' and 'validation' not in parts:
        parts.append('validation')
    try:
        model_args = cfg.model_args
        if not training_args.do_train:
            model_args = trained_model(model_args, str(training_args.output_dir))
        preprocessor = load_preprocessor(model_args)
        datasets = prepare_data(cfg.data_args, preprocessor, training_args.seed, parts)
        model = load_model(model_args, preprocessor)
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(lines_of(error), str(cfg.filename)) from error
    boxes = (cfg.model_args.get('target_processor') or {}).get('boxes')
    evaluations = {
        entry.prefix: make_evaluation(entry, datasets[entry.prefix], boxes)
        for entry in entries(cfg.data_args, parts)
        if entry.prefix != 'train'
    }
    if training_args.do_train and is_frozen(model):
        raise ConfigError(
            ['model_args.freeze: nothing is left that learns; freeze less, or name exceptions in model_args.tune']
        )
    # Not before: a run that cannot start leaves the config of the one whose files are there, and so does evaluation.
    if training_args.do_train or not Path(str(training_args.output_dir), CONFIG_NAME).exists():
        try:
            dump_config(cfg, training_args)
        except OSError as error:
            raise ConfigError([f'output_dir {training_args.output_dir}: {error.strerror}; name another one']) from error
    logger.info('\n%s', trainable_table(model))
    trainer = MultimodalTrainer(
        model=model,
        args=training_args,
        preprocessor=preprocessor,
        train_dataset=datasets.get('train'),
        validation=evaluations.get('eval'),
        evaluator=Evaluator(
            preprocessor,
            str(training_args.output_dir),
            training_args.per_device_eval_batch_size,
            training_args.dataloader_num_workers,
            cfg.data_args.get('gen_kwargs'),
            show_progress=not training_args.disable_tqdm,
        ),
        learning_rates=training_args.lr_by_part,  # type: ignore[arg-type]
        ema_decay=training_args.ema_decay,
    )
    if not training_args.do_eval:
        evaluations.pop('eval', None)
    return trainer, evaluations


def make_evaluation(entry: DatasetEntry, dataset: Dataset[Any], boxes: Mapping[str, Any] | None) -> Evaluation:
    if not entry.compute_metric:
        return Evaluation(entry.prefix, dataset, None)
    metric = metric_config(entry.compute_metric, boxes)
    return Evaluation(entry.prefix, dataset, build_metric(metric), metric)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 2 where the config or the data it names is wrong."""
    try:
        cfg, training_args = prepare_args(list(argv) if argv is not None else None)
        setup_logging(training_args.process_index)
        # Its bars for reading and writing weights, and its hints about kernels, drown what a run has to say.
        hf_logging.disable_progress_bar()
        hf_logging.set_verbosity_error()
        results = run(cfg, training_args)
    except ConfigError as error:
        # Every rank finds the same faults.
        if int(os.environ.get('RANK', '0')) == 0:
            sys.stderr.write(f'{error}\n')
        return 2
    except FaultsError as error:
        sys.stderr.write(f'{error}\n')
        return 2
    except BadSampleError as error:
        sys.stderr.write(f"{error}\nmend the data, or leave such samples out with data_args.on_bad_sample='skip'\n")
        return 2
    if results and training_args.process_index == 0:
        console().print(results_table(results))
    return 0


if __name__ == '__main__':
    sys.exit(main())
