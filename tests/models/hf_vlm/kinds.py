"""Tiny models of drawn weights with the tokens, templates and processor files that published ones of their kind have.

`kinds.json` has, by model type: special tokens, the name of the chat template in `templates/`, the model's config, the
settings of its image processor and of its processor, and the tokenizer's names for some tokens.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import CONFIG_MAPPING, PROCESSOR_MAPPING, PreTrainedTokenizerFast
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

HERE = Path(__file__).parent
CORPUS = [
    'What is in the image? There is a "dax" in the image.',
    'system user assistant model You are a helpful assistant. Here is the original image and some crops',
    'to help you see better\n\nUser: Assistant:\n think',
]


@dataclass(frozen=True)
class Kind:
    """An entry of kinds.json; `plain` are added tokens that are no special ones."""

    marks: list[str]
    template: str
    config: dict[str, Any]
    image_processor: dict[str, Any]
    processor: dict[str, Any]
    names: dict[str, str]
    plain: list[str]


KINDS = {name: Kind(**entry) for name, entry in json.loads((HERE / 'kinds.json').read_text()).items()}


def chat_template(name: str) -> str:
    return (HERE / 'templates' / f'{name}.jinja').read_text()


def make_tokenizer(kind: Kind) -> PreTrainedTokenizerFast:
    """A byte-level BPE with the kind's special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in kind.plain])
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in kind.marks])
    roles = {name: token for name, token in kind.names.items() if name in ('bos_token', 'eos_token', 'pad_token')}
    more = {name: token for name, token in kind.names.items() if name not in roles}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        extra_special_tokens=more,
        model_input_names=['input_ids', 'attention_mask'],
        clean_up_tokenization_spaces=False,
        **roles,
    )


def make_folder(folder: Path, model_type: str, template: str | None = None) -> Path:
    """Tokenizer, image processor, processor and chat template as files, laid out as on the hub."""
    kind = KINDS[model_type]
    make_tokenizer(kind).save_pretrained(folder)
    name: Any = IMAGE_PROCESSOR_MAPPING_NAMES[model_type]['pil']
    getattr(transformers, name)(**kind.image_processor).save_pretrained(folder)
    own: Any = PROCESSOR_MAPPING[CONFIG_MAPPING[model_type]]
    (folder / 'processor_config.json').write_text(json.dumps({'processor_class': own.__name__, **kind.processor}))
    (folder / 'chat_template.jinja').write_text(chat_template(template or kind.template))
    return folder


def picture(seed: int, width: int = 32, height: int = 32) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)
