"""Before stage 1 of a sample's way: ImageNet -> the pair files of Link-Context Learning (`link_context.py` reads them).

train900_pairs   900 classes, each with 36 images and 36 neighbours, most alike first; the published file has others
                 of the same kind, drawn without a seed, and is not replaced unless an encoder is named
test100_pairs    the 100 classes that it leaves out, in the order of their ids, so that two consecutive rows are a pair;
                 this file was never published. Which images the authors drew as context is not known

`imagenet.py` tells what lies where.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from mllm.dataset.convert.base import Converter, Row, Skip
from mllm.dataset.convert.class_similarity import Encoder, class_similarity
from mllm.dataset.convert.imagenet import NAMES, ImageClass, ImageNet, find, image_folder
from mllm.registry import CONVERTERS
from mllm.utils.faults import stop_on

TEST_CLASSES = """
20 n02091134, 21 n02092002, 33 n02096051, 43 n02086910, 50 n02113186, 52 n02415577, 53 n02356798, 65 n02422106,
74 n02137549, 90 n02100583, 97 n02105505, 98 n02088094, 100 n02489166, 102 n02114548, 113 n02096585,
128 n02106166, 148 n02112350, 154 n02101006, 170 n02093428, 175 n02490219, 179 n02111889, 199 n02497673,
205 n02114367, 217 n01873310, 223 n02672831, 225 n02317335, 232 n02692877, 239 n02951358, 244 n03673027,
245 n03947888, 260 n03791053, 263 n04310018, 268 n03100240, 273 n04037443, 296 n02804414, 300 n02870880,
302 n03742115, 306 n03891251, 307 n02791124, 311 n04344873, 313 n03179701, 321 n07753113, 322 n07753275,
333 n03854065, 338 n03720891, 346 n03272010, 354 n03838899, 360 n09468604, 364 n09421951, 375 n03481172,
386 n01530575, 399 n01616318, 410 n01819313, 417 n01843383, 431 n02018207, 449 n01440764, 456 n02640242,
457 n02641379, 458 n01664065, 463 n01675722, 469 n01689811, 471 n01693334, 475 n01697457, 490 n01751748,
522 n02708093, 556 n04004767, 565 n03944341, 605 n01773549, 623 n02167151, 648 n01914609, 649 n01917289,
651 n01930112, 656 n01955084, 662 n03259280, 663 n04111531, 691 n03788195, 703 n03461385, 705 n02791270,
712 n03388043, 735 n07720875, 736 n07714571, 740 n07716906, 747 n04209239, 750 n03485794, 752 n02747177,
789 n03924679, 791 n06785654, 796 n03325584, 816 n07802026, 866 n03763968, 897 n03220513, 905 n02795169,
919 n03347037, 923 n03976657, 937 n03866082, 942 n03888257, 943 n04235860, 949 n02895154, 957 n04336792,
984 n03729826
"""
"""Ids as in map_clsloc.txt, and WordNet ids, of the classes that train900_pairs.jsonl does not have."""

"""Ids as in map_clsloc.txt, and WordNet ids, of the classes that train900_pairs.jsonl does not have."""

TEST_WNIDS = {int(number): wnid for number, wnid in (entry.split() for entry in TEST_CLASSES.split(','))}
SHOWN = 36
"""So many images and neighbours a class has in train900_pairs."""
ENCODED = 100
"""So many images of a class are looked at to find its neighbours."""
PUBLISHED_ENCODER = 'openai/clip-vit-base-patch16'


@CONVERTERS.register_module('imagenet_lcl')
class ImageNetLCL(Converter):
    """Both files, drawn by `seed`.

    context  images of a class in test100_pairs that may be shown as supports, at least 1; the others are asked about
    encoder  what finds neighbours for train900_pairs: a folder with a vision-language model, or its name on the hub;
             the published ones were found by OpenAI's CLIP ViT-B/16
    """

    splits = {'train900_pairs': (), 'test100_pairs': ()}

    def __init__(self, root: Path, context: int = 32, seed: int = 0, encoder: str | None = None) -> None:
        super().__init__(root)
        if not (isinstance(context, int) and context >= 1 and isinstance(seed, int) and seed >= 0):
            raise ValueError(f'--set context={context} seed={seed}: context is at least 1, seed at least 0')
        self.context, self.seed, self.encoder = context, seed, encoder

    def missing(self, split: str) -> list[Path]:
        try:
            image_folder(self.root)
        except FileNotFoundError:
            return [self.root / 'train', self.root / 'val']
        lacks_ids = split == 'train900_pairs' and find(self.root, NAMES) is None
        return [self.root / NAMES] if lacks_ids else []

    def rows(self, split: str) -> Iterator[Row | Skip]:
        return self.test_rows() if split == 'test100_pairs' else self.train_rows()

    def order(self, one: ImageClass, count: int) -> list[int]:
        # A generator for each class: its images do not depend on those of other classes.
        return np.random.default_rng([self.seed, one.number]).permutation(count).tolist()

    def test_rows(self) -> Iterator[Row]:
        imagenet, rows = ImageNet(self.root, TEST_WNIDS), []
        for one in imagenet.classes:
            if one.number not in TEST_WNIDS:
                continue
            paths = imagenet.images_of(one, self.context + 1, f'context is {self.context}')
            order = self.order(one, len(paths))
            rows.append(
                {
                    'class_id': str(one.number),
                    'class_name': one.name,
                    'context_samples': [paths[position] for position in order[: self.context]],
                    'test_samples': [paths[position] for position in sorted(order[self.context :])],
                }
            )
        stop_on(imagenet.faults)
        yield from rows

    def train_rows(self) -> Iterator[Row]:
        if self.encoder is None:
            raise ValueError(f'neighbours need an encoder: --set encoder={PUBLISHED_ENCODER}, or a folder with another')
        encoder = Encoder(str(self.encoder))
        imagenet = ImageNet(self.root, TEST_WNIDS)
        classes = [one for one in imagenet.classes if one.number not in TEST_WNIDS]
        if len(classes) <= SHOWN:
            imagenet.faults.append(f'{find(self.root, NAMES)}: {len(classes)} classes; {SHOWN} are neighbours of each')
        drawn = []
        for one in classes:
            paths = imagenet.images_of(one, SHOWN, f'{SHOWN} are drawn')
            drawn.append([paths[position] for position in self.order(one, len(paths))[:ENCODED]])
        stop_on(imagenet.faults)
        names = [one.name for one in classes]
        alike = class_similarity(encoder, names, drawn, imagenet.images, self.advance)
        for place, (one, paths) in enumerate(zip(classes, drawn, strict=True)):
            rng = np.random.default_rng([self.seed, one.number, 1])
            chosen = neighbours(alike[place], place, rng)
            yield {
                'class_id': str(one.number),
                'class_name': one.name,
                'samples': paths[:SHOWN],
                'neighbors': [
                    [str(classes[other].number), names[other], drawn[other][int(rng.integers(len(drawn[other])))]]
                    for other in chosen
                ],
            }


def neighbours(alike: np.ndarray, place: int, rng: np.random.Generator) -> list[int]:
    """`SHOWN` other classes, most alike first: the ranking is cut into as many pieces, and one drawn from each."""
    ranking = [int(other) for other in np.argsort(-alike, kind='stable') if other != place]
    # The class itself has the first rank.
    edges = np.ceil((len(ranking) + 1) / SHOWN * np.arange(SHOWN + 1)).astype(int) - 1
    return [ranking[rng.integers(max(low, 0), high)] for low, high in pairwise(edges)]
