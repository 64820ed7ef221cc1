"""A folder of tiny images whose colour says what they are: red = class, green = group."""

import json

import pytest
from PIL import Image

NAMES = ['Red Fox', 'grey_wolf', 'ice cream', 'St. Bernard', 'crane', 'crane', 'tea pot']
GROUPS = ['noto', 'flat', 'blob', 'ink']
STEP = 20


class World:
    """Seven classes (two share a name) of 8 images, two in each of 4 groups; neighbours of i are i+1, i+2, i+3."""

    def __init__(self, root):
        self.folder = str(root / 'images')
        self.filename = str(root / 'pairs.jsonl')
        self.hundred = str(root / 'hundred.jsonl')
        self.isekai = str(root / 'isekai.jsonl')
        for number in range(len(NAMES)):
            for group_number, group in enumerate(GROUPS):
                for copy in range(2):
                    path = root / 'images' / self.path(number, group, copy)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.new('RGB', (6, 4), (STEP * number, STEP * group_number, copy)).save(path)
        self.write(self.filename, [self.row(number) for number in range(len(NAMES))])
        self.write(self.hundred, [self.hundred_row(number) for number in range(len(NAMES))])
        self.write(self.isekai, [self.isekai_row(number) for number in range(6)])

    @staticmethod
    def path(number, group, copy):
        return f'{group}/{number}_{copy}.png'

    @property
    def rows(self):
        return [self.row(number) for number in range(len(NAMES))]

    def row(self, number):
        neighbours = [(number + step) % len(NAMES) for step in (1, 2, 3)]
        return {
            'class_id': f'c{number}',
            'class_name': NAMES[number],
            'samples': [self.path(number, group, copy) for group in GROUPS for copy in range(2)],
            'neighbors': [[f'c{n}', NAMES[n], self.path(n, GROUPS[0], 0)] for n in neighbours],
        }

    def hundred_row(self, number):
        row = self.row(number)
        parted = {'context_samples': row['samples'][:4], 'test_samples': row['samples'][4:]}
        return {'class_id': row['class_id'], 'class_name': row['class_name'], **parted}

    def isekai_row(self, number):
        positive, negative = (number // 2) * 2, (number // 2) * 2 + 1
        lists = [[self.path(n, group, 0) for group in GROUPS] for n in (positive, negative)]
        labels = [f'zorp{positive}', f'Plain {negative}']
        return {
            'image_name': self.path((positive, negative)[number % 2], GROUPS[3], 1),
            'positive_list': lists[0],
            'negative_list': lists[1],
            'positive_promt': labels[0],
            'negative_promt': labels[1],
            'label_name': labels[number % 2],
        }

    @staticmethod
    def write(path, rows):
        with open(path, 'w', encoding='utf-8') as file:
            file.writelines(json.dumps(row) + '\n' for row in rows)

    @staticmethod
    def class_of(item):
        """The class an item's picture shows, read from its pixels."""
        return item['image'].getpixel((0, 0))[0] // STEP

    @staticmethod
    def group_of(item):
        return GROUPS[item['image'].getpixel((0, 0))[1] // STEP]


@pytest.fixture(scope='session')
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp('world'))
