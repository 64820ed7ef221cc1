"""Converters on invented records in the shape of the official files: rows, counts, and what is left out and why."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mllm.dataset.convert.base import Summary, convert
from mllm.registry import CONVERTERS, DATASETS
from mllm.utils.rng import ItemRng

Run = Callable[..., tuple[list[dict[str, Any]], Summary]]
TEN = [
    {'answer': text, 'answer_confidence': 'yes', 'answer_id': n}
    for n, text in enumerate(['red'] * 6 + ['dark red'] * 4)
]
ASK = '<question> <image>'


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Writes official files, converts a split, returns its rows and summary."""

    def call(name: str, split: str, files: dict[str, Any], **options: Any) -> tuple[list[dict[str, Any]], Summary]:
        root = tmp_path / 'official'
        for path, content in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(content if isinstance(content, str) else json.dumps(content))
        summary = convert(CONVERTERS.get(name)(root, **options), split, tmp_path / 'out')
        return [json.loads(line) for line in (tmp_path / 'out' / f'{split}.jsonl').read_text().splitlines()], summary

    return call


def items(tmp_path: Path, split: str, **cfg: Any) -> list[Any]:
    """What a dataset class makes of the rows of a split."""
    data = DATASETS.build({'filename': str(tmp_path / 'out' / f'{split}.jsonl'), **cfg})
    return [data.make_item(data.get_row(index), ItemRng(0, 0, index)) for index in range(len(data))]


def answers(made: list[Any]) -> list[str]:
    return [item['conversations'][-1]['value'] for item in made]


def test_vqav2(run: Run, tmp_path: Path):
    questions = [{'image_id': 42, 'question': f'What {n}?', 'question_id': n} for n in (1, 1, 2)]
    annotation = {
        'question_id': 1,
        'image_id': 42,
        'answers': TEN,
        'multiple_choice_answer': 'red',
        'answer_type': 'other',
    }
    files = {
        'v2_OpenEnded_mscoco_val2014_questions.json': {'info': {}, 'questions': questions},
        'v2_mscoco_val2014_annotations.json': {'annotations': [annotation, {**annotation, 'question_id': 9}]},
    }
    rows, summary = run('vqav2', 'val', files)
    assert [row['question_id'] for row in rows] == [1, 1]  # duplicates stay
    assert rows[0]['image_path'] == 'val2014/COCO_val2014_000000000042.jpg'
    assert summary.skipped == {'no annotation of this question': 1, 'annotation of a question that is not asked': 1}
    (item, _) = items(tmp_path, 'val', type='VQAv2Dataset', template_string=ASK)
    assert item['conversations'][1]['value'] == 'The answer is red.'
    assert item['meta']['answers'] == ['red'] * 6 + ['dark red'] * 4
    rows, _ = run('vqav2', 'test-dev', {'v2_OpenEnded_mscoco_test-dev2015_questions.json': {'questions': questions}})
    assert rows[2] == {'image_path': 'test2015/COCO_test2015_000000000042.jpg', 'question': 'What 2?', 'question_id': 2}


def test_okvqa_has_no_answer_of_its_own(run: Run):
    annotation = {'question_id': 1, 'image_id': 7, 'answers': TEN, 'question_type': 'eight', 'answer_type': 'other'}
    files = {
        'OpenEnded_mscoco_val2014_questions.json': {'questions': [{'image_id': 7, 'question': 'q', 'question_id': 1}]},
        'mscoco_val2014_annotations.json': {'annotations': [annotation]},
    }
    rows, _ = run('okvqa', 'val', files)
    assert rows[0]['annotation']['multiple_choice_answer'] == 'red'


def test_vqa_e(run: Run, tmp_path: Path):
    row = {'img_id': 5, 'question': 'Why?', 'answers': ['a', 'b', 'b'], 'explanation': ['It rains.', 0.7]}
    rows, summary = run('vqa_e', 'train', {'VQA-E_train_set.json': [row, {**row, 'explanation': []}]})
    assert (rows[0]['multiple_answers'], rows[0]['file_path']) == ('b', 'train2014/COCO_train2014_000000000005.jpg')
    assert summary.skipped == {'no explanation': 1}
    made = items(tmp_path, 'train', type='VQAEXDataset', template_string=ASK)
    assert answers(made) == ['It rains. So the answer is b.']


def test_vqa_x(run: Run, tmp_path: Path):
    files = {
        'textual/val_exp_anno.json': {'3': ['Because.', 'So it is.'], '4': ['Lost.'], '5': []},
        'v2_OpenEnded_mscoco_val2014_questions.json': {
            'questions': [{'image_id': 1, 'question': 'q', 'question_id': number} for number in (3, 5)]
        },
        'v2_mscoco_val2014_annotations.json': {
            'annotations': [
                {'question_id': number, 'answers': TEN, 'multiple_choice_answer': 'red'} for number in (3, 5)
            ]
        },
    }
    rows, summary = run('vqa_x', 'val', files)
    assert summary.skipped == {'question or annotation is not in the files of VQAv2': 1, 'no explanation': 1}
    made = items(tmp_path, 'val', type='VQAEXDataset', template_string=ASK, is_e_dataset=False)
    assert answers(made) == ['Because.So it is. So the answer is red.']
    entry = {
        'question': 'q',
        'answers': TEN,
        'image_id': 1,
        'image_name': 'COCO_val2014_000000000001.jpg',
        'explanation': ['E.'],
    }
    rows, summary = run('vqa_x', 'nle_val', {'vqaX_val.json': {'11': entry, '12': {**entry, 'explanation': []}}})
    assert summary.skipped == {'no explanation': 1}
    assert (rows[0]['question_id'], rows[0]['file_path']) == (11, 'val2014/COCO_val2014_000000000001.jpg')


@pytest.mark.parametrize('form', ['lines', 'array'])
def test_pope(run: Run, tmp_path: Path, form: str):
    row = {'question_id': 1, 'image': 'a.jpg', 'text': 'Is there a cat?', 'label': 'Yes'}
    rows = [row, row, {**row, 'label': 'maybe'}]
    text = json.dumps(rows, indent=1) if form == 'array' else '\n'.join(map(json.dumps, rows))
    rows, summary = run('pope', 'coco_random', {'coco/coco_pope_random.json': text})
    assert [row['label'] for row in rows] == ['yes', 'yes']
    assert summary.skipped == {"label is 'maybe'": 1}
    assert (
        answers(items(tmp_path, 'coco_random', type='POPEVQADataset', template_string=ASK))[0] == 'The answer is yes .'
    )


def test_scienceqa(run: Run, tmp_path: Path):
    problem = {'question': 'Which?', 'choices': ['one', 'two'], 'answer': 1, 'hint': '', 'image': None, 'split': 'val'}
    problem |= {'subject': 'social science', 'grade': 'grade8', 'solution': 'It is.', 'lecture': ''}
    files = {
        'problems.json': {'1': problem, '2': {**problem, 'image': 'image.png'}, '3': {**problem, 'answer': 2}},
        'pid_splits.json': {'val': ['2', '1', '3', '4']},
        'captions.json': {'captions': {'2': 'a map'}},
    }
    rows, summary = run('scienceqa', 'val', files)
    assert [row['image_path'] for row in rows] == ['val/2/image.png', None]
    assert (rows[0]['caption'], rows[0]['answer']) == ('a map', 'B')
    assert summary.skipped == {'answer is none of the choices': 1, 'no such problem': 1}
    with_image, without = items(tmp_path, 'val', type='ScienceQADataset', template_string=ASK)
    assert '<image>' in with_image['conversations'][0]['value']
    assert without['conversations'][0]['value'] == 'Which?\nOptions: (A) one (B) two'
    assert without['conversations'][1]['value'] == 'The answer is (B).'
    assert [without['meta'][key] for key in ('subject', 'context', 'grade')] == ['SOC', ['NO'], 'G7-12']


def test_coco_captions(run: Run, tmp_path: Path):
    official = {
        'images': [{'id': 1, 'file_name': 'a.jpg'}, {'id': 2, 'file_name': 'b.jpg'}],
        'annotations': [
            {'image_id': '1', 'id': 5, 'caption': 'A dog. \n'},
            {'image_id': 1, 'id': 6, 'caption': 'Two dogs.'},
            {'image_id': 1, 'id': 7, 'caption': ' '},
            {'image_id': 3, 'id': 8, 'caption': 'Lost.'},
        ],
    }
    rows, summary = run('coco_captions', 'val2017', {'annotations/captions_val2017.json': official})
    assert rows == [{'img_path': 'val2017/a.jpg', 'captions': ['A dog.', 'Two dogs.'], 'image_id': 1}]
    reasons = {'caption is empty': 1, 'image without caption': 1, 'captions of an image that the file does not have': 1}
    assert summary.skipped == reasons
    (item,) = items(tmp_path, 'val2017', type='CaptionDataset', template_string='<image>')
    assert item['meta']['references'] == ['A dog.', 'Two dogs.']
    rows, _ = run('coco_captions', 'train2017', {'annotations/captions_train2017.json': official})
    assert [row['caption'] for row in rows] == ['A dog.', 'Two dogs.']
    sentences = [{'raw': 'A cat .', 'tokens': []}]
    image = {'filepath': 'val2014', 'filename': 'c.jpg', 'cocoid': 9, 'sentences': sentences}
    karpathy = {'images': [{**image, 'split': name} for name in ('train', 'restval', 'val', 'test')]}
    rows, _ = run('coco_captions', 'karpathy_train', {'dataset_coco.json': karpathy})
    assert len(rows) == 2
    assert rows[0] == {'img_path': 'val2014/c.jpg', 'caption': 'A cat .', 'image_id': 9}


def test_llava_instruct(run: Run):
    turns = [{'from': 'human', 'value': '<image>\nWhat?'}, {'from': 'gpt', 'value': 'A cat.'}]
    plain = [{'from': 'human', 'value': 'Hi'}, {'from': 'gpt', 'value': 'Hello.'}]
    given = [
        {'id': '1', 'image': 'a.jpg', 'conversations': turns},
        {'id': '2', 'conversations': plain},
        {'id': '3', 'image': 'a.jpg', 'conversations': plain},
        {'id': '4', 'image': 'a.jpg', 'conversations': turns[:1]},
    ]
    rows, summary = run('llava_instruct', 'chat', {'chat.json': given})
    assert rows == given[:2]
    assert sum(summary.skipped.values()) == 2


def xml(*objects: str) -> str:
    size = '<size><width>100</width><height>80</height><depth>3</depth></size>'
    return f'<annotation><filename>7.jpg</filename>{size}{"".join(objects)}</annotation>'


def test_flickr30k_entities(run: Run, tmp_path: Path):
    def box(names: str, *place: int) -> str:
        keys = ('xmin', 'ymin', 'xmax', 'ymax')
        inner = ''.join(f'<{key}>{value}</{key}>' for key, value in zip(keys, place, strict=True))
        return f'<object>{"".join(f"<name>{n}</name>" for n in names.split())}<bndbox>{inner}</bndbox></object>'

    scene = '<object><name>3</name><scene>1</scene><nobndbox>1</nobndbox></object>'
    sentences = [
        '[/EN#1/people Two men] by [/EN#2/other a car] in [/EN#3/scene a street] .',
        '[/EN#2/vehicles/other A car] and [/EN#0/notvisual nothing] with [/EN#1/people men]',
    ]
    files = {
        'test.txt': '7\n8\n',
        'Sentences/7.txt': '\n'.join(sentences) + '\n',
        'Annotations/7.xml': xml(box('1', 11, 1, 41, 61), box('1 2', 51, 11, 110, 71), scene, box('2', 9, 9, 9, 9)),
        'UNRELATED_CAPTIONS': 'image sentence_no\n7 2\n',
    }
    rows, summary = run('flickr30k_entities', 'test', files)
    assert rows[0]['sentence'] == '<ph_st>Two men<ph_ed> by <ph_st>a car<ph_ed> in a street .'
    # One less than in the file, and cut at the image.
    assert rows[0]['boxes'] == [[10, 0, 40, 60], [50, 10, 100, 70], [50, 10, 100, 70]]
    assert rows[0]['boxes_seq'] == [[0, 1], [2]]
    assert rows[1]['sentence'] == '<ph_st>A car<ph_ed> and nothing with <ph_st>men<ph_ed>'
    assert rows[1]['boxes_seq'] == [[0], [1, 2]]
    assert summary.skipped == {'image without Sentences file': 1, 'box empty': 1}
    made = items(tmp_path, 'test', type='FlickrDataset', template_string='<image>')
    assert answers(made)[0] == 'Two men<boxes> by a car<boxes> in a street .'
    rows, summary = run('flickr30k_entities', 'test', files, drop_unrelated=True)
    assert len(rows) == 1
    assert summary.skipped['caption of another image'] == 1
    with pytest.raises(ValueError, match='not whole XML'):
        run('flickr30k_entities', 'test', {**files, 'Annotations/7.xml': xml()[:-20]})


IMAGES = [{'image_id': n, 'url': f'https://x/VG_100K_2/{n}.jpg', 'width': 100, 'height': 80} for n in (1, 2)]


def test_pointqa_takes_the_answer_of_the_point(run: Run, tmp_path: Path):
    things = [{'x': 10, 'y': 10, 'w': 20, 'h': 20}, {'x': 90, 'y': 50, 'w': 30, 'h': 20}]
    points = [{'x': 20, 'y': 20, 'ans': 'blue'}, {'x': 95, 'y': 60, 'ans': 'red'}]
    entry = {'id': 1, 'question': 'What color?', 'all_ans': ['red', 'blue'], 'all_objs': things, 'points': points}
    files = {
        'LocalQA/localqa_dataset.json': {'1': [entry, {**entry, 'points': points[:1]}]},
        'LocalQA/localqa_val_imgs.json': ['1', '2', '77'],
        'image_data.json': IMAGES,
    }
    rows, summary = run('pointqa', 'local_val', files)
    assert [(row['answer'], row['bbox']) for row in rows] == [('blue', [10, 10, 30, 30]), ('red', [90, 50, 100, 70])]
    assert (rows[0]['file_path'], summary.clipped) == ('VG_100K_2/1.jpg', 1)
    assert summary.skipped == {
        'image of the split without questions': 2,
        'points and objects of a question differ in number': 1,
    }
    made = items(tmp_path, 'local_val', type='Point_QA_local', template_string=ASK, version='b')
    assert answers(made) == ['The answer is blue .', 'The answer is red .']


def test_pointqa_points_outside(run: Run):
    """The centre of a box that mostly sticks out: its row would fail in every version that shows the point."""
    thing, inside = {'x': 80, 'y': 50, 'w': 90, 'h': 20}, {'x': 90, 'y': 60, 'ans': 'red'}
    entry = {'question': 'What?', 'all_objs': [thing] * 2, 'points': [inside, {**inside, 'x': 125}]}
    spatial = {'question': 'What?', 'answer': 'red', 'point': {'x': -9, 'y': 3}}
    files = {
        'LocalQA/localqa_dataset.json': {'1': [entry]},
        'LocalQA/localqa_val_imgs.json': ['1'],
        'VerbalSpatial/spatial_dataset.json': {'1': [spatial]},
        'VerbalSpatial/val_imgs_vs.json': ['1'],
        'image_data.json': IMAGES,
    }
    rows, summary = run('pointqa', 'local_val', files)
    assert ([row['point'] for row in rows], summary.skipped) == ([[90, 60]], {'point outside': 1})
    assert run('pointqa', 'spatial_val', files)[1].skipped == {'point outside': 1}


def test_pointqa_twice_and_general(run: Run, tmp_path: Path):
    entry = {'id': 1, 'ans': 3, 'point': {'x': 20, 'y': 20, 'ans': 3}, 'bbox': {'x': 1, 'y': 1, 'w': 5, 'h': 5}}
    entry |= {'obj_question': 'How many dogs?', 'super_question': 'How many animals?', 'obj_type': 'dog'}
    released = {**entry, 'general_question': 'How many of these?'}
    created = {**entry, 'pt_question': 'How many of these?', 'img_question': 'How many dogs?'}
    for key in ('obj_question', 'super_question'):
        del created[key]
    files = {
        'LookTwiceQA/looktwiceqa_dataset.json': {'1': [released, created, {'ans': 3}]},
        'LookTwiceQA/looktwiceqa_test_imgs.json': [1],
        'VerbalSpatial/spatial_dataset.json': {
            '2': [{'question': 'How is it?', 'answer': 'wet', 'point': {'x': 3, 'y': 4, 'ans': 'wet'}}]
        },
        'VerbalSpatial/test_imgs_vs.json': ['2'],
        'image_data.json': IMAGES,
    }
    rows, summary = run('pointqa', 'twice_test', files)
    assert [row['obj_question'] for row in rows] == ['How many dogs?'] * 2
    assert [(row['answer'], row['general_question']) for row in rows] == [('3', 'How many of these?')] * 2
    assert ['super_question' in row for row in rows] == [True, False]
    assert summary.skipped == {'none of obj_question, super_question, general_question': 1}
    (item, _) = items(tmp_path, 'twice_test', type='Point_QA_twice', template_string=ASK, version='oq-p')
    assert item['conversations'][0]['value'] == 'How many dogs?<points> <image>'
    run('pointqa', 'spatial_test', files)
    (item,) = items(tmp_path, 'spatial_test', type='Point_QA_local', template_string=ASK)
    assert item['target'] == {'points': [[3, 4]]}


def test_visual7w(run: Run, tmp_path: Path):
    places = [(10, 10, 20, 20), (-5, 0, 15, 10), (30, 30, 10, 10), (50, 50, 5, 5), (0, 0, 0, 9)]
    boxes = [{'box_id': n, **dict(zip(('x', 'y', 'width', 'height'), place))} for n, place in enumerate(places)]
    pair = {'qa_id': 5, 'question': 'Which is it?', 'type': 'which', 'answer': 1, 'multiple_choices': [0, 2, 3]}
    image = {'image_id': 1, 'split': 'val', 'filename': 'v7w_1.jpg'}
    pairs = [pair, {**pair, 'answer': 4}, {**pair, 'answer': 99}]
    images = [{**image, 'qa_pairs': pairs}, {**image, 'split': 'train', 'qa_pairs': [pair]}]
    rows, summary = run('visual7w', 'val', {'dataset_v7w_pointing.json': {'images': images, 'boxes': boxes}})
    (row,) = rows
    assert (row['answer'], row['point'], row['candidates'][0]) == ([0, 0, 10, 10], [5, 5], [0, 0, 10, 10])
    assert summary.skipped == {'a candidate is no box of the image': 1, 'a candidate is not among the boxes': 1}
    assert summary.clipped == 1
    (item,) = items(tmp_path, 'val', type='V7W_POINT', template_string=ASK, version='b')
    assert item['conversations'][1] == {'from': 'gpt', 'value': 'The answer is <boxes> .', 'boxes_seq': [[0]]}


def test_gqa(run: Run, tmp_path: Path):
    question = {'imageId': '9', 'question': 'Is it red?', 'answer': 'yes', 'fullAnswer': 'Yes, the car is red.'}
    question |= {'semanticStr': 'select: car (12)->verify color: red [0]', 'types': {'structural': 'verify'}}
    question |= {'annotations': {'answer': {}, 'question': {}, 'fullAnswer': {'2': '12'}}}
    parts = {f'questions1.2/train_all_questions/train_all_questions_{n}.json': {f'{n}1': question} for n in range(10)}
    rows, _ = run('gqa', 'train_all_questions', parts)
    assert [row['question_id'] for row in rows] == [f'{n}1' for n in range(10)]
    scene = {'width': 50, 'height': 40, 'objects': {'12': {'name': 'car', 'x': 1, 'y': 2, 'w': 3, 'h': 4}}}
    run('gqa', 'train_sceneGraphs', {'sceneGraphs/train_sceneGraphs.json': {'8': scene, '9': scene}})
    out = tmp_path / 'out'
    assert json.loads((out / 'train_sceneGraphs_index.json').read_text()) == {'8': 0, '9': 1}
    scenes = {'scene_graph_file': str(out / 'train_sceneGraphs.jsonl')}
    for more in (scenes, {**scenes, 'scene_graph_index': str(out / 'train_sceneGraphs_index.json')}):
        (item, *_) = items(
            tmp_path, 'train_all_questions', type='GQADataset', template_string=ASK, version='q-bl', **more
        )
        assert item['conversations'][1]['value'] == 'the car<boxes> is red. The answer is yes.'
        assert item['target'] == {'boxes': [[1, 2, 4, 6]]}


def test_clevr_runs_programs(run: Run, tmp_path: Path):
    def thing(color: str, x: int) -> dict[str, Any]:
        return {'color': color, 'size': 'large', 'shape': 'cube', 'material': 'metal', 'pixel_coords': [x, 5, 9.0]}

    relations = {'left': [[], [0], [0, 1]], 'right': [[1, 2], [2], []]}
    scene = {
        'image_index': 0,
        'objects': [thing('red', 1), thing('blue', 2), thing('red', 3)],
        'relationships': relations,
    }
    program = [
        {'function': 'scene', 'inputs': [], 'value_inputs': []},
        {'function': 'filter_color', 'inputs': [0], 'value_inputs': ['red']},
        {'function': 'count', 'inputs': [1], 'value_inputs': []},
    ]
    row = {'image_index': 0, 'image_filename': 'a.png', 'question': 'How many?', 'answer': '2', 'program': program}
    typed = [
        {'type': step['function'], 'inputs': step['inputs'], 'value_inputs': step['value_inputs']} for step in program
    ]
    wrong = [{**row, 'answer': '3'}, {**row, 'image_index': 7}]
    files = {
        'questions/CLEVR_val_questions.json': {'info': {}, 'questions': [row, {**row, 'program': typed}, *wrong]},
        'scenes/CLEVR_val_scenes.json': {'info': {}, 'scenes': [scene]},
    }
    rows, summary = run('clevr', 'val', files)
    assert [[step['ans'] for step in row['program']] for row in rows] == [[[0, 1, 2], [0, 2], 2]] * 2
    assert rows[0]['program'] == rows[1]['program']
    assert summary.skipped == {
        "program: the program gives '2' on this scene, and the answer is '3'": 1,
        'no scene of its image': 1,
    }
    run('clevr', 'val_scenes', files)
    scenes = str(tmp_path / 'out' / 'val_scenes.jsonl')
    (item, _) = items(
        tmp_path, 'val', type='ClevrDataset', template_string=ASK, version='q-bs', scene_graph_file=scenes
    )
    assert item['conversations'][1]['value'] == 'scene -> filter_color:red[0]<points> -> count[1] The answer is 2.'
    assert item['target'] == {'points': [[1, 5], [3, 5]]}
    with pytest.raises(ValueError, match='scenes have a gap'):
        run('clevr', 'val_scenes', {'scenes/CLEVR_val_scenes.json': {'scenes': [scene, {**scene, 'image_index': 2}]}})


def test_vcr(run: Run, tmp_path: Path):
    row = {
        'img_fn': 'm/0@1.jpg',
        'metadata_fn': 'm/0@1.json',
        'objects': ['person', 'person'],
        'question': ['Why', 'is', [0, 1], 'here', '?'],
        'answer_choices': [[[0], 'sits'], ['no'], ['b'], ['c']],
        'rationale_choices': [['r'], ['s'], [[1], 't'], ['u']],
        'answer_label': 0,
        'rationale_label': 2,
        'annot_id': 'val-0',
    }
    files = {
        'vcr1annots/val.jsonl': '\n'.join(
            map(json.dumps, [row, {**row, 'metadata_fn': 'x.json'}, {**row, 'objects': []}])
        ),
        'vcr1images/m/0@1.json': {
            'boxes': [[1, 2, 30, 40, 0.9], [5, 5, 9, 9, 0.8]],
            'names': [],
            'width': 50,
            'height': 60,
        },
    }
    rows, summary = run('vcr', 'val', files)
    assert (rows[0]['width'], rows[0]['boxes'][1]) == (50, [5, 5, 9, 9, 0.8])
    assert summary.skipped == {'image without metadata in vcr1images': 1, 'objects and boxes differ in number': 1}
    (item,) = items(tmp_path, 'val', type='VCRDataset', template_string=ASK, version='q-ra')
    assert item['conversations'][1] == {'from': 'gpt', 'value': '<boxes> t <boxes> sits', 'boxes_seq': [[1], [0]]}
    assert item['target'] == {'boxes': [[1, 2, 30, 40], [5, 5, 9, 9]]}


def test_vl_icl(run: Run):
    query = {'id': 'q', 'image': ['operator_induction/query/1.png'], 'question': 'What?', 'answer': -2, 'operator': '-'}
    rows, _ = run('vl_icl', 'operator_induction_query', {'operator_induction/query.json': [query]})
    assert (rows[0]['target'], rows[0]['image_path']) == ('-2', 'operator_induction/query/1.png')
    pair = {'same': {'image': ['a', 'b']}, 'diff': {'image': ['a', 'c']}}
    rows, summary = run('vl_icl', 'matching_mi_support', {'matching_mi/support.json': [pair, {'image': ['x']}]})
    assert rows == [pair]
    assert summary.skipped == {'no answer': 1}


def test_isekai(run: Run, tmp_path: Path):
    row = {
        'image_name': 'p/1.png',
        'positive_list': ['p/2.png'],
        'negative_list': ['n/1.png'],
        'positive_prompt': 'icemic',
    }
    row |= {'negative_prompt': 'ice', 'label_name': 'ice'}
    rows, _ = run('isekai', 'ISEKAI-10', {'ISEKAI-10/rows.json': json.dumps([row])})
    assert rows[0]['positive_promt'] == 'icemic'


TRUNCATED = {
    'vqav2': ('test', 'v2_OpenEnded_mscoco_test2015_questions.json', '{"questions": [{"question_id": 1, "image_id"'),
    'vqa_e': ('val', 'VQA-E_val_set.json', '[{"img_id": 1, "question"'),
    'vqa_x': ('nle_val', 'vqaX_val.json', '{"1": {"question": '),
    'gqa': ('val_all_questions', 'questions1.2/val_all_questions.json', '{"1": {"question": "a'),
    'llava_instruct': ('chat', 'chat.json', '[{"conversations": ['),
    'coco_captions': ('val2014', 'annotations/captions_val2014.json', '{"annotations": [{"image_id": 1'),
    'clevr': ('test', 'questions/CLEVR_test_questions.json', '{"questions": ['),
}


@pytest.mark.parametrize('name', TRUNCATED)
def test_a_file_that_is_cut_off_is_named(run: Run, tmp_path: Path, name: str):
    split, path, text = TRUNCATED[name]
    with pytest.raises(ValueError, match=f'{Path(path).name}: not whole JSON'):
        run(name, split, {path: text})
    assert not (tmp_path / 'out' / f'{split}.jsonl').exists()


def test_files_of_short_answers_that_are_not_what_they_should_be(run: Run):
    problems = {'problems.json': {'1': {'question': 'q', 'choices': ['x'], 'answer': 0, 'split': 'val'}}}
    with pytest.raises(ValueError, match=r'problems\.json: not whole JSON'):
        run('scienceqa', 'val', {'problems.json': '{"1": {"question"', 'pid_splits.json': {'val': ['1']}})
    with pytest.raises(ValueError, match=r'pid_splits\.json: not whole JSON'):
        run('scienceqa', 'val', {**problems, 'pid_splits.json': '{"val": ["1"'})
    with pytest.raises(ValueError, match=r"pid_splits\.json: there is no split 'val'"):
        run('scienceqa', 'val', {**problems, 'pid_splits.json': {'train': ['1']}})
    with pytest.raises(ValueError, match='after 0 rows the official files have another form'):
        run('scienceqa', 'val', {'problems.json': {'1': {'question': 'q'}}, 'pid_splits.json': {'val': ['1']}})
    row = {'question_id': 1, 'image': 'a.jpg', 'text': 'Is there a cat?'}
    with pytest.raises(ValueError, match=r"coco_pope_random\.json:1: no 'label'; is it another file"):
        run('pope', 'coco_random', {'coco/coco_pope_random.json': json.dumps(row)})
    cut = json.dumps({**row, 'label': 'no'}) + '\n{"question_id": 2, "ima'
    with pytest.raises(ValueError, match=r'coco_pope_random\.json:2'):
        run('pope', 'coco_random', {'coco/coco_pope_random.json': cut})
    with pytest.raises(ValueError, match="there is no split 'tests'"):
        run('okvqa', 'tests', {})
    with pytest.raises(ValueError, match=r"no array with entries at 'questions\.item'"):
        run('vqav2', 'test', {'v2_OpenEnded_mscoco_test2015_questions.json': {'annotations': []}})


def test_every_converter_says_what_it_needs(tmp_path: Path):
    for name in CONVERTERS.names():
        converter = CONVERTERS.get(name)(tmp_path)
        for split in converter.splits:
            assert converter.missing(split), f'{name} {split}'
