"""Stage 9 of a sample's way, the keys of `model_args` for type='hf_vlm'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from mllm.models.hf_vlm.config import config_faults
from mllm.models.hf_vlm.template import FEW_SHOT
from mllm.registry import nearest


class ChatArgs(TypedDict, total=False):
    few_shot: Literal['turns', 'one_turn']
    system: str | None
    chat_template: str | None
    template_args: dict[str, Any]
    transforms: dict[str, Any] | None


@dataclass(frozen=True)
class HfVlmArguments:
    """Any model of `AutoModelForImageTextToText`. Paths are folders or names on the Hugging Face hub.

    model_name_or_path   the model, published or saved by a run of ours; None: drawn as `config` says,
                         which is not read otherwise
    config               dict(model_type=, text_config=dict(...), vision_config=dict(...), ...) for random weights
    processor            where the processor's files lie if not with the model: image processor, chat template
    tokenizer            where the tokenizer lies if not with the processor
    image_processor      overrides values of the image processor, by its own names; before max_tiles and max_pixels
    max_tiles            an image is cut into so many tiles at the most, 1: into none; None: as the processor likes
    max_pixels           an image keeps so many pixels at the most, where its processor keeps resolutions; None: as it
                         likes. Both are low at first, so that an episode of many shots stays short: raise them for
                         images with small print
    model_max_length     longest sequence in tokens
    dtype, attn_implementation  as transformers names them
    freeze, tune         name patterns of parameters that do not learn, and of exceptions
    target_processor     dict(boxes=dict(type=...)): how boxes and points are written
    conv_args            few_shot='turns' (each support is a question and its answer) or 'one_turn' (all supports are in
                         the first question); system=, the text of a system message; chat_template=, a file or a text in
                         place of the model's own; template_args=, what its template takes (enable_thinking=False);
                         transforms=dict(type=...)
    """

    model_name_or_path: str | None = None
    config: Mapping[str, Any] | None = None
    processor: str | None = None
    tokenizer: str | None = None
    image_processor: Mapping[str, Any] = field(default_factory=dict)
    max_tiles: int | None = 1
    max_pixels: int | None = 512 * 512
    model_max_length: int = 4096
    dtype: Literal['float32', 'bfloat16', 'float16'] = 'float32'
    attn_implementation: str | None = None
    freeze: Sequence[str] = ()
    tune: Sequence[str] = ()
    target_processor: Mapping[str, Any] = field(default_factory=lambda: {'boxes': {'type': 'PlainBoxFormatter'}})
    conv_args: ChatArgs = field(default_factory=lambda: ChatArgs())

    def __post_init__(self) -> None:
        faults = []
        if self.model_name_or_path is None and self.config is None:
            faults.append('model_args needs model_name_or_path, or config for random weights')
        if self.processor is None and self.model_name_or_path is None:
            faults.append('model_args.processor is needed where model_name_or_path is None')
        faults += [
            f'model_args.{name} is {value!r}; expected a number above 0, or None for no limit'
            for name, value in (('max_tiles', self.max_tiles), ('max_pixels', self.max_pixels))
            if value is not None and value < 1
        ]
        faults += [
            f'model_args.conv_args.{name}: there is no such key{nearest(name, ChatArgs.__annotations__)}'
            for name in self.conv_args
            if name not in ChatArgs.__annotations__
        ]
        few_shot = self.conv_args.get('few_shot', FEW_SHOT[0])
        if few_shot not in FEW_SHOT:
            faults.append(f'model_args.conv_args.few_shot: there is no {few_shot!r}{nearest(few_shot, FEW_SHOT)}')
        if self.config is not None:
            faults += config_faults(self.config)
        if faults:
            raise ValueError('\n'.join(faults))

    @property
    def processor_path(self) -> str:
        return str(self.processor or self.model_name_or_path)

    @property
    def tokenizer_path(self) -> str:
        return str(self.tokenizer or self.processor_path)
