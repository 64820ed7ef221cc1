"""From the `data_args` section of a config to the datasets of a run; all faults known by now are reported at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mllm.dataset.single_image_conversation import SingleImageConvDataset
from mllm.dataset.source import Source
from mllm.registry import DATASETS, TRANSFORMS
from mllm.types import Preprocessor
from mllm.utils.faults import BadSampleError, lines_of, stop_on

EMPTY = 'there is no sample in it; give a filename with rows, or a larger portion of a subset'

FLAGS = {'train': 'do_train', 'validation': 'do_eval', 'test': 'do_predict', 'multitest': 'do_multi_predict'}
"""The part of `data_args` that each flag asks for."""


@dataclass(frozen=True)
class DatasetEntry:
    """One dataset that `data_args` names: what a run calls it, where it stands, its config and its metric's."""

    prefix: str
    key: str
    cfg: Mapping[str, Any]
    compute_metric: Mapping[str, Any] | None


def entries(data_args: Mapping[str, Any], parts: Collection[str]) -> Iterator[DatasetEntry]:
    """The datasets of some parts of `data_args`: prefixes 'train', 'eval', 'test', 'multitest_{name}'.

    ValueError if a part is asked for that the config does not have.
    """
    for part in parts:
        cfg = data_args.get(part)
        if not cfg:
            raise ValueError(f'data_args.{part} is {cfg!r}, but {FLAGS[part]} asks for it')
        if part == 'multitest':
            for name, item in cfg.items():
                metric = item.get('compute_metric')
                yield DatasetEntry(f'multitest_{name}', f'data_args.multitest.{name}.cfg', item['cfg'], metric)
        else:
            prefix = 'eval' if part == 'validation' else part
            yield DatasetEntry(prefix, f'data_args.{part}', cfg, data_args.get('compute_metric'))


def select_entries(data_args: Mapping[str, Any], splits: Collection[str] = ()) -> dict[str, DatasetEntry]:
    """The datasets that a user calls 'train', 'validation', 'test', or by their name in multitest; without any, all.

    A multitest with one of these names is 'multitest_{name}'. ValueError with the names there are.
    """
    named: dict[str, DatasetEntry] = {}
    for part in FLAGS:
        for entry in entries(data_args, [part]) if data_args.get(part) else ():
            name = entry.prefix.removeprefix('multitest_') if part == 'multitest' else part
            named[name if name == part or name not in FLAGS else entry.prefix] = entry
    unknown = [split for split in splits if split not in named]
    if unknown or not named:
        asked = f'--split {" ".join(unknown)}: ' if unknown else ''
        raise ValueError(f'{asked}this config has {", ".join(named) or "no dataset"}')
    return {name: named[name] for name in splits or named}


def prepare_data(
    data_args: Mapping[str, Any], preprocessor: Preprocessor, seed: int, parts: Collection[str]
) -> dict[str, SingleImageConvDataset]:
    """The datasets of some parts of `data_args` by prefix.

    FaultsError with one line per fault that is known by now: missing files, classes too small, wrong values, and
    samples that cannot be made, of which one is tried of every dataset that others are made of.
    """
    wanted = list(entries(data_args, parts))
    sources = checked_sources(wanted)
    datasets = {
        prefix: make_dataset(prefix, source, data_args, preprocessor, seed) for prefix, source in sources.items()
    }
    # Templates, questions and lengths are the same for all samples: what they do not allow, the first one shows.
    stop_on([f'{entry.key}: {fault}' for entry in wanted for fault in probe_faults(datasets[entry.prefix])])
    return datasets


def probe_faults(dataset: SingleImageConvDataset) -> list[str]:
    """Why the first sample of a source cannot be made, unless samples may be bad."""
    faults = []
    for index in dataset.source.probes():
        try:
            dataset[index]
        except BadSampleError as error:
            faults += lines_of(error)
    return faults


def make_dataset(
    prefix: str, source: Source, data_args: Mapping[str, Any], preprocessor: Preprocessor, seed: int
) -> SingleImageConvDataset:
    """A source with its encoder, as a run reads it under `prefix`."""
    return SingleImageConvDataset(
        source,
        preprocessor,
        training=prefix == 'train',
        # Evaluation draws the same episodes whatever the run's seed, so that runs compare on equal questions.
        seed=seed if prefix == 'train' else 0,
        augment=TRANSFORMS.build(data_args['augment']) if data_args.get('augment') else None,
        on_bad_sample=data_args.get('on_bad_sample', 'raise'),
        decode_side=data_args.get('decode_side'),
    )


def checked_sources(wanted: Iterable[DatasetEntry]) -> dict[str, Source]:
    """Build sources and collect their faults."""
    sources: dict[str, Source] = {}
    faults: list[str] = []
    for entry in wanted:
        try:
            source = DATASETS.build(entry.cfg)
            found = [*source.problems(), *([] if len(source) else [EMPTY])]
        except (ValueError, OSError) as error:
            found = lines_of(error)
        else:
            sources[entry.prefix] = source
        faults += [f'{entry.key}: {problem}' for problem in found]
    stop_on(faults)
    return sources
