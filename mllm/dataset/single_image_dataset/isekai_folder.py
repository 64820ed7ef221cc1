"""Stage 1 of a sample's way for ISEKAI in the Hugging Face `imagefolder` layout: a local folder -> ISEKAI rows.

    folder with a file of ISEKAI rows among the images     -> the rows of that file
    folder of class sub-folders, or with a metadata file   -> rows made of its classes, two by two

Nothing is fetched: the folder is a copy of the data set on this machine (`hf download --repo-type dataset ...`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mllm.registry import nearest
from mllm.utils.json_rows import Rows, open_rows

LABEL_COLUMN = 'label'


def read_folder(folder: str, pairs: Sequence[Sequence[str]] | None = None) -> Rows:
    """Rows with the keys of an ISEKAI file; image paths are relative to `folder`.

    pairs   names of classes (positive, negative); None: classes that follow one another in alphabetical order. Each
            image of a pair is a query once, the others of its class and those of the contrast class are supports.
    ValueError with what the folder lacks.
    """
    files = [path for path in sorted(Path(folder).rglob('*.json*')) if has_isekai_rows(path)]
    if files and pairs is not None:
        raise ValueError(f'pairs={pairs!r}: {files[0]} fixes the pairs itself; leave pairs out')
    if len(files) > 1:
        raise ValueError(
            f'{folder} has several files of ISEKAI rows; name one as filename: {", ".join(map(str, files))}'
        )
    if files:
        return open_rows(str(files[0]))
    return FolderRows(folder, pairs)


def has_isekai_rows(path: Path) -> bool:
    """Whether a file's first row names a query image, as those of ISEKAI do; metadata and card files do not."""
    try:
        rows = open_rows(str(path))
        return len(rows) > 0 and 'image_name' in rows[0]
    except (ValueError, FileNotFoundError):
        return False


class FolderRows:
    """Rows made of the classes of an image folder."""

    def __init__(self, folder: str, pairs: Sequence[Sequence[str]] | None) -> None:
        self.folder = folder
        classes = read_classes(folder)
        self.rows = [
            row
            for positive, negative in choose_pairs(folder, sorted(classes), pairs)
            for row in pair_rows((positive, classes[positive]), (negative, classes[negative]))
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[index]

    def where(self, index: int) -> str:
        """'folder: image' of a row."""
        return f'{self.folder}: {self.rows[index]["image_name"]}'


def read_classes(folder: str) -> dict[str, list[str]]:
    """Image paths relative to `folder`, sorted, by class.

    The class is the column `label` of a metadata file, else the name of the image's folder with blanks for underscores.
    ValueError where two folders of one split have the same name: an image folder's classes are its innermost folders.
    """
    root = Path(folder).resolve()
    classes: dict[str, list[str]] = {}
    homes: dict[tuple[str, str], Path] = {}
    for split, path, label in read_images(folder):
        if not path.is_file():
            raise ValueError(f'{folder}: {path} is not a file of it; unpack archives first')
        name = path.parent.name.replace('_', ' ') if label is None else label
        home = homes.setdefault((split, name), path.parent)
        if label is None and home != path.parent:
            raise ValueError(
                f'{folder}: {home} and {path.parent} have the same name, so it names no class; say which class every '
                f"image is of in a metadata.jsonl with 'file_name' and {LABEL_COLUMN!r}"
            )
        classes.setdefault(name, []).append(path.relative_to(root).as_posix())
    return {name: sorted(paths) for name, paths in classes.items()}


def read_images(folder: str) -> Iterator[tuple[str, Path, str | None]]:
    """Split, path and label of all images; the label is None where the folder's name is it."""
    # Only such folders need the package, and importing it takes most of a second.
    from datasets import ClassLabel, Image, IterableDatasetDict, load_dataset

    # Streamed, so that no list of the images is left in a cache; not decoded, because paths are all that is needed.
    try:
        splits = load_dataset('imagefolder', data_dir=folder, streaming=True)
    except (FileNotFoundError, ValueError, RuntimeError) as error:
        raise ValueError(f'{folder}: cannot be read as an image folder ({error})') from error
    assert isinstance(splits, IterableDatasetDict)
    for name, split in splits.items():
        numbered = isinstance((split.features or {}).get(LABEL_COLUMN), ClassLabel)
        for row in split.cast_column('image', Image(decode=False)):
            label = None if numbered else row.get(LABEL_COLUMN)
            yield str(name), Path(row['image']['path']), None if label is None else str(label)


def choose_pairs(folder: str, names: Sequence[str], pairs: Sequence[Sequence[str]] | None) -> list[tuple[str, str]]:
    """(positive, negative) names. ValueError for names that the folder does not have, or an odd number of classes."""
    if pairs is None:
        if not names or len(names) % 2:
            raise ValueError(
                f'{folder} has {len(names)} classes, which cannot be paired two by two; give '
                "pairs=[['positive', 'negative'], ...]"
            )
        return list(zip(names[::2], names[1::2], strict=True))
    faults = [f'pairs: {pair!r} is not a pair of two names' for pair in pairs if len(set(pair)) != 2 or len(pair) != 2]
    faults += [
        f'pairs: {folder} has no class {name!r}{nearest(name, names)}'
        for name in dict.fromkeys(name for pair in pairs for name in pair)
        if name not in names
    ]
    if faults or not pairs:
        raise ValueError('\n'.join(faults) or 'pairs is empty')
    return [(pair[0], pair[1]) for pair in pairs]


def pair_rows(positive: tuple[str, list[str]], negative: tuple[str, list[str]]) -> list[dict[str, Any]]:
    """A row for each image of two classes."""
    return [
        {
            'image_name': path,
            'positive_list': positive[1],
            'negative_list': negative[1],
            'positive_promt': positive[0],
            'negative_promt': negative[0],
            'label_name': name,
        }
        for name, paths in (positive, negative)
        for path in paths
    ]
