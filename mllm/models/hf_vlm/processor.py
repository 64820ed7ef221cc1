"""Stage 7 of a sample's way, the images of a model with a processor of its own: that processor, for images and text.

Processors of models that also read videos take a video processor, which exists only with torchvision, and some take
further packages for videos. Nothing here reads a video: the processor gets a stand-in for each of these.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import (
    PROCESSOR_MAPPING,
    AutoImageProcessor,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)
from transformers.models.auto.processing_auto import processor_class_from_name

from mllm.models.hub import loading
from mllm.models.tokens import find_file

FILES = (
    'processor_config.json',
    'preprocessor_config.json',
    'video_preprocessor_config.json',
    'chat_template.jinja',
    'chat_template.json',
)
"""What a processor is saved as, its tokenizer apart; most lack some of these."""
VIDEO_FUNCTIONS = ('num2words',)
"""Names that a processor's module has as None while the package that serves its videos is not installed."""


class NoPart:
    """Stands for a part that reads neither images nor text; whatever a processor asks it about is None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith('__'):
            raise AttributeError(name)


class WithoutVideos(ProcessorMixin):
    """Mixed into a processor's class: it takes a `NoPart` for any part.

    image_texts   what it wrote for the images of its last call
    """

    image_texts: Sequence[str] = ()

    def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
        if isinstance(argument, NoPart):
            return type(argument)
        return super().check_argument_for_proper_class(argument_name, argument)

    def get_text_with_replacements(
        self, text: list[str], images_replacements: Sequence[str] = (), *others: Any, **named: Any
    ) -> Any:
        self.image_texts = list(images_replacements)
        return super().get_text_with_replacements(text, list(images_replacements), *others, **named)

    def __repr__(self) -> str:
        """Stock writes all parts, a `NoPart` too."""
        return type(self).__name__

    def __reduce__(self) -> tuple[Any, ...]:
        """Workers that are spawned find the processor's own class by its name, but not one made here."""
        return blank, (type(self).__bases__[1],), self.__dict__


def without_videos(own: type) -> Any:
    """The class `own` with `WithoutVideos` mixed in."""
    return type(own.__name__, (WithoutVideos, own), {})


def blank(own: type) -> Any:
    kind = without_videos(own)
    return kind.__new__(kind)


def load_processor(
    path: str, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, image_processor: Any
) -> Any:
    """The processor of a folder or of a name on the hub around `tokenizer` and `image_processor`.

    ValueError if there is no processor for the model, or none without torchvision.
    """
    with loading('processor', path):
        settings, _ = ProcessorMixin.get_processor_dict(path)
    own = processor_class(settings, config)
    parts = {'tokenizer': tokenizer, 'image_processor': image_processor}
    with torchvision_named(path):
        known = own.get_attributes()
    if missing := [name for name in parts if name not in known]:
        raise ValueError(f'{own.__name__} takes no {" and no ".join(missing)}; this model cannot be used here')
    with standing_in(own):
        return without_videos(own).from_args_and_dict([parts.get(name, NoPart()) for name in known], settings)


def load_image_processor(path: str, overrides: Mapping[str, Any]) -> Any:
    """The image processor that works on PIL images, whether torchvision is installed or not.

    `overrides` are values in place of its own. ValueError if it needs torchvision.
    """
    with torchvision_named(path), loading('processor', path):
        return AutoImageProcessor.from_pretrained(path, backend='pil', **overrides)


@contextmanager
def torchvision_named(path: str) -> Iterator[None]:
    """A processor that exists only for torchvision is told of as such, on the first line."""
    try:
        yield
    except (ImportError, OSError, ValueError) as error:
        if 'torchvision' not in str(error).lower():
            raise
        raise ValueError(
            f'the processor of {path} exists only for torchvision, which is not installed; install the one that fits '
            f'this torch, or use another model ({" ".join(str(error).split())})'
        ) from error


def processor_class(settings: Mapping[str, Any], config: PreTrainedConfig) -> Any:
    """The class that the folder names, or the one of the model's type."""
    name = settings.get('processor_class')
    found = processor_class_from_name(name) if name else None
    if found is None and type(config) in PROCESSOR_MAPPING:
        found = PROCESSOR_MAPPING[type(config)]
    if found is None:
        raise ValueError(f'transformers has no processor for the model type {config.model_type!r}')
    return found


def copy_files(path: str, folder: str) -> None:
    """Copy the processor of a folder or of a name on the hub to another folder, as it is there."""
    for name in FILES:
        found = find_file(path, name)
        if found is not None and not Path(folder, name).exists():
            shutil.copyfile(found, Path(folder, name))


@contextmanager
def standing_in(own: type) -> Iterator[None]:
    """While a processor is made, functions that it needs for videos are there."""
    module: Any = sys.modules[own.__module__]
    missing = [name for name in VIDEO_FUNCTIONS if getattr(module, name, name) is None]
    for name in missing:
        setattr(module, name, no_videos)
    try:
        yield
    finally:
        for name in missing:
            setattr(module, name, None)


def no_videos(*_: Any, **__: Any) -> str:
    raise ValueError('videos are not read here')
