"""Golden cases of tokenisation that tell which dataset class made their items: annotation and arguments -> items.

Our class of that name, given the same annotation (and scene), must write the same turns and target. Where the original
drew its question from a file of templates, or an order at random, only what does not depend on that is compared.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from mllm.dataset.single_image_dataset.base import AnnotatedDataset
from mllm.registry import DATASETS
from mllm.utils.rng import ItemRng
from tests.golden.compare import Case

FILES = ('scene_graph_file', 'scene_graph_index')
NOT_OURS = ('seed', *FILES)
ANY_QUESTION = '<image> <question> <expr> <objs>'


def has_dataset(case: Case) -> bool:
    """Whether a case tells its dataset, of a class that reads one annotation."""
    given = case.get('dataset') or {}
    if 'annotation' not in given or not case['items'] or given['class'] not in DATASETS:
        return False
    return issubclass(DATASETS.get(given['class']), AnnotatedDataset)


def build(given: dict[str, Any], folder: Path) -> AnnotatedDataset:
    """The dataset of a case with its annotation as the only row."""
    args = {key: value for key, value in given['args'].items() if key not in NOT_OURS}
    row = given['annotation']
    write(folder / 'rows.jsonl', row)
    if 'template_file' in args:
        entry = DATASETS.get(given['class'])
        del args['template_file']
        args['template_string'] = ' '.join(mark for mark in ANY_QUESTION.split() if mark in entry.placeholders)
    if 'scene' in given:
        scene = dict(given['scene'])
        if 'imageId' in row:
            scene['imageId'] = row['imageId']
        write(folder / 'scenes.jsonl', scene)
        args['scene_graph_file'] = str(folder / 'scenes.jsonl')
    return DATASETS.build({'type': given['class'], 'filename': str(folder / 'rows.jsonl'), **args})


def write(path: Path, row: Any) -> None:
    path.write_text(json.dumps(row) + '\n', encoding='utf-8')


def items(case: Case) -> dict[str, Any]:
    """What our class makes of the annotation, in the form of the case's only item."""
    given = case['dataset']
    with tempfile.TemporaryDirectory() as folder:
        data = build(given, Path(folder))
        index = given.get('index', 0)
        made = data.make_item(data.get_row(index), ItemRng(0, 0, 0))
    return {'items': [described(made, given)]}


def wanted(case: Case) -> dict[str, Any]:
    """The recorded item in the same form."""
    return {'items': [described(case['items'][-1], case['dataset'])]}


def described(item: Any, given: dict[str, Any]) -> dict[str, Any]:
    """An item by its texts and by the places that its placeholders stand for: indices may be numbered differently."""
    target = item.get('target') or {}
    turns = []
    for number, turn in enumerate(item['conversations']):
        text = turn['value']
        if number == 0 and 'template_file' in given['args']:
            text = None
        places = [
            [[target[kind][index] for index in group] for group in turn.get(f'{kind}_seq') or []]
            for kind in ('boxes', 'points')
        ]
        if given['args'].get('do_shuffle_choice', given['class'] == 'V7W_POINT') and number == 0:
            places = [sorted(groups) for groups in places]
        turns.append([turn['from'], text, *places])
    return {'turns': turns}
