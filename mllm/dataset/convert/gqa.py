"""Before stage 1 of a sample's way: GQA -> rows of `gqa.GQADataset`, and scene graphs one a line with their index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from mllm.dataset.convert.base import Converter, Row, Skip
from mllm.dataset.convert.json_stream import stream_pairs
from mllm.registry import CONVERTERS
from mllm.utils.files import write_text_atomically
from mllm.utils.line_file import LineFile

QUESTIONS = 'questions1.2'
PARTS = 10
"""train_all comes in so many files."""


@CONVERTERS.register_module('gqa')
class GQA(Converter):
    """Questions, and as splits of their own the scene graphs (`{train,val}_sceneGraphs`, with an index beside)."""

    splits = {
        **{
            f'{name}_{kind}_questions': (f'{QUESTIONS}/{name}_{kind}_questions.json',)
            for name in ('train', 'val', 'testdev', 'test', 'challenge')
            for kind in ('balanced', 'all')
            if (name, kind) != ('train', 'all')
        },
        'train_all_questions': tuple(
            f'{QUESTIONS}/train_all_questions/train_all_questions_{part}.json' for part in range(PARTS)
        ),
        **{f'{name}_sceneGraphs': (f'sceneGraphs/{name}_sceneGraphs.json',) for name in ('train', 'val')},
    }
    image_field = 'imageId'

    def rows(self, split: str) -> Iterator[Row | Skip]:
        key = 'imageId' if split.endswith('sceneGraphs') else 'question_id'
        for name in self.splits[split]:
            for identity, row in stream_pairs(self.root / name):
                yield {key: identity, **row}

    def finish(self, split: str, rows: Path) -> list[Path]:
        """Of scene graphs, a map imageId -> number of its line, from 0."""
        if not split.endswith('sceneGraphs'):
            return []
        lines, path = LineFile(str(rows)), rows.with_name(f'{split}_index.json')
        write_text_atomically(path, json.dumps({lines[number]['imageId']: number for number in range(len(lines))}))
        return [path]
