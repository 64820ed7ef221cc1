"""Stage 9 of a sample's way, the keys of `model_args` for type='hf_vlm'."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mllm.models.arguments import ConvArgs, ModelArguments
from mllm.models.hf_vlm.config import config_faults


class ChatArgs(ConvArgs, total=False):
    few_shot: Literal['turns', 'one_turn']
    system: str | None
    chat_template: str | None
    template_args: Mapping[str, Any] | None


@dataclass(frozen=True)
class HfVlmArguments(ModelArguments):
    """Any model of `AutoModelForImageTextToText`, by path or drawn; and what `ModelArguments` has.

    config           dict(model_type=, text_config=dict(...), vision_config=dict(...), ...) for random weights; not read
                     where model_name_or_path is given
    processor        where the processor's files lie if not with the model: image processor, chat template, tokenizer
    image_processor  overrides values of the image processor, by its own names
    max_tiles        an image is cut into so many tiles at the most, 1: into none; None: as the processor likes
    max_pixels       an image keeps so many pixels at the most, where its processor keeps resolutions; None: as it
                     likes. Both are low at first, so that an episode of many shots stays short: raise them for images
                     with small print
    conv_args        few_shot: 'turns', each support is a question and its answer, or 'one_turn', all supports are in
                     the first question; system, the text of a system message; chat_template, a file or a text in place
                     of the model's own; template_args, what the template takes, dict(enable_thinking=False);
                     transforms=dict(type=...)
    """

    config: Mapping[str, Any] | None = None
    processor: str | None = None
    image_processor: Mapping[str, Any] = field(default_factory=dict)
    max_tiles: int | None = 1
    max_pixels: int | None = 512 * 512
    model_max_length: int = 4096
    conv_args: ChatArgs = field(default_factory=lambda: ChatArgs())

    def faults(self) -> Iterator[str]:
        if self.model_name_or_path is None and self.config is None:
            yield 'model_args needs model_name_or_path, or config for random weights'
        if self.model_name_or_path is None and self.processor is None:
            yield 'model_args.processor is needed where model_name_or_path is None'
        for name in ('max_tiles', 'max_pixels'):
            if (value := getattr(self, name)) is not None and value < 1:
                yield f'model_args.{name} is {value!r}; expected a number above 0, or None for no limit'
        for name in ('conv_template', 'episode_template'):
            if name in self.conv_args:
                yield f"model_args.conv_args.{name}: this model has a chat template of its own; write few_shot='turns'"
        if self.config is not None:
            yield from config_faults(self.config)
        yield from super().faults()

    @property
    def processor_path(self) -> str:
        return str(self.processor or self.model_name_or_path)

    @property
    def tokenizer_path(self) -> str:
        return str(self.tokenizer or self.processor_path)
