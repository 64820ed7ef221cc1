"""A local copy of ISEKAI in the imagefolder layout becomes ISEKAI rows, without a network."""

import json
import shutil
import socket

import pytest
from PIL import Image

from mllm.dataset.single_image_dataset.query_bank import IsekaiBank

CLASSES = ('ice_cream', 'icemic', 'cat', 'cactopus')


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args):
        raise OSError('the network is not to be asked')

    monkeypatch.setattr(socket.socket, 'connect', refuse)


@pytest.fixture
def folder(tmp_path):
    """Four classes of three images in the split `train`."""
    for number, name in enumerate(CLASSES):
        for copy in range(3):
            path = tmp_path / 'ISEKAI-10' / 'train' / name / f'{copy}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new('RGB', (4, 4), (50 * number, copy, 0)).save(path)
    (tmp_path / 'ISEKAI-10' / 'README.md').write_text('---\nlicense: cc-by-nc-2.0\n---\n')
    (tmp_path / 'ISEKAI-10' / 'dataset_infos.json').write_text('{\n "default": {}\n}')
    return tmp_path / 'ISEKAI-10'


def rows_of(bank):
    return [bank[index] for index in range(len(bank))]


def test_consecutive_classes_are_pairs(folder):
    bank = IsekaiBank(str(folder))
    assert len(bank) == 12
    assert [row.labels for row in rows_of(bank)] == [('cactopus', 'cat')] * 6 + [('ice cream', 'icemic')] * 6
    first, last = bank[0], bank[11]
    assert (first.query, first.label) == ('train/cactopus/0.png', 'cactopus')
    assert first.supports == (
        ('train/cactopus/1.png', 'train/cactopus/2.png'),
        tuple(f'train/cat/{copy}.png' for copy in range(3)),
    )
    assert (last.query, last.label) == ('train/icemic/2.png', 'icemic')
    assert bank.load(first.query).getpixel((0, 0)) == (150, 0, 0)
    assert list(bank.problems(2)) == []
    assert bank.where(0) == f'{folder}: train/cactopus/0.png'


def test_pairs_by_name(folder):
    bank = IsekaiBank(str(folder), pairs=[['icemic', 'ice cream']])
    assert {row.labels for row in rows_of(bank)} == {('icemic', 'ice cream')}
    assert len(bank) == 6
    with pytest.raises(ValueError) as caught:
        IsekaiBank(str(folder), pairs=[['icemik', 'cat'], ['cat', 'cat'], ['cat']])
    assert "no class 'icemik'; did you mean 'icemic'" in str(caught.value)
    assert "['cat', 'cat'] is not a pair" in str(caught.value)
    assert "['cat'] is not a pair" in str(caught.value)


def test_an_odd_number_of_classes(folder):
    shutil.rmtree(folder / 'train' / 'cat')
    with pytest.raises(ValueError, match='has 3 classes, which cannot be paired two by two; give'):
        IsekaiBank(str(folder))


@pytest.mark.parametrize('labelled', [False, True])
@pytest.mark.parametrize('kind', ['jsonl', 'csv'])
def test_a_metadata_file_may_name_the_classes(folder, labelled, kind):
    lines = [(f'{name}/{copy}.png', f'the {name}') for name in CLASSES for copy in range(3)]
    if kind == 'csv':
        head = 'file_name,label\n' if labelled else 'file_name,text\n'
        text = head + ''.join(f'{path},{label}\n' for path, label in lines)
    else:
        key = 'label' if labelled else 'text'
        text = ''.join(json.dumps({'file_name': path, key: label}) + '\n' for path, label in lines)
    (folder / 'train' / f'metadata.{kind}').write_text(text)
    labels = {label for row in rows_of(IsekaiBank(str(folder))) for label in row.labels}
    assert labels == ({f'the {name}' for name in CLASSES} if labelled else {n.replace('_', ' ') for n in CLASSES})


def test_folders_of_one_name_are_no_class(folder):
    shutil.copytree(folder / 'train' / 'cat', folder / 'train' / 'icemic' / 'cat')
    with pytest.raises(ValueError, match=r'icemic/cat.* same name.*metadata\.jsonl'):
        IsekaiBank(str(folder))


def test_classes_of_several_splits_are_one(folder):
    shutil.copytree(folder / 'train', folder / 'test')
    bank = IsekaiBank(str(folder))
    assert len(bank) == 24
    assert {row.labels for row in rows_of(bank)} == {('cactopus', 'cat'), ('ice cream', 'icemic')}


def test_a_file_of_rows_among_the_images_wins(folder, monkeypatch):
    row = {
        'image_name': 'train/icemic/0.png',
        'positive_list': ['train/icemic/1.png'],
        'negative_list': ['train/ice_cream/1.png'],
        'positive_prompt': 'Icemic',
        'negative_prompt': 'ice cream',
        'label_name': 'Icemic',
    }
    path = folder / 'ISEKAI-10.json'
    path.write_text(json.dumps([row]))
    monkeypatch.chdir(folder.parent)
    bank = IsekaiBank('ISEKAI-10')
    assert rows_of(bank)[0].labels == ('Icemic', 'ice cream')
    assert list(bank.problems(1)) == []
    with pytest.raises(ValueError, match='fixes the pairs itself'):
        IsekaiBank('ISEKAI-10', pairs=[['a', 'b']])
    shutil.copy(path, folder / 'ISEKAI-pair.json')
    with pytest.raises(ValueError, match=r'several files of ISEKAI rows; name one as filename.*ISEKAI-10\.json.*pair'):
        IsekaiBank('ISEKAI-10')


def test_a_folder_by_a_relative_path_or_a_link(folder, monkeypatch):
    expected = rows_of(IsekaiBank(str(folder)))
    monkeypatch.chdir(folder.parent)
    (folder.parent / 'link').symlink_to(folder)
    for name in ('ISEKAI-10', 'link'):
        bank = IsekaiBank(name)
        assert rows_of(bank) == expected
        assert list(bank.problems(1)) == []


def test_an_empty_folder(tmp_path):
    with pytest.raises(ValueError, match='cannot be read as an image folder'):
        IsekaiBank(str(tmp_path))
