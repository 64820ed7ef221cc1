"""Before stage 1 of a sample's way: VQAv2, OK-VQA, VQA-E and VQA-X -> rows of the datasets of `vqa`.

Images are those of COCO 2014 (and the test images of 2015); their names are built from the number of the image.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mllm.dataset.convert.base import Converter, Row, Skip
from mllm.dataset.convert.json_stream import stream_items, stream_pairs
from mllm.registry import CONVERTERS

KEPT = ('question_id', 'answers', 'answer_type', 'question_type')
WITHOUT_ANNOTATION = 'no annotation of this question'
WITHOUT_EXPLANATION = 'no explanation'


def coco_name(image_id: Any, subtype: str) -> str:
    """`val2014/COCO_val2014_000000000042.jpg`; image ids of other containers are names already."""
    if isinstance(image_id, int):
        return f'{subtype}/COCO_{subtype}_{image_id:012d}.jpg'
    return str(image_id) if '.' in str(image_id) else f'{image_id}.jpg'


class QuestionFiles(Converter):
    """Questions in one official file, and their annotations in another; official test splits have none."""

    image_field = 'image_path'
    subtypes: Mapping[str, str]
    """split -> folder and name of its images"""

    def rows(self, split: str) -> Iterator[Row | Skip]:
        questions, *annotations = (self.root / name for name in self.splits[split])
        known = self.annotations(annotations[0]) if annotations else None
        asked: set[Any] = set()
        for entry in stream_items(questions, 'questions.item'):
            asked.add(entry['question_id'])
            row = {
                'image_path': coco_name(entry['image_id'], self.subtypes[split]),
                'question': entry['question'],
                'question_id': entry['question_id'],
            }
            if known is None:
                yield row
            elif entry['question_id'] in known:
                yield {**row, 'annotation': json.loads(known[entry['question_id']])}
            else:
                yield Skip(WITHOUT_ANNOTATION)
        for other in known or ():
            if other not in asked:
                yield Skip('annotation of a question that is not asked')

    def annotations(self, path: Path) -> dict[Any, bytes]:
        """By question, as JSON: a sixth of the memory that the objects take."""
        entries = stream_items(path, 'annotations.item')
        return {entry['question_id']: json.dumps(completed(entry)).encode() for entry in entries}


def completed(annotation: Row) -> Row:
    """With the most common of its answers, which OK-VQA leaves out."""
    if 'multiple_choice_answer' in annotation:
        return annotation
    return {**annotation, 'multiple_choice_answer': majority(annotation['answers'])}


def majority(answers: Sequence[Any]) -> str:
    """The most common answer; of equals the first."""
    texts = [answer['answer'] if isinstance(answer, Mapping) else answer for answer in answers]
    return str(Counter(texts).most_common(1)[0][0])


@CONVERTERS.register_module('vqav2')
class VQAv2(QuestionFiles):
    """VQA v2.0; `test-dev` asks about images of `test`."""

    splits = {
        **{
            name: (
                f'v2_OpenEnded_mscoco_{name}2014_questions.json',
                f'v2_mscoco_{name}2014_annotations.json',
            )
            for name in ('train', 'val')
        },
        'test-dev': ('v2_OpenEnded_mscoco_test-dev2015_questions.json',),
        'test': ('v2_OpenEnded_mscoco_test2015_questions.json',),
    }
    subtypes = {'train': 'train2014', 'val': 'val2014', 'test-dev': 'test2015', 'test': 'test2015'}


@CONVERTERS.register_module('okvqa')
class OKVQA(QuestionFiles):
    """OK-VQA."""

    splits = {
        name: (f'OpenEnded_mscoco_{name}2014_questions.json', f'mscoco_{name}2014_annotations.json')
        for name in ('train', 'val')
    }
    subtypes = {'train': 'train2014', 'val': 'val2014'}


@CONVERTERS.register_module('vqa_e')
class VQAE(Converter):
    """VQA-E: an explanation with a score for each question."""

    splits = {name: (f'VQA-E_{name}_set.json',) for name in ('train', 'val')}
    image_field = 'file_path'

    def rows(self, split: str) -> Iterator[Row | Skip]:
        for entry in stream_items(self.root / self.splits[split][0]):
            answer = entry.get('multiple_choice_answer', entry.get('multiple_answers'))
            if not entry.get('explanation'):
                yield Skip(WITHOUT_EXPLANATION)
                continue
            kept = {key: entry[key] for key in KEPT if key in entry}
            yield {
                'file_path': coco_name(entry['img_id'], f'{split}2014'),
                'question': entry['question'],
                'explanation': entry['explanation'],
                'multiple_answers': answer if answer is not None else majority(entry['answers']),
                **kept,
            }


@CONVERTERS.register_module('vqa_x')
class VQAX(Converter):
    """VQA-X: from its explanations with the files of VQAv2, or (`nle_*`) from `vqaX_*.json`, which hold all of it."""

    subtypes = {'train': 'train2014', 'val': 'val2014', 'test': 'val2014'}
    splits = {
        **{
            name: (
                f'textual/{name}_exp_anno.json',
                f'v2_OpenEnded_mscoco_{subtype}_questions.json',
                f'v2_mscoco_{subtype}_annotations.json',
            )
            for name, subtype in subtypes.items()
        },
        **{f'nle_{name}': (f'vqaX_{name}.json',) for name in subtypes},
    }
    image_field = 'file_path'

    def rows(self, split: str) -> Iterator[Row | Skip]:
        if split.startswith('nle_'):
            yield from self.whole_rows(self.root / self.splits[split][0])
            return
        explanations, questions, annotations = (self.root / name for name in self.splits[split])
        reasons = dict(stream_pairs(explanations))
        asked = {
            str(entry['question_id']): entry
            for entry in stream_items(questions, 'questions.item')
            if str(entry['question_id']) in reasons
        }
        known = {
            str(entry['question_id']): entry
            for entry in stream_items(annotations, 'annotations.item')
            if str(entry['question_id']) in reasons
        }
        for name, texts in reasons.items():
            if name not in asked or name not in known:
                yield Skip('question or annotation is not in the files of VQAv2')
                continue
            if not texts:
                yield Skip(WITHOUT_EXPLANATION)
                continue
            entry, annotation = asked[name], known[name]
            yield {
                'file_path': coco_name(entry['image_id'], self.subtypes[split]),
                'question': entry['question'],
                'question_id': entry['question_id'],
                'justification': texts,
                'multiple_choice_answer': annotation['multiple_choice_answer'],
                'answers': annotation['answers'],
            }

    def whole_rows(self, path: Path) -> Iterator[Row | Skip]:
        for name, entry in stream_pairs(path):
            image = entry['image_name']
            if not entry['explanation']:
                yield Skip(WITHOUT_EXPLANATION)
                continue
            yield {
                'file_path': f'{image.split("_")[1]}/{image}' if image.startswith('COCO_') else image,
                'question': entry['question'],
                'question_id': int(name) if name.isdigit() else name,
                'justification': entry['explanation'],
                'multiple_choice_answer': majority(entry['answers']),
                'answers': entry['answers'],
            }
