"""The tool that draws answered and true boxes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mllm.evaluation.report.box_picture import BoxPicture, draw_boxes
from mllm.evaluation.report.files import EvaluationFiles
from mllm.metric.grounding import box_iou
from mllm.types import Prediction
from tools.show_boxes import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four samples on one image: right, wrong, no box, and a true box that is not known."""
    Image.new('RGB', (40, 40), 'white').save(tmp_path / 'a.png')
    true = [10.0, 10.0, 30.0, 30.0]
    predictions, columns = [], []
    for number, answered in enumerate((true, [0.0, 0.0, 5.0, 5.0], None, true)):
        meta = {'image_path': 'a.png', 'expression': f'the thing number {number}'}
        predictions.append(Prediction(number, 'text', 'target', meta=meta))
        iou = box_iou(answered, true) if answered else 0.0
        known = true if number < 3 else None
        columns.append({'extracted': answered, 'iou': iou, 'true_box': known, 'correct': float(iou > 0.5)})
    EvaluationFiles(tmp_path, 'multitest_rec').write_predictions(predictions, columns)
    return tmp_path


def test_a_picture_of_an_evaluation(folder: Path, capsys: pytest.CaptureFixture[str]):
    out = folder / 'boxes.png'
    assert main([str(folder), 'multitest_rec', '--images', str(folder), '--count', '4', '--out', str(out)]) == 0
    assert capsys.readouterr().out == f'{out}\n'
    pixels = np.asarray(Image.open(out).convert('RGB')).astype(int)
    green = (pixels[..., 1] - pixels[..., [0, 2]].max(-1)) > 60
    red = (pixels[..., 0] - pixels[..., [1, 2]].max(-1)) > 100
    assert green.sum() > 50
    assert red.sum() > 50


def test_boxes_stand_where_they_are(tmp_path: Path):
    picture = BoxPicture(Image.new('RGB', (10, 10), (20, 20, 200)), 'where', [2, 2, 8, 8], [2, 2, 8, 8], 1.0, True)
    draw_boxes([('row', [picture])], tmp_path / 'one.png')
    pixels = np.asarray(Image.open(tmp_path / 'one.png').convert('RGB')).astype(int)
    blue = np.argwhere((pixels[..., 2] > 190) & (pixels[..., :2].max(-1) < 40))
    (top, left), (bottom, right) = blue.min(0), blue.max(0)
    green = np.argwhere((pixels[..., 1] - pixels[..., 0] > 60) & (pixels[..., 1] > pixels[..., 2]))
    inside = green[(green[:, 1] > left) & (green[:, 1] < right) & (green[:, 0] > top) & (green[:, 0] < bottom)]
    side = (right - left + 1) / 10
    assert abs(inside[:, 1].min() - (left + 2 * side)) < 4
    assert abs(inside[:, 1].max() - (left + 8 * side)) < 4


@pytest.mark.parametrize(
    ('argv', 'expected'),
    [
        (['multitest_other', '--images', '.'], 'multitest_other_extra_prediction.jsonl: no such file of predictions'),
        (['multitest_rec', '--images', 'nowhere'], 'nowhere'),
        (['multitest_rec', '--images', '.', '--count', '0'], '--count 0: expected 1 or more'),
    ],
)
def test_what_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str], argv: list[str], expected: str):
    assert main([str(folder), *argv]) == 2
    assert expected in capsys.readouterr().err


def test_predictions_of_another_metric(folder: Path, capsys: pytest.CaptureFixture[str]):
    EvaluationFiles(folder, 'test').write_predictions([Prediction(0, 'a', 'b')])
    assert main([str(folder), 'test', '--images', str(folder)]) == 2
    assert 'expected predictions that RECComputeMetrics has scored' in capsys.readouterr().err
