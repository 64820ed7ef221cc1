"""Stage 12 of a sample's way, for the eye: images with the box that a model answered beside the true one, as a grid."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from PIL import Image

from mllm.evaluation.report.episode_picture import HALO, NEUTRAL, RIGHT, WRONG

Style = Literal['-', '--']
CELL, LINE = 1.35, 0.15
"""Width of one picture and height of a line of its caption, inches."""
WRAP = 24
"""Characters of a caption's line."""


@dataclass(frozen=True)
class BoxPicture:
    """An image, what was asked, the true box and the answered one (pixels of the image; None: no box was answered)."""

    image: Image.Image
    question: str
    true: Sequence[float]
    answered: Sequence[float] | None
    iou: float
    right: bool


def draw_boxes(rows: Sequence[tuple[str, Sequence[BoxPicture]]], path: str | Path, title: str = '') -> None:
    """Write rows of pictures, each with a title at its left, as a PNG or in the format that the name ends with."""
    columns = max(len(pictures) for _, pictures in rows)
    lines = max(len(textwrap.wrap(picture.question, WRAP)) for _, pictures in rows for picture in pictures) + 1
    height, left, top = CELL + LINE * lines + 0.12, 0.95, 0.5
    figure = Figure(figsize=(left + CELL * columns + 0.1, top + height * len(rows)), dpi=110, facecolor='white')
    FigureCanvasAgg(figure)
    width, total = figure.get_size_inches()
    figure.text(0.1 / width, 1 - 0.1 / total, title, fontsize=11, weight='bold', va='top')
    figure.legend(handles=legend(), loc='upper right', ncols=3, fontsize=8, frameon=False)
    for number, (name, pictures) in enumerate(rows):
        bottom = total - top - height * number - CELL
        figure.text(0.1 / width, (bottom + CELL / 2) / total, name, fontsize=9, va='center')
        for column, picture in enumerate(pictures):
            place = (left + CELL * column) / width, bottom / total, CELL * 0.93 / width, CELL * 0.93 / total
            draw_box_picture(figure.add_axes(place), picture)
    figure.savefig(path)


def legend() -> list[Line2D]:
    styles: list[tuple[str, str, Style]] = [
        ('true box', NEUTRAL, '--'),
        ('answered, right', RIGHT, '-'),
        ('answered, wrong', WRONG, '-'),
    ]
    return [Line2D([], [], color=colour, linestyle=style, label=label) for label, colour, style in styles]


def draw_box_picture(axes: Axes, picture: BoxPicture) -> None:
    """One image with both boxes; below it what was asked and the overlap."""
    colour = RIGHT if picture.right else WRONG
    axes.set_xticks([])
    axes.set_yticks([])
    axes.imshow(picture.image, interpolation='lanczos')
    add_box(axes, picture.true, NEUTRAL, '--')
    if picture.answered is not None:
        add_box(axes, picture.answered, colour, '-')
    said = f'IoU {picture.iou:.2f}' if picture.answered is not None else 'no box'
    axes.set_xlabel('\n'.join([*textwrap.wrap(picture.question, WRAP), said]), fontsize=8, color=colour, labelpad=3)


def add_box(axes: Axes, box: Sequence[float], colour: str, style: Style) -> None:
    x0, y0, x1, y1 = box
    # Pixel n of an image that is drawn spans n - 0.5 to n + 0.5.
    corner = x0 - 0.5, y0 - 0.5
    frame = Rectangle(corner, x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=1.4, linestyle=style)
    frame.set_path_effects(HALO)
    axes.add_patch(frame)
