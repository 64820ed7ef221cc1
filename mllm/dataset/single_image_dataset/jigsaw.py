"""Stage 3 of a sample's way: the jigsaw policy of Link-Context Learning, repaired.

one image of the class at `index` -> its tiles, shuffled, as supports -> "where does each belong?" on the whole image
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mllm.dataset.single_image_dataset.class_bank import ClassBank
from mllm.dataset.single_image_dataset.drawing import shuffled
from mllm.dataset.single_image_dataset.episode_parts import (
    BEGIN_EXAMPLE,
    END_EXAMPLE,
    make_item,
    support_key,
    support_meta,
)
from mllm.registry import POLICIES
from mllm.types import Episode
from mllm.utils.rng import ItemRng

if TYPE_CHECKING:
    from PIL import Image

GRIDS = {4: [(2, 2)], 6: [(2, 3), (3, 2)], 9: [(3, 3)], 12: [(3, 4), (4, 3)], 16: [(4, 4)]}
"""(columns, rows) by number of tiles."""

TILE_QUESTION = f'{BEGIN_EXAMPLE} This image <image> is a puzzle piece.'
TILE_ANSWER = END_EXAMPLE
ORDER_QUESTION = (
    'Using the puzzle pieces provided above to piece together this image <image>, and provide the coordinates of each '
    'piece on the image coordinate system in order.'
)
ORDER_ANSWER = 'The order is: <order>.'


@POLICIES.register_module()
def policy_jigsaw(bank: ClassBank, index: int, shot: int, rng: ItemRng) -> Episode:
    """An image of the class at `index` cut into 4, 6, 9, 12 or 16 tiles; the answer lists each tile's [column, row].

    The supports are the tiles in random order, the query is the whole image, and the answer follows the order of the
    tiles (in the release the query was a tile, and coordinates and tiles were mixed up). `shot` has no part in it.
    ValueError for an image with fewer pixels than tiles along a side.
    """
    del shot
    path = shuffled(bank[index].queries, rng('query/0'))[0]
    image = bank.load(path)
    grids = GRIDS[list(GRIDS)[int(rng('tiles').integers(len(GRIDS)))]]
    columns, rows = grids[int(rng('grid').integers(len(grids)))]
    if image.width < columns or image.height < rows:
        raise ValueError(f'{path}: {image.width}x{image.height} pixels are too few for {columns}x{rows} tiles')
    places = shuffled([(column, row) for column in range(columns) for row in range(rows)], rng('order'))
    support = [
        make_item(image.crop(tile_box(image, place, (columns, rows))), path, TILE_QUESTION, TILE_ANSWER, label, False)
        for place, label in ((place, str(list(place))) for place in places)
    ]
    order = str([list(place) for place in places])
    answer = ORDER_ANSWER.replace('<order>', order)
    query = make_item(image, path, ORDER_QUESTION, answer, answer)
    meta = {
        'label': answer,
        'labels': [answer],
        'class': bank[index].title,
        'classes': [bank[index].title],
        'names': 'jigsaw',
        'shot': len(places),
        **support_meta(support, query, support_key([(0, f'{path} {order}')])),
    }
    return Episode(query, tuple(support), meta=meta, indivisible=True)


def tile_box(image: Image.Image, place: tuple[int, int], grid: tuple[int, int]) -> tuple[int, int, int, int]:
    """(left, upper, right, lower) of the tile at (column, row); the tiles of a grid cover every pixel once."""
    (column, row), (columns, rows) = place, grid
    return (
        image.width * column // columns,
        image.height * row // rows,
        image.width * (column + 1) // columns,
        image.height * (row + 1) // rows,
    )
