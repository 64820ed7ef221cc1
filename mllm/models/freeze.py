"""Stage 9 of a sample's way, before training: which parameters learn, by name pattern, and a table of them."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from types import MethodType

from rich.console import Console
from rich.table import Table
from torch import nn
from transformers import PreTrainedModel

from mllm.models.hub import near
from mllm.utils.patterns import matches


def apply_freeze(model: nn.Module, freeze: Sequence[str], tune: Sequence[str]) -> None:
    """Parameters that match a pattern of `freeze` do not learn, unless they match one of `tune`.

    Patterns are those of a shell (`*`, `?`, `[...]`) over the names of parameters, or of modules, which means all below
    these. A tied parameter matches by any of its names. ValueError that lists the patterns that match nothing,
    with the nearest names. Weights in 4 or 8 bits are codes and never learn: to tune them is a ValueError too.
    """
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    modules = [name for name, _ in model.named_modules() if name]
    faults = [
        f'{pattern!r} matches no parameter{near(pattern, [*modules, *names])}'
        for pattern in (*freeze, *tune)
        if not any(matches(name, pattern) for name in names)
    ]
    codes = [name for name, parameter in model.named_parameters() if not parameter.is_floating_point()]
    faults += [
        f'{pattern!r} names weights in 4 or 8 bits, which cannot learn'
        for pattern in tune
        if any(matches(name, pattern) for name in codes)
    ]
    if faults:
        raise ValueError('freeze and tune: ' + '; '.join(faults))
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    for patterns, learns in ((freeze, False), (tune, True)):
        for name, parameter in model.named_parameters(remove_duplicate=False):
            if parameter.is_floating_point() and any(matches(name, pattern) for pattern in patterns):
                parameter.requires_grad_(learns)


def is_frozen(module: nn.Module) -> bool:
    return not any(parameter.requires_grad for parameter in module.parameters())


def keep_in_evaluation(module: nn.Module) -> None:
    """Make `train()` leave a frozen module in evaluation mode: its batch norms would follow the batches."""
    module.eval()
    module.train = MethodType(stay, module)  # type: ignore[method-assign]


def stay(module: nn.Module, mode: bool = True) -> nn.Module:
    return module


def trainable_rows(model: PreTrainedModel) -> list[tuple[str, int, int]]:
    """(part, parameters, parameters that learn) for the model's parts; tied parameters count once, as embeddings."""
    embeddings = {id(parameter) for parameter in model.get_input_embeddings().parameters()}
    counts: dict[str, list[int]] = {}
    for name, parameter in model.named_parameters():
        part = 'embeddings' if id(parameter) in embeddings else name.removeprefix('model.').split('.')[0]
        count = counts.setdefault(part, [0, 0])
        size = count_values(parameter)
        count[0] += size
        count[1] += size * parameter.requires_grad
    return [(part, total, learning) for part, (total, learning) in counts.items()]


def count_values(parameter: nn.Parameter) -> int:
    """Number of values; bitsandbytes packs two of 4 bits into a byte."""
    packed = getattr(parameter, 'quant_state', None)
    return parameter.numel() if packed is None else packed.shape.numel()


def trainable_table(model: PreTrainedModel) -> str:
    """`trainable_rows` and their sum as text."""
    rows = trainable_rows(model)
    table = Table('part', title='trainable parameters', title_justify='left')
    table.add_column('parameters', justify='right')
    table.add_column('trainable', justify='right')
    for part, total, learning in rows:
        table.add_row(part, f'{total:,}', f'{learning:,}')
    table.add_section()
    table.add_row('all', *(f'{sum(column):,}' for column in list(zip(*rows))[1:]))
    text = StringIO()
    Console(file=text, width=100).print(table)
    return text.getvalue()
