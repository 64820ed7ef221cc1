"""Banks of questions: ISEKAI rows in all their forms, and classes in groups of consecutive rows."""

import json

import pytest

from mllm.dataset.single_image_dataset.query_bank import GroupBank, IsekaiBank


def test_isekai_rows(world):
    bank = IsekaiBank(world.isekai, world.folder)
    assert len(bank) == 6
    row = world.isekai_row(1)
    assert bank[1].labels == ('zorp0', 'Plain 1')
    assert (bank[1].query, bank[1].label) == (row['image_name'], 'Plain 1')
    assert bank[1].supports == (tuple(row['positive_list']), tuple(row['negative_list']))
    assert list(bank.problems(4)) == []
    assert len(list(bank.problems(5))) == 12


def test_isekai_faults(world, tmp_path):
    row = world.isekai_row(0)
    rows = [
        {**row, 'label_name': 'zorp'},
        {**row, 'negative_promt': row['positive_promt']},
        {**row, 'positive_list': 'a.png'},
        {**row, 'label_name': None, 'negative_promt': '<boxes>'},
        {**row, 'image_name': None},
    ]
    path = tmp_path / 'faulty.jsonl'
    world.write(path, rows)
    with pytest.raises(ValueError) as caught:
        IsekaiBank(str(path))
    lines = str(caught.value).splitlines()
    assert len(lines) == 6
    assert lines[3].startswith(
        f"{path}:4: negative_promt is '<boxes>', in which <boxes> would stand for something else"
    )
    assert lines[4] == f'{path}:4: label_name is None; expected a name'
    assert lines[5] == f'{path}:5: image_name is None; expected the path of an image'
    assert f"{path}:1: label_name 'zorp' is neither of the labels ('zorp0', 'Plain 1')" == lines[0]
    assert "positive_promt 'zorp0' and negative_promt 'zorp0' are one name" in lines[1]
    assert lines[2].startswith(f"{path}:3: positive_list is 'a.png'; expected a list")
    world.write(path, [{('positiv_promt' if k == 'positive_promt' else k): v for k, v in row.items()}])
    with pytest.raises(ValueError, match=r"1: no 'positive_promt'; did you mean 'positiv_promt'"):
        IsekaiBank(str(path))


def test_both_spellings_and_both_forms_are_the_same_rows(world, tmp_path):
    rows = [world.isekai_row(number) for number in range(6)]
    respelt = [{key.replace('promt', 'prompt'): value for key, value in row.items()} for row in rows]
    array, lines = tmp_path / 'array.json', tmp_path / 'lines.json'
    array.write_text(json.dumps(respelt, indent=1))
    world.write(lines, respelt)
    published = IsekaiBank(world.isekai, world.folder)
    for path in (array, lines):
        bank = IsekaiBank(str(path), world.folder)
        assert [bank[number] for number in range(6)] == [published[number] for number in range(6)]
    assert IsekaiBank(str(array)).where(1) == f'{array}:{json.dumps(respelt[:1], indent=1).count(chr(10)) + 1}'


def test_pairs_are_for_folders(world):
    with pytest.raises(ValueError, match='fixes the pairs itself'):
        IsekaiBank(world.isekai, world.folder, pairs=[['a', 'b']])


@pytest.fixture
def hundred(world, tmp_path):
    """The first six classes in the 100 format; the seventh would be without a contrast class."""
    path = tmp_path / 'hundred.jsonl'
    rows = [world.hundred_row(number) for number in range(6)]
    rows[5]['class_name'] = 'Owl'
    world.write(path, rows)
    return str(path)


def test_every_test_sample_in_file_order_against_the_other_row_of_its_pair(world, hundred):
    bank = GroupBank(hundred, world.folder)
    assert len(bank) == 24
    for index in range(24):
        position, other = index // 4, index // 4 ^ 1
        own, contrast = world.hundred_row(position), world.hundred_row(other)
        row = bank[index]
        assert row.query == own['test_samples'][index % 4]
        assert row.supports == (tuple(own['context_samples']), tuple(contrast['context_samples']))
        assert row.label == row.labels[0]
        assert bank.where(index) == f'{hundred}:{position + 1}'
    assert bank[0].labels == ('red fox', 'grey wolf')
    assert bank[4].labels == ('grey wolf', 'red fox')
    assert list(bank.problems(4)) == []


def test_the_first_samples_of_each_class_and_more_ways(world, hundred):
    bank = GroupBank(hundred, world.folder, ways=3, sample_per_class=2)
    assert [bank[index].query for index in range(12)] == [
        path for number in range(6) for path in world.hundred_row(number)['test_samples'][:2]
    ]
    assert bank[2].labels == ('grey wolf', 'red fox', 'ice cream')
    assert bank[11].labels == ('owl', 'st. bernard', 'crane')
    assert len(GroupBank(hundred, world.folder, sample_per_class=9)) == 24


def test_queries_are_not_their_own_supports_where_a_file_does_not_part_them(world, tmp_path):
    path = tmp_path / 'nine_hundred.jsonl'
    world.write(path, [{**world.row(number), 'neighbors': []} for number in range(4)])
    bank = GroupBank(str(path), world.folder)
    assert len(bank) == 4 * 8
    for index in range(len(bank)):
        assert bank[index].query not in bank[index].supports[0]
        assert [len(paths) for paths in bank[index].supports] == [7, 8]
    assert list(bank.problems(7)) == []
    assert len(list(bank.problems(8))) == 4


def test_what_a_file_of_classes_must_be(world, hundred, tmp_path):
    with pytest.raises(ValueError, match=r'hundred\.jsonl has 7 rows, which do not part into groups of 2'):
        GroupBank(world.hundred, world.folder)
    with pytest.raises(ValueError, match='has 6 rows, which do not part into groups of 4'):
        GroupBank(hundred, world.folder, ways=4)
    for wrong in ({'ways': 1}, {'sample_per_class': -1}):
        with pytest.raises(ValueError, match='at least 2 ways, and 0'):
            GroupBank(hundred, world.folder, **wrong)
    twins = tmp_path / 'twins.jsonl'
    world.write(twins, [world.hundred_row(number) for number in (4, 5)])
    with pytest.raises(ValueError, match=r"twins\.jsonl:1: class_name 'crane' stands in the same group at .*:2"):
        GroupBank(str(twins), world.folder)


def test_too_few_context_samples_and_missing_images(world, hundred, tmp_path):
    problems = list(GroupBank(hundred, world.folder).problems(5))
    assert len(problems) == 6
    assert "class 'Red Fox' has too few images: beside a query it gives 4 supports, and shot is 5" in problems[0]
    gone = tmp_path / 'gone.jsonl'
    rows = [world.hundred_row(number) for number in (0, 1)]
    rows[1]['test_samples'] = ['noto/gone.png']
    world.write(gone, rows)
    (problem,) = GroupBank(str(gone), world.folder).problems(1)
    assert problem.startswith(f'{gone}:2: {world.folder}/noto/gone.png: no such image')


def test_all_images_and_the_most_shots(world, hundred):
    isekai = IsekaiBank(world.isekai, world.folder)
    images = list(isekai.images())
    assert len(images) == 6 * 9
    assert images[0] == (isekai[0].query, world.folder, f'{world.isekai}:1')
    assert isekai.most_shots() == [4] * 6
    groups = GroupBank(hundred, world.folder)
    assert len(list(groups.images())) == len(groups.lines) * 8
    assert groups.most_shots() == [4] * len(groups.lines)
