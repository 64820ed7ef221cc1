"""Before stage 1 of a sample's way: PointQA -> rows of `point_qa.PointQALocal` and `point_qa.PointQATwice`.

    LocalQA/localqa_dataset.json, LocalQA/localqa_{split}_imgs.json
    LookTwiceQA/looktwiceqa_dataset.json, LookTwiceQA/looktwiceqa_{split}_imgs.json
    VerbalSpatial/{spatial,verbal}_dataset.json, VerbalSpatial/{split}_imgs_vs.json   things named by a point, by words
    image_data.json         of Visual Genome: the folder and size of each image

The answer at a point is that of the point itself: the list of all answers of a question has lost its order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mllm.dataset.convert.base import Converter, Row, Skip
from mllm.dataset.convert.json_stream import stream_items, stream_pairs
from mllm.dataset.convert.visual_genome import IMAGE_DATA, ImageData, image_data
from mllm.grounding.geometry import point_fault
from mllm.registry import CONVERTERS

LOCAL, TWICE, GENERAL = 'LocalQA/localqa', 'LookTwiceQA/looktwiceqa', 'VerbalSpatial'
QUESTIONS = {
    'obj_question': ('obj_question', 'img_question'),
    'super_question': ('super_question',),
    'general_question': ('general_question', 'pt_question'),
}
"""Field of a row -> what the files call it; releases differ."""


@CONVERTERS.register_module('pointqa')
class PointQA(Converter):
    """PointQA-Local (`local_*`), PointQA-LookTwice (`twice_*`), and PointQA-General in both forms: rows of `spatial_*`
    are read by Point_QA_local with version 'p', those of `verbal_*` by VQAv2Dataset.
    """

    splits = {
        **{
            f'local_{name}': (f'{LOCAL}_dataset.json', f'{LOCAL}_{name}_imgs.json', IMAGE_DATA)
            for name in ('train', 'val', 'testdev', 'testfinal')
        },
        **{
            f'twice_{name}': (f'{TWICE}_dataset.json', f'{TWICE}_{name}_imgs.json', IMAGE_DATA)
            for name in ('train', 'val', 'test')
        },
        **{
            f'{form}_{name}': (f'{GENERAL}/{form}_dataset.json', f'{GENERAL}/{name}_imgs_vs.json', IMAGE_DATA)
            for form in ('spatial', 'verbal')
            for name in ('train', 'val', 'test')
        },
    }
    image_field = 'file_path'

    def rows(self, split: str) -> Iterator[Row | Skip]:
        dataset, images, _ = (self.root / name for name in self.splits[split])
        wanted = [str(name) for name in stream_items(images)]
        sizes, chosen = image_data(self.root / IMAGE_DATA), set(wanted)
        questions = {name: entries for name, entries in stream_pairs(dataset) if name in chosen}
        forms = {'local': self.local, 'twice': self.twice, 'spatial': self.spatial, 'verbal': self.verbal}
        made = forms[split.split('_')[0]]
        number = 0
        for name in wanted:
            if name not in questions:
                yield Skip('image of the split without questions')
                continue
            image = sizes.get(int(name))
            if image is None:
                yield Skip(f'image is not in {IMAGE_DATA}')
                continue
            for entry in questions[name]:
                for row in made(entry, image):
                    if isinstance(row, Skip):
                        yield row
                        continue
                    size = {'img_h': image.height, 'img_w': image.width}
                    yield {'qa_id': number, 'genome_id': int(name), 'file_path': image.path, **row, **size}
                    number += 1

    def local(self, entry: Mapping[str, Any], image: ImageData) -> Iterator[Row | Skip]:
        """A row for each thing that a question is asked about."""
        points, things = entry['points'], entry['all_objs']
        if len(points) != len(things):
            yield Skip('points and objects of a question differ in number')
            return
        for point, thing in zip(points, things, strict=True):
            places = self.places(point, thing, image)
            row = {'question': entry['question'], 'answer': str(point['ans'])}
            yield places if isinstance(places, Skip) else {**row, **places}

    def twice(self, entry: Mapping[str, Any], image: ImageData) -> Iterator[Row | Skip]:
        """A row with those of the three questions that the release has."""
        found = {key: [entry[name] for name in names if name in entry] for key, names in QUESTIONS.items()}
        texts = {key: values[0] for key, values in found.items() if values}
        if not texts:
            yield Skip(f'none of {", ".join(QUESTIONS)}')
            return
        places = self.places(entry['point'], entry['bbox'], image)
        more = {'obj_type': entry['obj_type']} if 'obj_type' in entry else {}
        yield places if isinstance(places, Skip) else {**texts, 'answer': str(entry['ans']), **places, **more}

    def spatial(self, entry: Mapping[str, Any], image: ImageData) -> Iterator[Row | Skip]:
        point = self.point(entry['point'], image)
        row = {'question': entry['question'], 'answer': str(entry['answer'])}
        yield point if isinstance(point, Skip) else {**row, 'point': point}

    def verbal(self, entry: Mapping[str, Any], image: ImageData) -> Iterator[Row | Skip]:
        annotation = {'multiple_choice_answer': str(entry['answer'])}
        yield {'image_path': image.path, 'question': entry['question'], 'annotation': annotation}

    def places(self, point: Mapping[str, Any], thing: Mapping[str, Any], image: ImageData) -> Row | Skip:
        x, y = thing['x'], thing['y']
        box = self.clip([x, y, x + thing['w'], y + thing['h']], image.width, image.height)
        place = self.point(point, image)
        if isinstance(box, Skip):
            return box
        return place if isinstance(place, Skip) else {'bbox': box, 'point': place}

    def point(self, point: Mapping[str, Any], image: ImageData) -> list[float] | Skip:
        """As written; Skip if it is none of the image, as the reader of rows would refuse it."""
        place = [point['x'], point['y']]
        fault = point_fault(place, image.width, image.height)
        return Skip(f'point {fault}') if fault else place
