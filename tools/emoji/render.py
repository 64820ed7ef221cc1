"""Stage 3 of the shipped emoji data: SVG -> small palette PNG with transparency, and the image archive.

Everything here is a pure function of its input under the pinned resvg-py and Pillow's octree quantiser.
"""

import io
import zipfile
from pathlib import Path

import numpy as np
import resvg_py
from PIL import Image

SIZE = 48  # pixels, square
COLOURS = 28
ALPHA_STEPS = 4
_STAMP = (2020, 1, 1, 0, 0, 0)  # fixed, so that equal pictures give an equal archive


def rasterise(svg: str, size: int = SIZE) -> Image.Image:
    """Square RGBA picture of ``size`` pixels, the drawing centred."""
    png = resvg_py.svg_to_bytes(svg_string=svg, width=size, skip_system_fonts=True)
    drawn = Image.open(io.BytesIO(bytes(png))).convert('RGBA')
    if drawn.height > size:
        png = resvg_py.svg_to_bytes(svg_string=svg, height=size, skip_system_fonts=True)
        drawn = Image.open(io.BytesIO(bytes(png))).convert('RGBA')
    canvas = Image.new('RGBA', (size, size))
    canvas.paste(drawn, ((size - drawn.width) // 2, (size - drawn.height) // 2))
    return canvas


def coverage(image: Image.Image) -> float:
    """Share of pixels that are more than half opaque."""
    return float((np.asarray(image)[..., 3] > 127).mean())


def is_blank(image: Image.Image) -> bool:
    """True for a picture of which nearly nothing is visible, also not on white paper."""
    rgba = np.asarray(image).astype(float) / 255
    on_white = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
    return coverage(image) < 0.01 or float((on_white.min(-1) < 0.9).mean()) < 0.01


def encode(image: Image.Image) -> bytes:
    """Palette PNG bytes of at most COLOURS colours and ALPHA_STEPS + 1 opacities.

    The palette begins with the transparent entries, since PNG lets the opaque rest of the opacity table be left out.
    """
    rgba = np.asarray(image).copy()
    rgba[..., 3] = (rgba[..., 3].astype(int) * ALPHA_STEPS + 127) // 255 * 255 // ALPHA_STEPS
    rgba[rgba[..., 3] == 0] = 0
    coded = Image.fromarray(rgba).quantize(COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    indices = np.asarray(coded)
    table = np.array(coded.getpalette('RGBA'), np.uint8).reshape(-1, 4)
    order = sorted(np.unique(indices).tolist(), key=lambda index: (table[index][3], *table[index][:3].tolist(), index))
    place = np.zeros(256, np.uint8)
    place[order] = np.arange(len(order))
    palette = Image.fromarray(place[indices], 'P')
    palette.putpalette(table[order][:, :3].tobytes())
    opacities = bytes(opacity for opacity in table[order][:, 3].tolist() if opacity < 255)
    buffer = io.BytesIO()
    palette.save(buffer, 'PNG', optimize=True, transparency=opacities)
    return buffer.getvalue()


def write_archive(path: Path, members: dict[str, bytes]) -> None:
    """A zip of stored (already compressed) members in the order of their names, with a fixed time stamp."""
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, _STAMP)
            info.external_attr = 0o644 << 16
            archive.writestr(info, members[name])


def read_archive(path: Path) -> dict[str, Image.Image]:
    """Every member as RGBA."""
    with zipfile.ZipFile(path) as archive:
        return {name: Image.open(io.BytesIO(archive.read(name))).convert('RGBA') for name in archive.namelist()}
