"""Weights on disk, the files: `*.safetensors`, and `pytorch_model*.bin` and `.pt` of others; none is executed."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

LAYOUTS = (('model.safetensors', 'model.safetensors.index.json'), ('pytorch_model.bin', 'pytorch_model.bin.index.json'))
"""(the one file, or the index of several): the first that is there counts, in the order of transformers."""
SHARD_BYTES = 5 * 10**9


def weight_files(folder: str | Path) -> list[Path]:
    """The files of a folder in the layout of transformers, one or the shards of an index.

    FileNotFoundError that names what is missing: a shard that was not downloaded would be weights drawn at random.
    """
    folder = Path(folder)
    for whole, index in LAYOUTS:
        if (folder / whole).is_file():
            return [folder / whole]
        if (folder / index).is_file():
            shards = sorted(set(json.loads((folder / index).read_text(encoding='utf-8'))['weight_map'].values()))
            missing = [shard for shard in shards if not (folder / shard).is_file()]
            if missing:
                raise FileNotFoundError(f'{folder} lacks {", ".join(missing)}, which its {index} names')
            return [folder / shard for shard in shards]
    names = ', '.join(name for layout in LAYOUTS for name in layout)
    raise FileNotFoundError(f'{folder} has no weights: none of {names}')


def read_folder(folder: str | Path) -> dict[str, Tensor]:
    """All tensors of a folder by name, on the CPU; those of .bin files stay on the disk until they are used."""
    weights: dict[str, Tensor] = {}
    for path in weight_files(folder):
        weights |= read_any(path)
    return weights


def read_any(path: str | Path) -> dict[str, Tensor]:
    """All tensors of one file by name, on the CPU.

    A pickle is read with `weights_only=True`: anything but tensors and plain containers in it is a ValueError.
    """
    if Path(path).suffix == '.safetensors':
        return read_file(path)
    return {name: tensor for name, tensor in read_pickle(path).items() if isinstance(tensor, Tensor)}


def read_file(file: str | Path) -> dict[str, Tensor]:
    """All tensors of one safetensors file by name, on the CPU."""
    if not Path(file).is_file():
        raise FileNotFoundError(f'{file} does not exist')
    try:
        return load_file(file)
    except SafetensorError as error:
        raise ValueError(f'{file} cannot be read ({error}); it was not written to its end, remove it') from error


def read_pickle(path: str | Path) -> Mapping[str, Any]:
    """A dict that `torch.save` wrote."""
    if not Path(path).is_file():
        raise FileNotFoundError(f'{path} does not exist')
    try:
        try:
            state = torch.load(path, map_location='cpu', weights_only=True, mmap=True)
        except RuntimeError:
            # Files of torch < 1.6 are no archives and cannot be mapped.
            state = torch.load(path, map_location='cpu', weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        why = str(error).splitlines()[0] if str(error) else 'cut off'
        raise ValueError(
            f'{path} cannot be read as weights alone ({why}); other '
            'objects in a pickle could run code, so nothing else is read. Save a plain dict of tensors, or safetensors'
        ) from error
    if not isinstance(state, Mapping):
        raise ValueError(f'{path} holds a {type(state).__name__}; expected a dict of tensors by name')
    return state


def write_bins(weights: Mapping[str, Tensor], folder: str | Path) -> None:
    """Write pytorch_model-*.bin shards of up to 5 GB with their index to a folder, which is made."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    shards = in_shards(weights.items())
    names = [f'pytorch_model-{n + 1:05d}-of-{len(shards):05d}.bin' for n in range(len(shards))]
    index: dict[str, str] = {}
    size = 0
    for name, shard in zip(names, shards, strict=True):
        torch.save({key: tensor.clone() for key, tensor in shard.items()}, target / name)
        index |= dict.fromkeys(shard, name)
        size += sum(tensor.nbytes for tensor in shard.values())
    write_index(target, index, size)


def write_index(folder: Path, index: Mapping[str, str], size: int) -> None:
    """Write which .bin file of a folder holds which tensor; `size` of all in bytes."""
    text = json.dumps({'metadata': {'total_size': size}, 'weight_map': index}, indent=2)
    (folder / 'pytorch_model.bin.index.json').write_text(text, encoding='utf-8')


def in_shards(weights: Iterable[tuple[str, Tensor]], limit: int = SHARD_BYTES) -> list[dict[str, Tensor]]:
    """Weights in groups of at most `limit` bytes, in order; a larger tensor is alone."""
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in weights:
        if shards[-1] and size + tensor.nbytes > limit:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    return shards
