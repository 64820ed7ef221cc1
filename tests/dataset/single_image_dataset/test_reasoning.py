"""GQA, CLEVR, VCR, Flickr and GPT4Gen: every version, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllm.dataset.single_image_dataset.clevr_program import answer_text, run_program
from mllm.dataset.single_image_dataset.flickr import FlickrComputeMetrics, union
from mllm.dataset.single_image_dataset.gqa import VERSIONS
from mllm.dataset.single_image_dataset.phrases import phrases_of, plain, with_boxes, with_some_boxes
from mllm.dataset.single_image_dataset.vcr import VCRComputeMetrics, VCRDataset
from mllm.registry import DATASETS
from mllm.types import Prediction
from mllm.utils.rng import ItemRng

Make = Callable[..., Any]


@pytest.fixture
def build(tmp_path: Path) -> Make:
    def call(type: str, *rows: dict[str, Any], scenes: list[Any] | None = None, **cfg: Any) -> Any:
        path = tmp_path / 'rows.jsonl'
        path.write_text('\n'.join(map(json.dumps, rows)))
        if scenes is not None:
            (tmp_path / 'scenes.jsonl').write_text('\n'.join(map(json.dumps, scenes)))
            cfg['scene_graph_file'] = str(tmp_path / 'scenes.jsonl')
        cfg.setdefault('template_string', '<question> <image>')
        return DATASETS.build({'type': type, 'filename': str(path), **cfg})

    return call


@pytest.fixture
def make(build: Make) -> Make:
    def call(type: str, row: dict[str, Any], index: int = 0, **cfg: Any) -> Any:
        data = build(type, row, **cfg)
        return data.make_item(data.get_row(0), ItemRng(0, 0, index))

    return call


def said(item: Any) -> list[str]:
    return [turn['value'] for turn in item['conversations']]


# ---- GQA ----

QUESTION = {
    'imageId': '7',
    'question': 'Is the old car near the tree?',
    'answer': 'no',
    'fullAnswer': 'No, the car is near the wall.',
    'semanticStr': 'select: tree (11)->relate: car,near,s (12,13)->exist: ? [1] ->query: x (-)',
    'annotations': {'question': {'2:4': '12', '6': '11'}, 'fullAnswer': {'2': '12', '6': '14'}, 'answer': {}},
    'cot': {'value': '<ph_st>The car<ph_ed> stands. The answer is no.', 'boxes': [[9, 9, 12, 12]], 'seq': [[0]]},
}
SCENE = {'imageId': '7', 'objects': {str(n): {'x': n, 'y': 1, 'w': 5, 'h': 6} for n in (11, 12, 13, 14)}}
EXPECTED = {
    'q-a': 'The answer is no.',
    'q-c': 'The car stands. The answer is no.',
    'q-bc': 'The car<boxes> stands. The answer is no.',
    'q-s': 'select: tree->relate: car,near,s->exist: ? [1] ->query: x. The answer is no.',
    'q-bs': 'select: tree<boxes>->relate: car,near,s<boxes>->exist: ? [1] ->query: x. The answer is no.',
    'q-l': 'the car is near the wall. The answer is no.',
    'q-bl': 'the car<boxes> is near the wall.<boxes> The answer is no.',
}


@pytest.mark.parametrize('version', EXPECTED)
def test_gqa_answers(make: Make, version: str):
    item = make('GQADataset', QUESTION, scenes=[{'imageId': '3', 'objects': {}}, SCENE], version=version)
    assert said(item) == ['Is the old car near the tree? <image>', EXPECTED[version]]
    assert item['conversations'][1]['value'].count('<boxes>') == len(item['conversations'][1].get('boxes_seq') or [])
    if version == 'q-bs':
        assert item['target']['boxes'] == [[11, 1, 16, 7], [12, 1, 17, 7], [13, 1, 18, 7]]
        assert item['conversations'][1]['boxes_seq'] == [[0], [1, 2]]


def test_gqa_questions_with_boxes(make: Make):
    item = make('GQADataset', QUESTION, scenes=[SCENE], version='qb-bl')
    assert said(item)[0] == 'Is the old car<boxes> near the tree?<boxes> <image>'
    # The car is in both, and one box.
    assert item['target']['boxes'] == [[12, 1, 17, 7], [14, 1, 19, 7], [11, 1, 16, 7]]
    assert item['conversations'][0]['boxes_seq'] == [[0], [2]]
    boxed = [
        '<boxes>' in said(make('GQADataset', QUESTION, n, scenes=[SCENE], version='qbp-a', question_box_prob=0.5))[0]
        for n in range(30)
    ]
    assert 5 < sum(boxed) < 25


def test_every_gqa_version_exists(make: Make):
    assert len(VERSIONS) == 21
    for version in VERSIONS:
        assert make('GQADataset', QUESTION, scenes=[SCENE], version=version)


@pytest.mark.parametrize(
    ('row', 'cfg', 'message'),
    [
        ({}, {'version': 'q-d'}, "version='q-d'; did you mean"),
        ({}, {'version': 'qb-a'}, 'give scene_graph_file'),
        ({}, {'scene_graph_index': 'x'}, 'without scene_graph_file'),
        ({'imageId': '8'}, {'version': 'q-bs', 'scenes': [SCENE]}, "no scene graph of image '8'"),
        ({'semanticStr': 'select: x (99)'}, {'version': 'q-bs', 'scenes': [SCENE]}, "object '99' is not in the scene"),
        ({'annotations': {'question': {'20': '11'}}}, {'version': 'qb-a', 'scenes': [SCENE]}, 'names word 20'),
        ({'cot': None}, {'version': 'q-c'}, 'cot is None'),
        ({'answer': 1}, {}, 'answer is 1; expected str'),
    ],
)
def test_faulty_gqa(make: Make, row: dict[str, Any], cfg: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        make('GQADataset', {**QUESTION, **row}, **cfg)


# ---- CLEVR ----


def thing(color: str, shape: str, size: str, x: int) -> dict[str, Any]:
    return {'color': color, 'shape': shape, 'size': size, 'material': 'metal', 'pixel_coords': [x, 9, 1.5]}


THINGS = {
    'image_index': 0,
    'objects': [thing('red', 'cube', 'large', 1), thing('blue', 'cube', 'small', 2), thing('red', 'ball', 'small', 3)],
    'relationships': {'left': [[], [0], [0, 1]], 'right': [[2, 1], [2], []]},
}


def program(*steps: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [{'function': name, 'inputs': list(inputs), 'value_inputs': values} for name, inputs, *values in steps]


PROGRAMS = {
    'count': ([('scene', ()), ('filter_color', (0,), 'red'), ('count', (1,))], '2'),
    'exist': ([('scene', ()), ('filter_shape', (0,), 'cone'), ('exist', (1,))], 'no'),
    'relate': (
        [
            ('scene', ()),
            ('filter_size', (0,), 'large'),
            ('unique', (1,)),
            ('relate', (2,), 'right'),
            ('filter_shape', (3,), 'ball'),
            ('unique', (4,)),
            ('query_color', (5,)),
        ],
        'red',
    ),
    'same': (
        [('scene', ()), ('filter_size', (0,), 'large'), ('unique', (1,)), ('same_shape', (2,)), ('count', (3,))],
        '1',
    ),
    'sets': (
        [
            ('scene', ()),
            ('filter_color', (0,), 'red'),
            ('filter_shape', (0,), 'cube'),
            ('union', (1, 2)),
            ('intersect', (1, 2)),
            ('count', (3,)),
            ('count', (4,)),
            ('greater_than', (5, 6)),
        ],
        'yes',
    ),
    'compare': (
        [
            ('scene', ()),
            ('filter_shape', (0,), 'ball'),
            ('unique', (1,)),
            ('query_color', (2,)),
            ('filter_size', (0,), 'large'),
            ('unique', (4,)),
            ('query_color', (5,)),
            ('equal_color', (3, 6)),
        ],
        'yes',
    ),
    'integers': ([('scene', ()), ('count', (0,)), ('count', (0,)), ('less_than', (1, 2))], 'no'),
    'equal': ([('scene', ()), ('count', (0,)), ('count', (0,)), ('equal_integer', (1, 2))], 'yes'),
}


@pytest.mark.parametrize('name', PROGRAMS)
def test_programs_give_their_answers(make: Make, name: str):
    steps, answer = PROGRAMS[name]
    assert answer_text(run_program(program(*steps), THINGS)[-1]) == answer
    row = {'image_filename': 'a.png', 'image_index': 0, 'question': 'q', 'answer': answer, 'program': program(*steps)}
    for version in ('q-a', 'q-s', 'q-bs'):
        item = make('ClevrDataset', row, scenes=[THINGS], version=version)
        assert said(item)[1].endswith(f'The answer is {answer}.')
    with pytest.raises(ValueError, match='the program gives'):
        make('ClevrDataset', {**row, 'answer': 'another'}, scenes=[THINGS], version='q-s')


def test_clevr_steps_are_written(make: Make):
    steps, answer = PROGRAMS['relate']
    row = {'image_filename': 'a.png', 'image_index': 0, 'question': 'q', 'answer': answer, 'program': program(*steps)}
    item = make('ClevrDataset', row, scenes=[THINGS], version='q-bs')
    assert said(item)[1] == (
        'scene -> filter_size:large[0] -> unique[1]<points> -> relate:right[2]<points> -> filter_shape:ball[3] -> '
        'unique[4]<points> -> query_color[5] The answer is red.'
    )
    assert item['target'] == {'points': [[1, 9], [2, 9], [3, 9]]}
    assert item['conversations'][1]['points_seq'] == [[0], [1, 2], [2]]
    steps, answer = PROGRAMS['exist']
    row |= {'answer': answer, 'program': program(*steps)}
    item = make('ClevrDataset', row, scenes=[THINGS], version='q-bs')
    assert said(item)[1] == 'scene -> filter_shape:cone[0] Found no object. -> exist[1] The answer is no.'


@pytest.mark.parametrize(
    ('steps', 'message'),
    [
        ([('scene', ()), ('paint', (0,))], "step 1 of the program: there is no function 'paint'"),
        ([('scene', ()), ('count', (3,))], r'step 1 of the program takes \[3\]'),
        ([('scene', ()), ('unique', (0,))], 'unique of 3 objects'),
        ([('scene', ()), ('filter_weight', (0,), 'x')], "no 'weight'"),
        ([('scene', ()), ('filter_color', (0,))], 'step 1 of the program, filter_color'),
    ],
)
def test_faulty_programs(steps: list[Any], message: str):
    with pytest.raises(ValueError, match=message):
        run_program(program(*steps), THINGS)


def test_clevr_scenes_are_found_by_number(make: Make):
    row = {
        'image_filename': 'a.png',
        'image_index': 1,
        'question': 'q',
        'answer': '3',
        'program': program(('scene', ())),
    }
    with pytest.raises(ValueError, match='has 1 scenes'):
        make('ClevrDataset', row, scenes=[THINGS], version='q-s')
    with pytest.raises(ValueError, match='must stand in the order of image_index'):
        make('ClevrDataset', row, scenes=[THINGS, THINGS], version='q-s')
    with pytest.raises(ValueError, match='give scene_graph_file'):
        make('ClevrDataset', row, version='q-bs')


# ---- VCR ----

PROBLEM: dict[str, Any] = {
    'img_fn': 'a.jpg',
    'boxes': [[1, 2, 3, 4, 0.9], [5, 6, 7, 8, 0.8]],
    'question': ['Why', 'is', [0], 'here', '?'],
    'answer_choices': [['He', 'eats'], [[1], 'sings'], ['c'], ['d']],
    'rationale_choices': [['r'], ['s'], [[0, 1], 'talk'], ['u']],
    'answer_label': 1,
    'rationale_label': 2,
}


@pytest.mark.parametrize('version', VCRDataset.versions)
def test_every_vcr_version(make: Make, version: str):
    item = make('VCRDataset', PROBLEM, version=version)
    for turn in item['conversations']:
        assert turn['value'].count('<boxes>') == len(turn['boxes_seq'])
    assert item['target'] == {'boxes': [[1, 2, 3, 4], [5, 6, 7, 8]]}
    assert len(item['conversations']) == (4 if version.count('-') == 3 else 2)


def test_vcr_texts(make: Make):
    assert said(make('VCRDataset', PROBLEM, version='qc-rac')) == [
        'QUESTION: Why is <boxes> here ? \nOPTIONS: (A) He eats (B) <boxes> sings (C) c (D) d You should decide on the '
        'best choice and output the corresponding letter. <image>',
        '<boxes> talk <boxes> sings The answer is (B).',
    ]
    with pytest.raises(ValueError, match='answer_label is 4; expected 0 to 3'):
        make('VCRDataset', {**PROBLEM, 'answer_label': 4})
    with pytest.raises(ValueError, match='3 choices; expected 4'):
        make('VCRDataset', {**PROBLEM, 'rationale_choices': [['r']] * 3})


def test_vcr_test_split_asks_for_each_answer(build: Make):
    row = {key: value for key, value in PROBLEM.items() if 'label' not in key}
    row['rationale_choices'] = [[[f'r{n}{k}'] for k in range(4)] for n in range(4)]
    data = build('VCRPredDataset', row, row, version='qac-r')
    assert len(data) == 8
    items = [data.make_item(data.get_row(n), ItemRng(0, 0, n)) for n in range(8)]
    assert [item['meta']['assumed_answer'] for item in items] == [0, 1, 2, 3] * 2
    assert '(A) r20 (B) r21' in said(items[6])[0]
    assert said(items[0])[1].endswith('we have no real anno.')
    assert data.describe(5).endswith(':2')
    with pytest.raises(ValueError, match="version='q-a'"):
        build('VCRPredDataset', row, version='q-a')


@pytest.mark.parametrize(
    ('answer', 'correct'), [('The answer is (B).', 1.0), ('x (A) so (B)', 1.0), ('B', 1.0), ('(C)', 0.0)]
)
def test_vcr_choices(answer: str, correct: float):
    meta = {'answer_label': 1, 'rationale_label': 2, 'asked': 'answer'}
    (row,) = VCRComputeMetrics().per_sample([Prediction(0, answer, '', meta)])
    assert row['correct'] == correct
    assert VCRComputeMetrics().extract(Prediction(0, 'no idea', '', meta)) is None
    with pytest.raises(ValueError, match='asks for no choice'):
        VCRComputeMetrics().compute([Prediction(0, '(A)', '', {})])


# ---- Flickr30k and GPT4Gen ----

CAPTION = {'id': 3, 'image_id': 12, 'sentence': '<ph_st>Two men<ph_ed> by <ph_st>a car<ph_ed> near <ph_st>them<ph_ed>.'}
CAPTION |= {'boxes': [[0, 0, 5, 5], [5, 5, 9, 9], [2, 2, 8, 8]], 'boxes_seq': [[0, 1], [2], [0, 1]]}


def test_marked_phrases():
    text = CAPTION['sentence']
    assert phrases_of(text) == ['Two men', 'a car', 'them']
    assert plain(text) == 'Two men by a car near them.'
    assert with_boxes(text, [0, 0, 0]) == 'Two men<boxes> by a car<boxes> near them<boxes>.'
    assert with_some_boxes(text, [True, False, True]) == 'Two men<boxes> by a car near them<boxes>.'
    for groups in ([], [[0]]):
        with pytest.raises(ValueError, match='3 <ph_st>'):
            with_boxes(text, groups)


@pytest.mark.parametrize('form', ['none', 'all', 'question'])
@pytest.mark.parametrize('most', [1, 2, 5])
def test_boxes_in_caption_out(make: Make, form: str, most: int):
    cfg = {'template_string': 'Describe <objs> in <image>.', 'caption_with_box': form, 'box_max_num': most}
    for index in range(10):
        item = make('flickr30k_reverse', CAPTION, index, **cfg)
        question, answer = item['conversations']
        (asked,) = question['boxes_seq']
        assert 1 <= len(asked) <= min(most, 3)
        assert len(set(asked)) == len(asked)
        shown = answer.get('boxes_seq') or []
        assert answer['value'].count('<boxes>') == len(shown)
        assert '<ph_' not in answer['value']
        if form == 'none':
            assert not shown
            assert question['value'].endswith('should only contain words, no boxes.')
        if form == 'all':
            assert shown == CAPTION['boxes_seq']
        if form == 'question':
            assert {box for group in shown for box in group} == set(asked)
    assert make('flickr30k_reverse', CAPTION, 3, **cfg) == make('flickr30k_reverse', CAPTION, 3, **cfg)


def test_flickr_faults(make: Make):
    with pytest.raises(ValueError, match="caption_with_box='some'"):
        make('flickr30k_reverse', CAPTION, caption_with_box='some', template_string='<objs> <image>')
    with pytest.raises(ValueError, match='no phrase of this caption has a box'):
        make('flickr30k_reverse', {**CAPTION, 'sentence': 'x', 'boxes_seq': []}, template_string='<objs> <image>')


def test_grounded_captions_are_scored_phrase_by_phrase():
    truth = [[[0, 0, 50, 50], [50, 50, 100, 100]], [[10, 10, 20, 20]]]
    meta = {'frame': [0, 0, 100, 100], 'answer_boxes': truth, 'references': ['two men by a car']}
    answers = [
        'two men[0.0,0.0,0.5,0.5;0.5,0.5,1.0,1.0] by a car[0.1,0.1,0.2,0.2]',
        'two men[0.0,0.0,0.5,0.5] by a car[0.8,0.8,0.9,0.9]',
        'two men by a car',
    ]
    metric = FlickrComputeMetrics()
    given_ = [Prediction(n, answer, '', meta) for n, answer in enumerate(answers)]
    rows, numbers = metric.per_sample(given_), metric.compute(given_)
    assert [row['correct'] for row in rows] == [1.0, 0.0, 0.0]  # a quarter of the merged box is not half of it
    assert [row['any_box_correct'] for row in rows] == [1.0, 0.5, 0.0]
    assert (numbers['parse_failures'], numbers['phrases']) == (1, 6)
    assert all(row['rouge_l'] == pytest.approx(1) for row in rows)


@given(st.lists(st.tuples(*[st.integers(0, 50)] * 4), min_size=1, max_size=5))
def test_the_union_holds_all_boxes(boxes: list[tuple[int, ...]]):
    x0, y0, x1, y1 = union(boxes)
    assert all(x0 <= a and y0 <= b and c <= x1 and d <= y1 for a, b, c, d in boxes)
    assert (x0, y1) == (min(box[0] for box in boxes), max(box[3] for box in boxes))


def test_gpt4gen(make: Make):
    row = {'img_path': 'a.jpg', 'boxes': [[1, 2, 3, 4], [5, 6, 7, 8]], 'question': 'Who is <ph_st>he<ph_ed>?'}
    row |= {'question_boxes_seq': [[0]], 'answer': 'A cook.', 'answer_boxes_seq': [[1]]}
    row |= {'cot_with_ans': '<ph_st>His hat<ph_ed> is white. So the answer is a cook.'}
    assert said(make('GPT4Gen', row, version='a'))[1] == 'A cook.'
    assert said(make('GPT4Gen', row, version='c'))[1] == 'His hat is white. So the answer is a cook.'
    item = make('GPT4Gen', row, version='bc')
    assert said(item) == ['Who is he<boxes>? <image>', 'His hat<boxes> is white. So the answer is a cook.']
    assert [turn['boxes_seq'] for turn in item['conversations']] == [[[0]], [[1]]]
    with pytest.raises(ValueError, match="version='d'"):
        make('GPT4Gen', row, version='d')
