"""Weights on disk, between runs: saved under the model's live parameter names, loaded strictly.

Of a model with adapters only what was learnt is saved: `utils/learnt_weights.py`.

By default transformers writes the names of older versions, which its own Trainer then does not find when it
resumes: for LLaVA-type models every weight would be lost with a mere warning.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from transformers import PreTrainedModel

from mllm.utils.learnt_weights import check_base, check_kind, learnt_names, write_base
from mllm.utils.weight_files import read_folder

MAX_NAMES = 20
"""So many names of each kind are listed in an error; more are counted."""


def save_weights(model: PreTrainedModel, folder: str, state_dict: dict[str, Tensor] | None = None) -> None:
    """Write weights, buffers and config to `folder`; `state_dict` where a wrapped model had to gather it."""
    names = learnt_names(model)
    if names is not None:
        whole = model.state_dict() if state_dict is None else state_dict
        write_base(whole, names, folder)
        state_dict = {name: whole[name] for name in names}
    model.save_pretrained(folder, state_dict=state_dict, save_original_format=False)


def load_weights(model: nn.Module, folder: str) -> None:
    """Load what `save_weights` wrote into a model of the same architecture.

    ValueError that lists missing and unexpected names and wrong shapes, or where adapters were learnt over other
    weights than the model has. A name may be missing only if the model ties it to one that is there. Nothing is changed
    unless everything fits.
    """
    weights = read_folder(folder)
    names, whole = learnt_names(model), model.state_dict()
    own = whole if names is None else {name: whole[name] for name in names}
    check_kind(folder, adapted=names is not None)
    faults = [
        *listing('missing', missing_names(own, weights)),
        *listing('unexpected', sorted(weights.keys() - own.keys())),
        *listing('of another shape', wrong_shapes(own, weights)),
    ]
    if faults:
        raise ValueError(
            f'the weights in {folder} are not those of this {type(model).__name__}; '
            f'load them with the model_args they were trained with\n' + '\n'.join(faults)
        )
    if names is not None:
        check_base(whole, folder)
    model.load_state_dict(weights, strict=False)


def missing_names(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> list[str]:
    """Names of `own` that `weights` gives no value to, neither directly nor through a tied tensor."""
    given = {own[name].data_ptr() for name in weights if name in own}
    return [name for name, tensor in own.items() if name not in weights and tensor.data_ptr() not in given]


def wrong_shapes(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> list[str]:
    return [
        f'{name} {list(tensor.shape)} instead of {list(own[name].shape)}'
        for name, tensor in weights.items()
        if name in own and tensor.shape != own[name].shape
    ]


def listing(kind: str, names: list[str]) -> list[str]:
    """One line of an error, none if there are no names."""
    if not names:
        return []
    more = f', ... ({len(names) - MAX_NAMES} more)' if len(names) > MAX_NAMES else ''
    return [f'  {len(names)} {kind}: {", ".join(names[:MAX_NAMES])}{more}']
