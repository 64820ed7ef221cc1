"""Before stage 9 of a sample's way: a published delta and its base -> a checkpoint of the old layout.

    weight = base + delta            where both have it
    the first rows                   of embeddings and head, which grew by the model's own tokens
    weight = delta                   for the projector, which the base has not

Deltas of LLaVA and Shikra were made in float16 over the original LLaMA-7B; over another base, Vicuna for one, the sum
is a model that answers, and answers worse. The sum itself tells: see `off_grid`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from mllm.models.llava.legacy import BUFFERS
from mllm.utils.log import get_logger
from mllm.utils.weight_files import read_any, read_folder, weight_files, write_index

logger = get_logger(__name__)

GROWN = ('model.embed_tokens.weight', 'lm_head.weight')
NEW = ('model.mm_projector.', 'model.vision_tower.')
OFF_GRID = 1e-5
"""Share of weights off the grid above which a base is not the one the delta was made over; the right one gives 0."""


def off_grid(base: Tensor, delta: Tensor) -> tuple[int, int]:
    """(weights whose sum is no number of the delta's precision, weights that were looked at).

    Let t and b be numbers of one floating-point format and d = t - b rounded to it. Where |d| < |t| and |d| < |b|, d is
    a multiple of the spacing of the smaller one and has no more digits than the format, so it is exact, and b + d = t
    lies on the grid. Over another base, the last digits of the sum are left over from the two.
    """
    low, change = base.to(delta.dtype).double(), delta.double()
    total = low + change
    counted = (change != 0) & (low.abs() > change.abs()) & (total.abs() > change.abs())
    off = counted & (total != total.to(delta.dtype).double())
    return int(off.sum()), int(counted.sum())


def apply_delta(base_folder: str, delta_folder: str, out: str) -> None:
    """Write the checkpoint that a delta describes over a base to `out`, shard by shard, with the delta's other files.

    ValueError that lists the tensors that the base lacks or has in other shapes, or if it is not the one the delta was
    made over; nothing is written then.
    """
    base = read_folder(base_folder)
    check_base(base, read_folder(delta_folder), base_folder)
    rewrite(delta_folder, out, lambda name, tensor: combined(base[name], tensor, 1))


def make_delta(base_folder: str, target_folder: str, out: str) -> None:
    """The other way: write what `apply_delta` adds to the base to have the target, in the precision of the target."""
    base = read_folder(base_folder)
    check_shapes(base, read_folder(target_folder), base_folder)
    rewrite(target_folder, out, lambda name, tensor: combined(base[name], tensor, -1))


def rewrite(folder: str, out: str, change: Callable[[str, Tensor], Tensor]) -> None:
    """Copy a checkpoint with every weight changed that a base may have, one shard at a time."""
    target = Path(out)
    target.mkdir(parents=True, exist_ok=True)
    index: dict[str, str] = {}
    size = 0
    files = weight_files(folder)
    for file in files:
        name = file.with_suffix('.bin').name if len(files) > 1 else 'pytorch_model.bin'
        weights = {
            key: tensor.clone() if key.startswith(NEW) else change(key, tensor)
            for key, tensor in read_any(file).items()
            if not key.endswith(BUFFERS)
        }
        torch.save(weights, target / name)
        index |= dict.fromkeys(weights, name)
        size += sum(tensor.nbytes for tensor in weights.values())
    if len(files) > 1:
        write_index(target, index, size)
    for file in Path(folder).iterdir():
        if file.is_file() and file.suffix not in ('.bin', '.safetensors') and not file.name.endswith('.index.json'):
            shutil.copyfile(file, target / file.name)


def combined(base: Tensor, tensor: Tensor, sign: int) -> Tensor:
    """`tensor` + sign * `base` in the precision of `tensor`, over the rows that both have."""
    found = tensor.clone()
    found[: len(base)] += sign * base.to(tensor.dtype)
    return found


def check_shapes(base: Mapping[str, Tensor], delta: Mapping[str, Tensor], folder: str) -> None:
    faults = []
    for name, tensor in shared(delta):
        if name not in base:
            faults.append(f'{name} is missing')
        elif not fits(name, base[name], tensor):
            faults.append(f'{name} is {list(base[name].shape)} there and {list(tensor.shape)} here')
    if faults:
        more = f', ... ({len(faults)} in all)' if len(faults) > 5 else ''
        raise ValueError(f'{folder} is not the base of this model: {", ".join(faults[:5])}{more}')


def check_base(base: Mapping[str, Tensor], delta: Mapping[str, Tensor], folder: str) -> None:
    check_shapes(base, delta, folder)
    if not any(True for _ in shared(delta)):
        raise ValueError('the delta holds no weights of a language model; name the folder of a whole one')
    counts = [off_grid(base[name], tensor[: len(base[name])]) for name, tensor in shared(delta)]
    off, counted = (sum(column) for column in zip(*counts, strict=True))
    if off > OFF_GRID * counted:
        raise ValueError(
            f'{folder} is not the base this delta was made over: {off:,} of {counted:,} sums ({off / counted:.2%}) '
            'have digits left over, which the right base never gives. Deltas of LLaVA and Shikra are over the original '
            'LLaMA-7B in the Hugging Face layout, in float16, not over Vicuna or another model made of it'
        )
    logger.info('the base fits: of %s sums none has digits left over', f'{counted:,}')


def shared(delta: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a delta that its base must have too."""
    return ((name, tensor) for name, tensor in delta.items() if not name.endswith(BUFFERS) and not name.startswith(NEW))


def fits(name: str, base: Tensor, delta: Tensor) -> bool:
    grown = name in GROWN and base.shape[1:] == delta.shape[1:] and len(base) <= len(delta)
    return grown or base.shape == delta.shape
