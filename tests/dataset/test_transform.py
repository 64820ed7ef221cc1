import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mllm.dataset.transform import Affine, Expand2square, RandomAffine
from mllm.registry import TRANSFORMS
from mllm.utils.rng import ItemRng

RED = (220, 20, 20)


def picture(width: int, height: int, box: list[int], background: tuple[int, int, int] = (255, 255, 255)) -> Image.Image:
    """An image with one red rectangle."""
    image = Image.new('RGB', (width, height), background)
    image.paste(RED, tuple(box))
    return image


def red_part(image: Image.Image) -> list[int]:
    """Where the red pixels are: x0, y0, x1, y1."""
    pixels = np.asarray(image).astype(int)
    ys, xs = np.nonzero((pixels[..., 0] > 100) & (pixels[..., 1] < 140) & (pixels[..., 2] < 140))
    return [int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1]


@st.composite
def cases(draw: st.DrawFn):
    """An image size and the whole box of a rectangle in it, of at least 6 pixels."""
    width, height = draw(st.integers(16, 80)), draw(st.integers(16, 80))
    x0, y0 = draw(st.integers(0, width - 6)), draw(st.integers(0, height - 6))
    return width, height, [x0, y0, draw(st.integers(x0 + 6, width)), draw(st.integers(y0 + 6, height))]


@pytest.mark.parametrize(
    ('size', 'side', 'box', 'point'),
    [
        ((100, 50), 100, [1.5, 27.25, 50.0, 41.5], [33.5, 32.125]),
        ((101, 50), 101, [1.5, 27.25, 50.0, 41.5], [33.5, 32.125]),
        ((50, 101), 101, [26.5, 2.25, 75.0, 16.5], [58.5, 7.125]),
        ((640, 427), 640, [1.5, 108.25, 50.0, 122.5], [33.5, 113.125]),
        ((60, 60), 60, [1.5, 2.25, 50.0, 16.5], [33.5, 7.125]),
    ],
)
def test_padding_as_published(size: tuple[int, int], side: int, box: list[float], point: list[float]):
    target = {'boxes': [[1.5, 2.25, 50.0, 16.5]], 'points': [[33.5, 7.125]]}
    image, moved = Expand2square()(Image.new('RGB', size, RED), target)
    assert image.size == (side, side)
    assert moved == {'boxes': [box], 'points': [point]}
    assert target == {'boxes': [[1.5, 2.25, 50.0, 16.5]], 'points': [[33.5, 7.125]]}, 'the input is changed'
    assert image.getpixel((side // 2, side // 2)) == RED
    if size[0] != size[1]:
        assert image.getpixel((0, 0)) == image.getpixel((side - 1, side - 1)) == (255, 255, 255)


@given(cases())
def test_padding_moves_the_box_with_its_pixels(case):
    width, height, box = case
    image, target = Expand2square(background=[0, 0, 9])(picture(*case), {'boxes': [box], 'points': [box[:2]]})
    assert target['boxes'] == [red_part(image)]
    assert target['points'] == [red_part(image)[:2]]
    dx, dy = (image.width - width) // 2, (image.height - height) // 2
    assert image.crop((dx, dy, dx + width, dy + height)).tobytes() == picture(*case).tobytes()


def test_padding_without_target():
    image, target = Expand2square()(Image.new('RGB', (4, 8), RED), None, ItemRng(0))
    assert (image.size, target) == ((8, 8), None)
    assert Expand2square()(Image.new('RGB', (8, 8)), {'points': [[1, 2]]})[1] == {'boxes': [], 'points': [[1, 2]]}


PLAIN = {'tint': 0.0, 'brightness': 0.0}


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(0, 10**6), st.floats(0, 30), st.booleans())
def test_augmentation_moves_the_box_with_its_pixels(case, index: int, degrees: float, flip: bool):
    width, height, box = case
    augment = RandomAffine(degrees=degrees, flip=flip, **PLAIN)
    image, target = augment(picture(*case), {'boxes': [box], 'points': []}, ItemRng(0, 0, index))
    (moved,) = target['boxes']
    assert 0 <= moved[0] < moved[2] <= width
    assert 0 <= moved[1] < moved[3] <= height
    # The corners of a small turned rectangle are blurred away: inside by up to 3 pixels, outside by none but rounding.
    # Where the image's edge cuts the hull, the corner that made it wide may lie outside.
    cut = moved[0] == 0 or moved[1] == 0 or moved[2] == width or moved[3] == height
    inside = max(width, height) if cut else 3
    for outer, seen, sign in zip(moved, red_part(image), (1, 1, -1, -1)):
        assert -1.01 <= sign * (seen - outer) <= inside, (moved, red_part(image))


@settings(max_examples=40, deadline=None)
@given(st.integers(4, 60), st.integers(4, 60), st.integers(0, 10**6))
def test_augmentation_moves_the_point_with_its_pixel(x: int, y: int, index: int):
    image = picture(64, 64, [x - 2, y - 2, x + 2, y + 2])
    image, target = RandomAffine(**PLAIN)(image, {'boxes': [], 'points': [[x, y]]}, ItemRng(0, 0, index))
    ((px, py),) = target['points']
    x0, y0, x1, y1 = red_part(image)
    assert abs((x0 + x1) / 2 - px) <= 1.5
    assert abs((y0 + y1) / 2 - py) <= 1.5


def test_flipped_boxes_change_sides():
    """Without scale, rotation and shift half of the renderings mirror, and only that."""
    augment = RandomAffine(views=16, scale=(1, 1), degrees=0, shift=0, **PLAIN)
    image, found = picture(40, 20, [2, 3, 12, 15]), set()
    for index in range(40):
        seen, target = augment(image, {'boxes': [[2, 3, 12, 15]], 'points': [[2, 3]]}, ItemRng(0, 0, index))
        assert target['boxes'] == [red_part(seen)]
        found.add((tuple(target['boxes'][0]), tuple(target['points'][0])))
    assert found == {((2, 3, 12, 15), (2, 3)), ((28, 3, 38, 15), (38, 3))}
    still = RandomAffine(scale=(1, 1), degrees=0, shift=0, flip=False, **PLAIN)
    assert still(image, None, ItemRng(0))[0].tobytes() == image.tobytes()


def renderings(augment: RandomAffine, image: Image.Image, count: int = 60) -> set[bytes]:
    return {
        augment(image, None, ItemRng(seed, epoch, 3))[0].tobytes() for seed in (0, 1) for epoch in range(count // 2)
    }


@pytest.mark.parametrize('views', [1, 3, 5])
def test_an_image_has_only_so_many_looks(views: int):
    """What a cache of features by content relies on; different images have different looks."""
    image, other = picture(32, 32, [4, 4, 20, 28]), picture(32, 32, [4, 4, 20, 27])
    looks = renderings(RandomAffine(views=views), image)
    assert len(looks) == views
    assert image.tobytes() not in looks
    assert looks == renderings(RandomAffine(views=views), image.copy())
    assert not looks & renderings(RandomAffine(views=views), other)


def test_a_rendering_is_a_function_of_seed_epoch_index_and_image():
    augment, image = RandomAffine(views=100), picture(32, 32, [4, 4, 20, 28])
    first = augment(image, None, ItemRng(1, 2, 3))[0]
    assert augment(image.copy(), None, ItemRng(1, 2, 3))[0].tobytes() == first.tobytes()
    others = [augment(image, None, rng)[0] for rng in (ItemRng(2, 2, 3), ItemRng(1, 3, 3), ItemRng(1, 2, 4))]
    assert any(other.tobytes() != first.tobytes() for other in others)


def test_every_image_has_renderings_of_its_own():
    """One view, one box, images that differ elsewhere: supports and query of an episode move in different ways."""
    box, moved = [20, 20, 30, 30], set()
    for number in range(8):
        image = picture(64, 64, box)
        image.putpixel((0, 0), (number, 0, 0))
        _, target = RandomAffine(views=1)(image, {'boxes': [box]}, ItemRng(0))
        moved.add(tuple(target['boxes'][0]))
    assert len(moved) == 8


def test_both_directions_are_shifted_by_themselves():
    augment = RandomAffine(views=50, scale=(1, 1), degrees=0, flip=False, **PLAIN)
    shifts = []
    for index in range(50):
        _, target = augment(picture(100, 50, [40, 20, 60, 30]), {'points': [[50, 25]]}, ItemRng(0, 0, index))
        ((x, y),) = target['points']
        assert abs(x - 50) <= 10
        assert abs(y - 25) <= 5
        shifts.append((x - 50, y - 25))
    assert abs(np.corrcoef(np.array(shifts).T)[0, 1]) < 0.5
    assert np.std(shifts, axis=0) == pytest.approx([10 / 3**0.5, 5 / 3**0.5], rel=0.3)


def test_evaluation_sees_the_image_itself():
    image, target = picture(32, 32, [4, 4, 20, 28]), {'boxes': [[4, 4, 20, 28]]}
    for augment, rng in ((RandomAffine(), None), (RandomAffine(views=0), ItemRng(0))):
        assert augment(image, target, rng) == (image, target)


def test_what_the_answer_points_at_stays_in_view():
    """A box or point that a rendering would push out of the image leaves the image as it is."""
    augment = RandomAffine(shift=0.5, **PLAIN)
    unchanged = 0
    for index in range(100):
        box = [0, 0, 8, 8] if index % 2 else [56, 56, 64, 64]
        image = picture(64, 64, box)
        seen, target = augment(image, {'boxes': [box], 'points': [box[:2]]}, ItemRng(0, 0, index))
        (x0, y0, x1, y1), (px, py) = target['boxes'][0], target['points'][0]
        assert (x1 - x0) * (y1 - y0) > 4
        assert 0 <= px <= 64
        assert 0 <= py <= 64
        unchanged += seen is image
    assert 0 < unchanged < 100


def test_the_background_becomes_pale_and_ink_stays_dark():
    image = picture(32, 32, [8, 8, 24, 24])
    image.paste((0, 0, 0), (12, 12, 20, 20))
    corners = set()
    for index in range(40):
        seen = RandomAffine(views=40, tint=0.2, brightness=0.1, shift=0)(image, None, ItemRng(0, 0, index))[0]
        corners.add(seen.getpixel((0, 0)))
        assert max(seen.getpixel((16, 16))) <= 5
    assert all(255 * 0.9 * 0.8 - 1 <= value <= 255 for corner in corners for value in corner)
    assert len(corners) > 10
    assert any(max(corner) - min(corner) > 10 for corner in corners), 'never a colour'


@given(*(st.floats(-2, 2) for _ in range(2)), st.floats(0.3, 2), *(st.floats(-50, 50) for _ in range(4)))
def test_an_affine_movement_undone(b: float, d: float, scale: float, c: float, f: float, x: float, y: float):
    affine = Affine(scale * 4, b, c, d, scale * 5, f)
    assert affine.inverse()(*affine(x, y)) == pytest.approx((x, y), abs=1e-6)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'views': -1}, r'views=-1: expected 0 \(no change\) or more'),
        ({'scale': (1.2, 0.8)}, r'scale=\(1.2, 0.8\)'),
        ({'scale': (0, 1)}, r'scale=\(0, 1\)'),
        ({'degrees': -3}, 'degrees=-3: expected 0 to 180'),
        ({'tint': 20, 'brightness': 2}, 'tint=20: expected 0 to 1; brightness=2: expected 0 to 1'),
    ],
)
def test_nonsense_arguments(arguments: dict, message: str):
    with pytest.raises(ValueError, match=f'^RandomAffine: {message}'):
        TRANSFORMS.build({'type': 'RandomAffine', **arguments})


def test_by_name_in_a_config():
    image, _ = TRANSFORMS.build({'type': 'Expand2square', 'background': (1, 2, 3)})(Image.new('RGB', (2, 4)), None)
    assert image.getpixel((0, 0)) == (1, 2, 3)
