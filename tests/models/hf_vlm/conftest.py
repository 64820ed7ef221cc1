"""Tiny models of several types, and each one's own processor to compare with."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from transformers import CONFIG_MAPPING, PROCESSOR_MAPPING, AutoImageProcessor, AutoTokenizer, set_seed
from transformers.models.smolvlm import processing_smolvlm

from mllm.dataset.encoder import EpisodeEncoder
from mllm.engine.collator import Collator
from mllm.models.builder import load_model, load_preprocessor
from mllm.types import Episode, Preprocessor, RawItem, Sample, Turn
from tests.models.hf_vlm.kinds import KINDS, make_folder, picture


@pytest.fixture(scope='session')
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """(model type, chat template) -> folder with the files of its processor."""
    made: dict[Any, Path] = {}

    def make(model_type: str, template: str | None = None) -> Path:
        key = model_type, template
        if key not in made:
            made[key] = make_folder(tmp_path_factory.mktemp(model_type), model_type, template)
        return made[key]

    return make


@pytest.fixture
def model_args(folder_of: Callable[..., Path]) -> Callable[..., dict[str, Any]]:
    def make(model_type: str, template: str | None = None, **changes: Any) -> dict[str, Any]:
        config = {'model_type': model_type, **KINDS[model_type].config}
        folder = str(folder_of(model_type, template))
        return {'type': 'hf_vlm', 'processor': folder, 'config': config, 'max_tiles': 4, **changes}

    return make


@pytest.fixture
def preprocessor_of(model_args: Callable[..., dict[str, Any]]) -> Callable[..., Preprocessor]:
    return lambda *args, **kwargs: load_preprocessor(model_args(*args, **kwargs))


@pytest.fixture
def build(model_args: Callable[..., dict[str, Any]]) -> Callable[..., tuple[Any, Preprocessor]]:
    def make(*args: Any, seed: int = 1, **kwargs: Any) -> tuple[Any, Preprocessor]:
        arguments = model_args(*args, **kwargs)
        preprocessor = load_preprocessor(arguments)
        set_seed(seed)
        model: Any = load_model(arguments, preprocessor).eval()
        if arguments['config']['model_type'] == 'gemma3':
            # It starts as zeros, which hides images.
            torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight, std=0.3)
        return model, preprocessor

    return make


@pytest.fixture
def own_processor(folder_of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The processor of transformers itself, which only believes that it could read videos."""
    monkeypatch.setattr(transformers.ProcessorMixin, 'check_argument_for_proper_class', lambda *_: None)
    monkeypatch.setattr(processing_smolvlm, 'num2words', str)

    def make(model_type: str, template: str | None = None) -> Any:
        folder = folder_of(model_type, template)
        own: Any = PROCESSOR_MAPPING[CONFIG_MAPPING[model_type]]
        parts = {
            'tokenizer': AutoTokenizer.from_pretrained(folder),
            'image_processor': AutoImageProcessor.from_pretrained(folder, backend='pil'),
            'video_processor': SimpleNamespace(num_frames=None, fps=None),
        }
        named = {name: parts[name] for name in own.get_attributes()}
        text = (folder / 'chat_template.jinja').read_text()
        return own(**named, **KINDS[model_type].processor, chat_template=text)

    return make


def item(answer: str, *seeds: int, question: str | None = None, more: Sequence[tuple[str, str]] = ()) -> RawItem:
    """An item with an image for each seed, sizes of their own, and further turns."""
    question = question or ('What is in the image <image>?' if seeds else 'What is it?')
    turns = [
        Turn({'from': role, 'value': text})
        for pair in ((question, answer), *more)
        for role, text in zip(('human', 'gpt'), pair, strict=True)
    ]
    images = [picture(seed, 32 + 8 * (seed % 3), 32 + 16 * (seed % 2)) for seed in seeds]
    return RawItem(image=images if len(images) > 1 else images[0] if images else None, conversations=turns)


@pytest.fixture
def episode() -> Callable[..., Episode]:
    """(seeds of the images, the query's last; None = no image) -> episode of an item for each."""

    def make(*seeds: int | None) -> Episode:
        *support, query = (item('abcd'[n % 4] * 2, *[] if seed is None else [seed]) for n, seed in enumerate(seeds))
        return Episode(query, tuple(support))

    return make


@pytest.fixture
def encode(episode: Callable[..., Episode]) -> Callable[..., Sample]:
    """(preprocessor, seeds) -> training sample of `episode`."""
    return lambda preprocessor, *seeds: EpisodeEncoder(preprocessor, training=True)(episode(*seeds), 0)


@pytest.fixture
def logits() -> Callable[..., list[torch.Tensor]]:
    """Logits [L, V] of each sample, computed in one batch."""

    def compute(
        model: Any, preprocessor: Preprocessor, samples: list[Sample], side: Any = 'right'
    ) -> list[torch.Tensor]:
        batch = Collator(preprocessor, side, training=True)(samples)
        batch.pop('labels')
        with torch.no_grad():
            out = model(**batch, use_cache=False).logits
        return [row[mask.bool()] for row, mask in zip(out, batch['attention_mask'], strict=True)]

    return compute
