"""Stage 12 of a sample's way, for the eye: episodes as a picture, one row each, supports first and the query last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import AbstractPathEffect, withStroke
from PIL import Image

RIGHT, WRONG, NEUTRAL = '#1a7f37', '#c62828', '#333333'
HALO: list[AbstractPathEffect] = [withStroke(linewidth=3.5, foreground='white')]
"""Lines stay visible on pictures of their own colour."""
CELL = 1.25
"""Width of one picture, inches."""


@dataclass(frozen=True)
class Picture:
    """One image with the lines below it and boxes or points drawn on it (pixels of the image); `framed` if asked."""

    image: Image.Image | None
    caption: str
    colour: str = NEUTRAL
    boxes: Sequence[Sequence[float]] = ()
    points: Sequence[Sequence[float]] = ()
    framed: bool = False


@dataclass(frozen=True)
class EpisodeRow:
    """Supports, then the query; `title` stands at the left."""

    title: str
    support: Sequence[Picture]
    query: Picture
    details: dict[str, str] = field(default_factory=dict)


def draw_episodes(rows: Sequence[EpisodeRow], path: str | Path, title: str = '') -> None:
    """Write the rows as a PNG."""
    columns = max(len(row.support) for row in rows) + 1
    lines = max(picture.caption.count('\n') for row in rows for picture in (*row.support, row.query)) + 1
    height = CELL + 0.17 * lines + 0.3
    top = 0.45 if title else 0.1
    figure = Figure(figsize=(CELL * (columns + 0.35) + 1.1, height * len(rows) + top), dpi=130, facecolor='white')
    FigureCanvasAgg(figure)
    width, total = figure.get_size_inches()
    if title:
        figure.text(0.02, 1 - 0.14 / total, title, fontsize=11, weight='bold', va='top')
    for number, row in enumerate(rows):
        bottom = total - top - height * (number + 1) + 0.17 * lines + 0.15
        figure.text(0.1 / width, (bottom + CELL / 2) / total, row.title, fontsize=8.5, va='center')
        for column, picture in enumerate((*row.support, row.query)):
            is_query = column == len(row.support)
            left = 1.1 + CELL * (columns - 1 + 0.3 if is_query else column)
            axes = figure.add_axes((left / width, bottom / total, CELL * 0.9 / width, CELL * 0.9 / total))
            draw_picture(axes, picture, framed=is_query or picture.framed)
    figure.savefig(path)


def draw_picture(axes: Axes, picture: Picture, framed: bool) -> None:
    """One image with its boxes, points and caption in its own axes; the query's frame is thick."""
    axes.set_xticks([])
    axes.set_yticks([])
    if picture.image is not None:
        axes.imshow(picture.image, interpolation='lanczos')
    for x0, y0, x1, y1 in picture.boxes:
        frame = Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, color=WRONG, linewidth=1.5)
        frame.set_path_effects(HALO)
        axes.add_patch(frame)
    for x, y in picture.points:
        axes.plot([x], [y], marker='x', color=WRONG, path_effects=HALO)
    for spine in axes.spines.values():
        spine.set_linewidth(2.0 if framed else 0.6)
        spine.set_color(picture.colour if framed else '#bbbbbb')
    axes.set_xlabel(picture.caption, fontsize=8.5, color=picture.colour, labelpad=3)
