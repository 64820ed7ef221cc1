import json

import pytest

from mllm.dataset.single_image_dataset.class_bank import ClassBank
from mllm.dataset.single_image_dataset.drawing import draw_classes
from mllm.dataset.source import DataError
from mllm.utils.image_io import ImageError
from mllm.utils.rng import ItemRng


def test_the_900_format(world):
    bank = ClassBank(world.filename, world.folder)
    assert len(bank) == 7
    fox, wolf = bank[0], bank[1]
    assert (fox.class_id, fox.name, fox.label, wolf.label) == ('c0', 'Red Fox', 'red fox', 'grey wolf')
    assert fox.supports == fox.queries == tuple(world.row(0)['samples'])
    assert fox.neighbours == (1, 2, 3)
    assert bank.load(fox.supports[0]).size == (6, 4)


def test_the_100_format_and_rows_with_both(world, tmp_path):
    row = world.row(0)
    hundred = ClassBank(world.hundred, world.folder)
    assert hundred[0].supports == tuple(row['samples'][:4])
    assert hundred[0].queries == tuple(row['samples'][4:])
    assert hundred[0].neighbours == ()
    assert not hundred.has_neighbours
    both = {**row, 'neighbors': [], 'context_samples': row['samples'][:3], 'test_samples': row['samples'][3:]}
    world.write(tmp_path / 'both.jsonl', [both])
    item = ClassBank(str(tmp_path / 'both.jsonl'), world.folder)[0]
    assert item.supports == item.queries == tuple(row['samples'])


def test_groups(world):
    assert ClassBank(world.filename, distinct_groups=True).group('noto/a/1.png') == 'noto'
    assert ClassBank(world.filename).group('noto/a/1.png') == 'noto/a/1.png'


def test_all_faults_of_a_file_in_one_message(world, tmp_path):
    good = world.row(0)
    rows = [
        {**good, 'neighbors': [['c9', 'unknown', 'x.png'], ['c0', 'itself', 'y.png']]},
        {**good, 'neighbors': []},
        {**good, 'class_id': 'c2', 'neighbors': [], 'samples': []},
        {**good, 'class_id': 'c3', 'neighbors': [], 'class_name': ' '},
        {'class_id': 'c4', 'class_name': 'x', 'sample': ['a.png']},
        {'class_id': 'c5', 'class_name': 'x', 'context_samples': ['a.png']},
    ]
    path = tmp_path / 'faulty.jsonl'
    world.write(path, rows)
    with pytest.raises(ValueError) as caught:
        ClassBank(str(path))
    lines = str(caught.value).splitlines()
    expected = [
        (2, 'class_id'),
        (1, 'neighbors c9, c0 are not other classes of this file'),
        (3, 'samples is []; expected a list of image paths'),
        (4, "class_name is ' '; expected a name"),
        (5, "no 'samples'; did you mean 'sample'?"),
        (6, "no 'test_samples'; did you mean 'context_samples'?"),
    ]
    assert len(lines) == len(expected)
    for line, (number, text) in zip(lines, expected):
        assert line.startswith(f'{path}:{number}: ')
        assert text in line


@pytest.mark.parametrize(
    ('change', 'told'),
    [
        ({'class_name': None}, 'class_name is None; expected a name'),
        ({'class_name': ['x']}, "class_name is ['x']; expected a name"),
        ({'class_name': '"_."'}, 'expected a name'),
        ({'class_name': 'a <image>'}, "class_name is 'a <image>', in which <image> would stand for something else"),
        ({'samples': ['']}, "samples is ['']; expected a list of image paths"),
    ],
)
def test_values_that_cannot_be_used_are_told(world, tmp_path, change, told):
    path = tmp_path / 'faulty.jsonl'
    world.write(path, [{**world.row(0), 'neighbors': [], **change}, {**world.row(1), 'neighbors': []}])
    with pytest.raises(ValueError) as caught:
        ClassBank(str(path))
    (fault,) = str(caught.value).splitlines()
    assert fault.startswith(f'{path}:1: ')
    assert told in fault


def test_classes_of_one_name_have_titles_of_their_own(world):
    titles = [item.title for item in ClassBank(world.filename).classes]
    assert titles == ['Red Fox', 'grey wolf', 'ice cream', 'St. Bernard', 'crane (c4)', 'crane (c5)', 'tea pot']


def test_lines_that_do_not_parse_and_lack_keys(world, tmp_path):
    path = tmp_path / 'broken.jsonl'
    lines = [json.dumps(world.row(0)), '{"class_id": ', '{"classid": "3", "class_name": "x", "samples": ["a"]}']
    path.write_text('\n'.join(lines) + '\n')
    with pytest.raises(ValueError) as caught:
        ClassBank(str(path))
    message = str(caught.value)
    assert f'{path}:2' in message
    assert f"{path}:3: no 'class_id'; did you mean 'classid'" in message


def test_a_long_list_of_faults_is_cut(world, tmp_path):
    path = tmp_path / 'long.jsonl'
    world.write(path, [{'class_id': str(n)} for n in range(60)])
    with pytest.raises(ValueError, match=r'\.\.\. and 10 more$'):
        ClassBank(str(path))


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nowhere\.jsonl'):
        ClassBank(str(tmp_path / 'nowhere.jsonl'))


@pytest.mark.parametrize(('distinct', 'most'), [(False, 7), (True, 6)])
def test_classes_with_too_few_images(world, distinct, most):
    bank = ClassBank(world.filename, world.folder, distinct)
    assert list(bank.problems(most)) == []
    problems = list(bank.problems(most + 1))
    assert len(problems) == 7
    assert f"class 'Red Fox' has too few images: beside a query it gives {most} supports" in problems[0]


def test_a_class_of_one_group_only(world, tmp_path):
    row = {**world.row(0), 'neighbors': []}
    row['samples'] = [path for path in row['samples'] if path.startswith('noto/')]
    world.write(tmp_path / 'one.jsonl', [row])
    (problem,) = ClassBank(str(tmp_path / 'one.jsonl'), world.folder, True).problems(1)
    assert 'gives 0 supports of other groups' in problem


def test_test_samples_leave_all_context_samples(world):
    assert list(ClassBank(world.hundred, world.folder, True).problems(4)) == []
    assert len(list(ClassBank(world.hundred, world.folder, True).problems(5))) == 7


def test_missing_images_and_folders(world, tmp_path):
    rows = [{**row, 'samples': ['noto/gone.png', *row['samples']]} for row in world.rows[:1]]
    rows[0]['neighbors'] = []
    path = tmp_path / 'gone.jsonl'
    world.write(path, rows)
    (problem,) = ClassBank(str(path), world.folder).problems(1)
    assert problem.startswith(f'{path}:1: {world.folder}/noto/gone.png: no such image')
    (problem,) = ClassBank(str(path), str(tmp_path / 'no_folder')).problems(1)
    assert problem == f'image_folder {tmp_path / "no_folder"} does not exist'


def test_every_image_is_looked_for_and_named_with_its_row(world, tmp_path):
    rows = world.rows
    rows[1]['samples'][5] = 'flat/gone.png'
    rows[2]['samples'][7] = 'flat/gone.png'
    path = tmp_path / 'rows.jsonl'
    world.write(path, rows)
    bank = ClassBank(str(path), world.folder)
    told = list(bank.problems(1))
    assert [line.split(': ')[0] for line in told] == [f'{path}:2', f'{path}:3']
    assert all('gone.png: no such image' in line for line in told)
    with pytest.raises(ImageError, match=rf'{path.name}:2: .*gone\.png: no such image'):
        bank.load('flat/gone.png')


def test_two_spellings_of_a_file_are_one_image(world, tmp_path):
    row = world.row(0)
    row['samples'] = ['noto/0_0.png', './noto/0_0.png', 'noto/../noto/0_0.png', 'flat/0_0.png']
    row['neighbors'] = []
    world.write(tmp_path / 'rows.jsonl', [row])
    assert ClassBank(str(tmp_path / 'rows.jsonl'), world.folder)[0].supports == ('noto/0_0.png', 'flat/0_0.png')


@pytest.mark.parametrize(
    'changes', [{'neighbors': None}, {'neighbors': 3}, {'class_name': None}, {'class_name': ['x']}]
)
def test_values_of_another_kind_are_named(world, tmp_path, changes):
    world.write(tmp_path / 'rows.jsonl', [{**world.row(0), 'neighbors': [], **changes}])
    with pytest.raises(ValueError, match=rf'rows\.jsonl:1: {next(iter(changes))} is .*expected'):
        ClassBank(str(tmp_path / 'rows.jsonl'))


def test_names_that_answers_cannot_tell_apart_never_meet(world, tmp_path):
    rows = [{**world.row(n), 'neighbors': [], 'class_name': name} for n, name in enumerate(['Crane', 'crane.', 'fox'])]
    world.write(tmp_path / 'rows.jsonl', rows)
    bank = ClassBank(str(tmp_path / 'rows.jsonl'), world.folder)
    for seed in range(20):
        assert draw_classes(bank, 0, 2, 'easy', ItemRng(seed)) == [0, 2]


def test_all_images_with_their_lines(world, tmp_path):
    images = list(ClassBank(world.filename, world.folder).images())
    assert len(images) == 7 * 8
    assert images[8] == (world.path(1, 'noto', 0), world.folder, f'{world.filename}:2')
    parted = [image.path for image in ClassBank(world.hundred, world.folder).images()]
    assert parted == [image.path for image in images]


def test_images_of_sound_lines_come_with_the_faults_of_others(world, tmp_path):
    path = tmp_path / 'broken.jsonl'
    rows = [json.dumps(world.row(0)), '{', json.dumps({**world.row(2), 'samples': [1, 'x.png']})]
    path.write_text('\n'.join(rows))
    with pytest.raises(DataError) as caught:
        ClassBank(str(path), world.folder)
    assert len(caught.value.faults) == 1
    images = list(caught.value.images())
    assert [image.where for image in images] == [f'{path}:1'] * 8 + [f'{path}:3']
    assert images[-1].path == 'x.png'


@pytest.mark.parametrize(('distinct', 'most'), [(False, 7), (True, 6)])
def test_the_most_shots_of_each_class(world, distinct, most):
    assert ClassBank(world.filename, world.folder, distinct).most_shots() == [most] * 7
    assert ClassBank(world.hundred, world.folder, distinct).most_shots() == [4] * 7
