"""Before stage 1 of a sample's way: ScienceQA -> rows of `science_qa.ScienceQADataset`."""

from __future__ import annotations

from collections.abc import Iterator

from mllm.dataset.convert.base import Converter, Row, Skip
from mllm.dataset.convert.json_stream import stream_pairs
from mllm.dataset.single_image_dataset.science_qa import LETTERS
from mllm.registry import CONVERTERS

SPLITS = ('train', 'val', 'test', 'trainval', 'minitrain', 'minival', 'minitest')
KEPT = ('question', 'choices', 'hint', 'lecture', 'solution', 'task', 'subject', 'topic', 'category', 'skill', 'grade')


@CONVERTERS.register_module('scienceqa')
class ScienceQA(Converter):
    """Problems in the order of pid_splits.json; with captions.json, if it is there, a `caption` for each image."""

    splits = dict.fromkeys(SPLITS, ('problems.json', 'pid_splits.json'))
    image_field = 'image_path'

    def rows(self, split: str) -> Iterator[Row | Skip]:
        problems = dict(stream_pairs(self.root / 'problems.json'))
        path = self.root / 'pid_splits.json'
        names = dict(stream_pairs(path)).get(split)
        if names is None:
            raise ValueError(f'{path}: there is no split {split!r}')
        captions = self.root / 'captions.json'
        said = dict(stream_pairs(captions, 'captions', may_be_empty=True)) if captions.is_file() else {}
        for name in names:
            yield self.row(str(name), problems[str(name)], said) if str(name) in problems else Skip('no such problem')

    def row(self, name: str, problem: Row, captions: dict[str, str]) -> Row | Skip:
        if not 0 <= problem['answer'] < len(problem['choices']):
            return Skip('answer is none of the choices')
        image = problem.get('image')
        return {
            'id': name,
            'image_path': f'{problem["split"]}/{name}/{image}' if image else None,
            'answer': LETTERS[problem['answer']],
            'split': problem['split'],
            **{key: problem.get(key) for key in KEPT},
            **({'caption': captions[name]} if image and name in captions else {}),
        }
