"""Regions of Visual Genome from their official files, with invented regions of their shape."""

import json
from pathlib import Path
from typing import Any

import pytest

from mllm.dataset.convert.base import Summary, convert
from mllm.dataset.convert.visual_genome import VisualGenome


def region(number: int, phrase: str = 'a red kite ', **fields: Any) -> dict[str, Any]:
    place = {'x': 10, 'y': 20, 'width': 30, 'height': 40}
    return {'region_id': number, 'image_id': 1, 'phrase': phrase, **place, **fields}


def run(tmp_path: Path, *images: dict[str, Any]) -> tuple[list[dict[str, Any]], Summary]:
    data = [
        {'image_id': 1, 'url': 'https://example.org/rak/VG_100K_2/1.jpg', 'width': 100, 'height': 80, 'coco_id': None},
        {'image_id': 2, 'url': 'https://example.org/rak/VG_100K/2.jpg', 'width': 50, 'height': 50, 'coco_id': 9},
    ]
    (tmp_path / 'image_data.json').write_text(json.dumps(data))
    (tmp_path / 'region_descriptions.json').write_text(json.dumps(images))
    summary = convert(VisualGenome(tmp_path), 'regions', tmp_path / 'out')
    return [json.loads(line) for line in (tmp_path / 'out/regions.jsonl').read_text().splitlines()], summary


def test_the_folder_of_an_image_is_that_of_its_address(tmp_path: Path):
    images = [{'id': 1, 'regions': [region(5), region(6, ' a \n kite')]}, {'id': 2, 'regions': [region(7, image_id=2)]}]
    rows, summary = run(tmp_path, *images)
    first = {'img_path': 'VG_100K_2/1.jpg', 'expression': 'a red kite', 'bbox': [10, 20, 40, 60]}
    first |= {'height': 80, 'width': 100, 'region_id': 5}
    assert rows[:2] == [first, {**first, 'expression': 'a kite', 'region_id': 6}]
    # It sticks out of an image of 50 x 50.
    assert (rows[2]['img_path'], rows[2]['bbox']) == ('VG_100K/2.jpg', [10, 20, 40, 50])
    assert (summary.rows, summary.images, summary.clipped, summary.skipped) == (3, 2, 1, {})


def test_what_is_left_out_has_its_reason(tmp_path: Path):
    regions = [
        region(1),
        region(2, ' '),
        region(3, width=0),
        region(4, x=200),
        region(5, x=None),
        region(6, image_id=77),
        region(7, height=-2),
    ]
    rows, summary = run(tmp_path, {'id': 1, 'regions': regions})
    assert [row['region_id'] for row in rows] == [1]
    assert summary.skipped == {
        'phrase is empty': 1,
        'box empty': 1,
        'box wholly outside': 1,
        'box is not four finite numbers': 1,
        'image is not in image_data.json': 1,
        'box inverted': 1,
    }


@pytest.mark.parametrize('entry', [{'id': 1, 'objects': []}, [1], 'kite'])
def test_another_file_of_visual_genome(tmp_path: Path, entry: Any):
    with pytest.raises(ValueError, match=r'region_descriptions\.json: entry 0 is no image with its regions'):
        run(tmp_path, entry)
