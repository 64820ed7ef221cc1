"""ImageNet -> the pair files of link-context learning, on a miniature: a few training and validation images a class."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel

from mllm.dataset.convert import imagenet_lcl
from mllm.dataset.convert.base import convert
from mllm.dataset.convert.class_similarity import Encoder, combined, unit
from mllm.dataset.convert.imagenet_lcl import TEST_WNIDS, ImageNetLCL, neighbours
from mllm.dataset.single_image_dataset.class_bank import ClassBank
from mllm.dataset.single_image_dataset.query_bank import GroupBank
from mllm.utils.faults import FaultsError

NUMBERS = list(TEST_WNIDS)
TRAIN = ('4', '10', '31', '7')
TEST100 = 'test100_pairs'


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def make_train(images: Path) -> None:
    for wnid in TEST_WNIDS.values():
        for name in TRAIN:
            touch(images / 'train' / wnid / f'{wnid}_{name}.JPEG')


@pytest.fixture
def devkit(tmp_path: Path) -> Path:
    """The layout of the development kit: val/*.JPEG, ids of the classes, and classes that are not asked for."""
    root = tmp_path / 'imagenet'
    make_train(root)
    truth = [*NUMBERS, 1, *NUMBERS[::-1]]
    for line in range(1, len(truth) + 1):
        touch(root / 'val' / f'ILSVRC2012_val_{line:08d}.JPEG')
    kit = root / 'devkit' / 'data'
    kit.mkdir(parents=True)
    (kit / 'ILSVRC2015_clsloc_validation_ground_truth.txt').write_text('\n'.join(map(str, truth)))
    lines = [f'{wnid} {number} Name_of_{number}' for number, wnid in TEST_WNIDS.items()]
    (kit / 'map_clsloc.txt').write_text('\n'.join(['n02119789 1 kit_fox', *lines]) + '\n')
    return root


def rows_of(root: Path, out: Path, split: str = TEST100, **options: Any) -> list[dict[str, Any]]:
    convert(ImageNetLCL(root, **{'context': 3, **options}), split, out)
    return [json.loads(line) for line in (out / f'{split}.jsonl').read_text().splitlines()]


def test_the_ids_are_a_hundred_in_order():
    assert len(TEST_WNIDS) == len(set(TEST_WNIDS.values())) == 100
    assert sorted(NUMBERS) == NUMBERS
    assert (NUMBERS[0], NUMBERS[-1], TEST_WNIDS[20], TEST_WNIDS[449]) == (20, 984, 'n02091134', 'n01440764')


def test_the_development_kit(devkit: Path, tmp_path: Path):
    rows = rows_of(devkit, tmp_path)
    assert [row['class_id'] for row in rows] == [str(number) for number in NUMBERS]
    assert rows[0]['class_name'] == 'Name of 20'
    for place, (row, wnid) in enumerate(zip(rows, TEST_WNIDS.values(), strict=True)):
        assert len(row['context_samples']) == 3
        own = {f'train/{wnid}/{wnid}_{name}.JPEG' for name in TRAIN}
        # Class 1 stands between the two rounds of the ground truth.
        own |= {f'val/ILSVRC2012_val_{line:08d}.JPEG' for line in (place + 1, 201 - place)}
        assert {*row['context_samples'], *row['test_samples']} == own
        assert not {*row['context_samples']} & {*row['test_samples']}
    bank = GroupBank(str(tmp_path / 'test100_pairs.jsonl'), str(devkit))
    assert len(bank) == 300
    assert list(bank.problems(3)) == []


def test_a_seed_gives_one_file_and_another_seed_another(devkit: Path, tmp_path: Path):
    made = [rows_of(devkit, tmp_path, seed=seed) for seed in (0, 0, 1)]
    assert made[0] == made[1] != made[2]


def test_the_kaggle_copy(tmp_path: Path):
    root = tmp_path / 'kaggle'
    images = root / 'ILSVRC' / 'Data' / 'CLS-LOC'
    make_train(images)
    solution = ['ImageId,PredictionString']
    for line, wnid in enumerate(TEST_WNIDS.values(), start=1):
        touch(images / 'val' / f'ILSVRC2012_val_{line:08d}.JPEG')
        solution.append(f'ILSVRC2012_val_{line:08d},{wnid} 1 2 3 4 {wnid} 5 6 7 8 ')
    (root / 'LOC_val_solution.csv').write_text('\n'.join(solution) + '\n')
    mapping = ''.join(f'{wnid} Name {number}, Latin name\n' for number, wnid in TEST_WNIDS.items())
    (root / 'LOC_synset_mapping.txt').write_text(mapping + 'n02119789 kit fox, Vulpes macrotis\n')
    sets = root / 'ILSVRC' / 'ImageSets' / 'CLS-LOC'
    sets.mkdir(parents=True)
    listed = [f'{wnid}/{wnid}_{name} 1' for wnid in TEST_WNIDS.values() for name in TRAIN]
    (sets / 'train_cls.txt').write_text('\n'.join(listed))
    rows = rows_of(root, tmp_path)
    assert rows[-1]['class_name'] == 'Name 984'
    assert len(rows) == 100
    assert 'val/ILSVRC2012_val_00000100.JPEG' in rows[-1]['context_samples'] + rows[-1]['test_samples']
    # The numbers of the other classes stand in no file of this copy.
    assert ImageNetLCL(root).missing('train900_pairs') == [root / 'map_clsloc.txt']
    (images / 'train' / TEST_WNIDS[20] / f'{TEST_WNIDS[20]}_7.JPEG').unlink()
    with pytest.raises(ValueError, match=r'class 20 \(n02091134\): 1 images are missing, as '):
        rows_of(root, tmp_path)


def test_validation_images_in_folders_of_their_class(tmp_path: Path, devkit: Path):
    for path in (devkit / 'val').iterdir():
        path.unlink()
    touch(devkit / 'val' / TEST_WNIDS[984] / 'ILSVRC2012_val_00000003.JPEG')
    last = rows_of(devkit, tmp_path)[-1]
    assert f'val/{TEST_WNIDS[984]}/ILSVRC2012_val_00000003.JPEG' in last['context_samples'] + last['test_samples']


def test_all_faults_at_once(devkit: Path, tmp_path: Path):
    kit = devkit / 'devkit' / 'data'
    text = (kit / 'map_clsloc.txt').read_text()
    text = text.replace('n02091134 20 ', 'n02091134 21 ').replace('n02096051 33 Name_of_33\n', 'n02096051\n')
    (kit / 'map_clsloc.txt').write_text(text)
    (devkit / 'val' / 'ILSVRC2012_val_00000100.JPEG').unlink()
    with pytest.raises(FaultsError) as caught:
        rows_of(devkit, tmp_path, context=6)
    message = '\n'.join(caught.value.faults)
    assert 'map_clsloc.txt:2: class 21 is n02091134, expected n02092002' in message
    assert "map_clsloc.txt:4: 'n02096051' has not the form of a line" in message
    assert 'no name for class 33 (n02096051)' in message
    assert 'class 984 (n03729826): 1 images are missing' in message
    assert 'class 43 (n02086910): 6 images in train/ and val/, context is 6' in message
    assert not (tmp_path / 'test100_pairs.jsonl').exists()


def test_missing_parts(devkit: Path, tmp_path: Path):
    (devkit / 'devkit').rename(tmp_path / 'devkit_elsewhere')
    with pytest.raises(ValueError) as caught:
        rows_of(devkit, tmp_path)
    assert 'neither map_clsloc.txt nor LOC_synset_mapping.txt' in str(caught.value)
    assert 'no *validation_ground_truth.txt and no LOC_val_solution.csv' in str(caught.value)
    (devkit / 'train').rename(tmp_path / 'train_elsewhere')
    with pytest.raises(FileNotFoundError, match=r'test100_pairs: .*train, .*val not found'):
        rows_of(devkit, tmp_path)


@pytest.mark.parametrize('options', [{'context': 0}, {'seed': -1}, {'context': 'many'}])
def test_options_that_make_no_sense(tmp_path: Path, options: dict[str, Any]):
    with pytest.raises(ValueError, match='context is at least 1, seed at least 0'):
        ImageNetLCL(tmp_path, **options)


@pytest.fixture(scope='module')
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A CLIP of one small layer with random weights and a vocabulary of letters, as transformers saves one."""
    out = tmp_path_factory.mktemp('clip')
    letters = 'abcdefghijklmnopqrstuvwxyz'
    words = [*letters, *(f'{letter}</w>' for letter in letters), '<|startoftext|>', '<|endoftext|>']
    (out / 'vocab.json').write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (out / 'merges.txt').write_text('#version: 0.2\n')
    tokenizer = {'tokenizer_class': 'CLIPTokenizer', 'model_max_length': 16, 'pad_token': words[-1]}
    (out / 'tokenizer_config.json').write_text(json.dumps(tokenizer))
    size = {'size': {'shortest_edge': 16}, 'crop_size': {'height': 16, 'width': 16}}
    (out / 'preprocessor_config.json').write_text(json.dumps({'image_processor_type': 'CLIPImageProcessor', **size}))
    half = {'hidden_size': 16, 'intermediate_size': 16, 'num_hidden_layers': 1, 'num_attention_heads': 2}
    last = len(words) - 1
    marks = {'bos_token_id': last - 1, 'eos_token_id': last, 'pad_token_id': last}
    config = CLIPConfig(
        text_config={**half, 'vocab_size': len(words), 'max_position_embeddings': 16, **marks},
        vision_config={**half, 'image_size': 16, 'patch_size': 8},
        projection_dim=8,
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(out)
    return str(out)


def test_neighbours_of_the_other_classes(devkit: Path, tmp_path: Path, clip: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(imagenet_lcl, 'SHOWN', 3)
    rng = np.random.default_rng(0)
    lines = []
    for number in range(1, 6):
        lines.append(f'n0000000{number} {number + 1000} thing_{"abcde"[number - 1]}\n')
        for copy in range(4):
            path = devkit / 'train' / f'n0000000{number}' / f'n0000000{number}_{copy}.JPEG'
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(path)
    names = devkit / 'devkit' / 'data' / 'map_clsloc.txt'
    names.write_text(names.read_text().replace('n02119789 1 kit_fox\n', '') + ''.join(lines))
    steps: list[int] = []
    converter = ImageNetLCL(devkit, encoder=clip)
    convert(converter, 'train900_pairs', tmp_path, lambda: steps.append(1))
    text = (tmp_path / 'train900_pairs.jsonl').read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    assert [row['class_id'] for row in rows] == ['1001', '1002', '1003', '1004', '1005']
    assert len(steps) == 10, 'one for the images of each class, and for its row'
    for row in rows:
        assert len(row['samples']) == len(set(row['samples'])) == 3
        others = [neighbour[0] for neighbour in row['neighbors']]
        assert len(set(others)) == 3
        assert row['class_id'] not in others
        for number, name, path in row['neighbors']:
            assert name == f'thing {"abcde"[int(number) - 1001]}'
            assert path.startswith(f'train/n0000000{int(number) - 1000}/')
    assert rows_of(devkit, tmp_path, 'train900_pairs', encoder=clip) == rows
    bank = ClassBank(str(tmp_path / 'train900_pairs.jsonl'), str(devkit))
    assert list(bank.problems(1)) == []


def test_an_encoder_is_needed_for_neighbours(devkit: Path, tmp_path: Path, clip: str):
    published = tmp_path / 'train900_pairs.jsonl'
    published.write_text('as it was fetched')
    with pytest.raises(ValueError, match='neighbours need an encoder: --set encoder=openai/clip-vit-base-patch16'):
        rows_of(devkit, tmp_path, 'train900_pairs')
    assert published.read_text() == 'as it was fetched'
    with pytest.raises(ValueError, match=r'encoder=.*cannot be loaded .*--set encoder=DIR'):
        Encoder(str(tmp_path))
    with pytest.raises(ValueError, match='1 classes; 36 are neighbours of each'):
        rows_of(devkit, tmp_path, 'train900_pairs', encoder=clip)


def test_the_weights_of_names_and_images():
    texts = unit(np.array([[1.0, 0.0], [0.0, 2.0]]))
    images = unit(np.array([[3.0, 0.0], [1.0, 0.0]]))
    # Both images point to the first name: 0.5 name with name, 0.8 each way between them, 0.5 image with image.
    assert combined(texts, images).tolist() == [[0.5 + 1.6 + 0.5, 0.8 + 0.5], [0.8 + 0.5, 0.5 + 0.5]]


@pytest.mark.parametrize('count', [37, 38, 71, 900])
def test_one_neighbour_from_each_piece_of_the_ranking(count: int):
    alike = np.linspace(1, 0, count)
    for seed in range(5):
        chosen = neighbours(alike, 0, np.random.default_rng(seed))
        assert len(chosen) == 36
        assert chosen == sorted(set(chosen))
        assert chosen[0] >= 1
    if count == 900:
        pieces = [25 * piece <= other < 25 * piece + 25 for piece, other in enumerate(chosen)]
        assert all(pieces)
