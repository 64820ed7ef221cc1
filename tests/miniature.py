"""A miniature of every dataset of the catalogue, in the places and forms that it names: for tests of configs.

A few pictures of noise, and two or three invented rows a file.
"""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

TEN = [{'answer': 'two', 'answer_id': number} for number in range(10)]
BOX, OTHER = [4, 6, 30, 28], [20, 10, 50, 44]


def lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))


def picture(path: Path) -> None:
    """Noise that is another one under every name."""
    seed = zlib.crc32('/'.join(path.parts[-4:]).encode())
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(path)


def write_miniature(root: Path) -> None:
    """All of it below `root`, which MLLM_DATA names."""
    for write in (
        refcoco,
        visual_genome,
        vqa,
        pope_and_science,
        gqa,
        clevr,
        vcr,
        captions,
        instruct,
        points,
        vl_icl,
        v3det,
    ):
        write(root)


def refcoco(root: Path) -> None:
    picture(root / 'coco/train2014/a.jpg')
    row = {
        'img_path': 'a.jpg',
        'expression': 'the thing on the left',
        'bbox': BOX,
        'height': 48,
        'width': 64,
        'ref_id': 1,
    }
    names = [f'refcoco{plus}_unc_{split}' for plus in ('', '+') for split in ('train', 'val', 'testA', 'testB')]
    names += [f'refcocog_umd_{split}' for split in ('train', 'val', 'test')]
    names += [f'refcocog_google_{split}' for split in ('train', 'val')]
    for name in names:
        lines(root / f'refcoco/{name}.jsonl', [row, {**row, 'expression': 'right thing', 'bbox': OTHER}])
        lines(root / f'refcoco/reg_{name}.jsonl', [{**row, 'references': [row['expression'], 'left thing']}])


def visual_genome(root: Path) -> None:
    picture(root / 'visual_genome/VG_100K/1.jpg')
    row = {'img_path': 'VG_100K/1.jpg', 'expression': 'a kite', 'bbox': BOX}
    lines(root / 'visual_genome/regions.jsonl', [row] * 40)


def vqa(root: Path) -> None:
    row = {'question': 'How many?', 'question_id': 7}
    annotation = {'multiple_choice_answer': 'two', 'answers': TEN, 'answer_type': 'number', 'question_type': 'how many'}
    for split, folder in (('train', 'train2014'), ('val', 'val2014'), ('test-dev', 'test2015'), ('test', 'test2015')):
        name = f'{folder}/COCO_{folder}_000000000007.jpg'
        picture(root / 'coco' / name)
        official = {**row, 'image_path': name, **({} if 'test' in split else {'annotation': annotation})}
        lines(root / f'vqav2/{split}.jsonl', [official] * 2)
        lines(root / f'okvqa/{split}.jsonl', [official])
        reason = {**row, 'file_path': name, 'answers': TEN}
        lines(root / f'vqa_e/{split}.jsonl', [{**reason, 'explanation': ['I see two.', 1], 'multiple_answers': 'two'}])
        lines(root / f'vqa_x/{split}.jsonl', [{**reason, 'justification': ['Two.'], 'multiple_choice_answer': 'two'}])


def pope_and_science(root: Path) -> None:
    picture(root / 'coco/val2014/p.jpg')
    picture(root / 'gqa/images/p.jpg')
    for name in ('coco', 'aokvqa', 'gqa'):
        for kind in ('random', 'popular', 'adversarial'):
            row = {'question_id': 1, 'image': 'p.jpg', 'text': 'Is there a dog in the image?', 'label': 'no'}
            lines(root / f'pope/{name}_{kind}.jsonl', [row])
    picture(root / 'scienceqa/images/val/1/image.png')
    problem = {'id': '1', 'image_path': None, 'question': 'Which one?', 'choices': ['this', 'that'], 'answer': 'A'}
    problem |= {
        'hint': '',
        'lecture': 'All about it.',
        'solution': 'This.',
        'subject': 'natural science',
        'grade': 'grade2',
    }
    for split in ('train', 'val', 'test', 'minival', 'minitest'):
        lines(root / f'scienceqa/{split}.jsonl', [{**problem, 'image_path': 'val/1/image.png'}, problem])


def gqa(root: Path) -> None:
    picture(root / 'gqa/images/9.jpg')
    row = {'question_id': '1', 'imageId': '9', 'question': 'Is the car red?', 'answer': 'yes'}
    row |= {'fullAnswer': 'Yes, the car is red.', 'semanticStr': 'select: car (12)->verify color: red [0]'}
    row |= {'annotations': {'answer': {}, 'question': {'2': '12'}, 'fullAnswer': {'2': '12'}}}
    row |= {'cot': {'value': '<ph_st>The car<ph_ed> is red. The answer is yes.', 'boxes': [BOX], 'seq': [[0]]}}
    for split in ('train', 'val', 'testdev'):
        lines(root / f'gqa/{split}_balanced_questions.jsonl', [row])
        scene = {'imageId': '9', 'objects': {'12': {'name': 'car', 'x': 1, 'y': 2, 'w': 30, 'h': 20}}}
        lines(root / f'gqa/{split}_sceneGraphs.jsonl', [scene])
        (root / f'gqa/{split}_sceneGraphs_index.json').write_text('{"9": 0}')


def clevr(root: Path) -> None:
    thing = {'color': 'red', 'size': 'large', 'shape': 'cube', 'material': 'metal', 'pixel_coords': [20, 15, 9.0]}
    scene = {'image_index': 0, 'objects': [thing], 'relationships': {}}
    program = [{'function': 'scene', 'inputs': []}, {'function': 'count', 'inputs': [0]}]
    row = {'image_index': 0, 'image_filename': 'c.png', 'question': 'How many?', 'answer': '1', 'program': program}
    for split in ('train', 'val'):
        picture(root / f'clevr/images/{split}/c.png')
        lines(root / f'clevr/{split}.jsonl', [row])
        lines(root / f'clevr/{split}_scenes.jsonl', [scene])


def vcr(root: Path) -> None:
    picture(root / 'vcr/vcr1images/m/0@1.jpg')
    row = {'img_fn': 'm/0@1.jpg', 'boxes': [[*BOX, 0.9], [*OTHER, 0.8]], 'question': ['Why', 'is', [0, 1], 'here', '?']}
    row |= {key: [[[0], 'sits'], ['no'], ['b'], ['c']] for key in ('answer_choices', 'rationale_choices')}
    for split in ('train', 'val'):
        lines(root / f'vcr/{split}.jsonl', [{**row, 'answer_label': 0, 'rationale_label': 2}])
    lines(root / 'vcr/test.jsonl', [row])


def captions(root: Path) -> None:
    for split in ('train2014', 'val2014', 'val2017', 'karpathy_train', 'karpathy_val', 'karpathy_test'):
        row: dict[str, Any] = {'img_path': 'val2014/p.jpg', 'image_id': 1}
        row |= {'caption': 'A dog.'} if 'train' in split else {'captions': ['A dog.', 'One dog runs.']}
        lines(root / f'coco_captions/{split}.jsonl', [row] * 2)
    picture(root / 'flickr30k/flickr30k-images/5.jpg')
    sentence = '<ph_st>A man<ph_ed> holds <ph_st>a ball<ph_ed> .'
    row = {'id': 0, 'image_id': '5', 'sentence': sentence, 'boxes': [BOX, OTHER], 'boxes_seq': [[0], [1, 0]]}
    for split in ('train', 'val', 'test'):
        lines(root / f'flickr30k/{split}.jsonl', [row, {**row, 'id': 1}])
    row = {
        'img_path': '5.jpg',
        'boxes': [BOX],
        'question': 'What is <ph_st>he<ph_ed> doing?',
        'question_boxes_seq': [[0]],
    }
    row |= {'answer': 'He runs.', 'cot_with_ans': '<ph_st>The man<ph_ed> runs.', 'answer_boxes_seq': [[0]]}
    lines(root / 'gpt4gen/train.jsonl', [row])


def instruct(root: Path) -> None:
    turns = [{'from': 'human', 'value': '<image>\nWhat is it?'}, {'from': 'gpt', 'value': 'A cat.'}]
    places = {'llava_instruct_150k': 'coco/train2017', 'llava_v1_5_mix665k': 'llava/images'}
    places |= {'chat': 'llava/cc3m', 'blip_laion_cc_sbu_558k': 'llava/lcs558k'}
    for name, folder in places.items():
        picture(root / folder / 'i.jpg')
        lines(root / f'llava/{name}.jsonl', [{'id': '1', 'image': 'i.jpg', 'conversations': turns}] * 3)


def points(root: Path) -> None:
    row = {'file_path': 'VG_100K/1.jpg', 'question': 'What color?', 'answer': 'red', 'bbox': BOX, 'point': [17, 17]}
    row |= {f'{kind}_question': 'How many of these?' for kind in ('obj', 'super', 'general')}
    splits = {'local': ('train', 'val', 'testdev', 'testfinal'), 'twice': ('train', 'val', 'test')}
    for name in (f'{kind}_{split}' for kind, names in splits.items() for split in names):
        lines(root / f'pointqa/{name}.jsonl', [row])
    picture(root / 'visual7w/images/v7w_1.jpg')
    boxes = [BOX, OTHER, [0, 0, 9, 9], [40, 30, 60, 47]]
    row = {
        'file_path': 'v7w_1.jpg',
        'question': 'Which?',
        'candidates': boxes,
        'answer': BOX,
        'point': [17, 17],
        'qa_id': 1,
    }
    for split in ('train', 'val', 'test'):
        lines(root / f'visual7w/{split}.jsonl', [row])


def vl_icl(root: Path) -> None:
    for task in ('open_mi', 'operator_induction', 'clevr', 'textocr', 'matching_mi'):
        folder = root / 'vl_icl' / task
        for number in range(5):
            picture(folder / f'support/{number}.png')
        picture(folder / 'query/q.png')
        support = [
            {'id': f's{n}', 'image': [f'{task}/support/{n}.png'], 'question': 'shape: cube', 'answer': n}
            for n in range(4)
        ]
        query: dict[str, Any] = {'id': 'q', 'image': [f'{task}/query/q.png'], 'question': 'shape: cube', 'answer': 3}
        if task == 'operator_induction':
            support = [{**row, 'answer': [row['answer'], 0, -1]} for row in support]
            query |= {'operator': 'x', 'answer': -1}
        if task == 'open_mi':
            shown = {
                name: {
                    'images': [f'{task}/support/{(n + k) % 5}.png' for k in range(4)],
                    'caption': f'This is a {name}',
                }
                for n, name in enumerate(('dax', 'blick'))
            }
            query |= {'question': 'This is a', 'answer': 'dax', 'classes': ['dax', 'blick'], 'support': shown}
        if task == 'matching_mi':
            pair = {'image': [f'{task}/support/0.png', f'{task}/support/1.png'], 'question': 'Same?'}
            support = [{'same': pair, 'diff': pair}] * 4
            query |= {'image': [f'{task}/query/q.png'] * 2, 'answer': 'yes'}
        for name, rows in (('support', support), ('query', [query])):
            (folder / f'{name}.json').write_text(json.dumps(rows))


def v3det(root: Path) -> None:
    images, annotations = [], []
    for number in range(8):
        picture(root / f'v3det/images/{number}.jpg')
        images.append({'id': number, 'file_name': f'images/{number}.jpg', 'width': 64, 'height': 48})
        annotations.append({'id': number, 'image_id': number, 'category_id': 1 + number % 2, 'bbox': [4, 6, 20, 22]})
    names = {1: 'lamp', 2: 'lantern'}
    data = {
        'images': images,
        'annotations': annotations,
        'categories': [{'id': key, 'name': name, 'cat_info': ''} for key, name in names.items()],
        'neighbors': {'1': [2], '2': [1]},
        'expired_imgs': {},
    }
    (root / 'v3det/v3det_train.json').write_text(json.dumps(data))
