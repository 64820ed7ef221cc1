"""Cases of the whole data path: raw items -> ids, labels and the shape of the images.

The original named a template in each item (`mode`), cut sequences at `truncation_size`, and in evaluation gave the
whole prompt with its answer as labels. None of that is in mllm: it is put together here from what our encoder gives.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from mllm.conversation.episode_template import EpisodeTemplate, Place
from mllm.dataset.encoder import EpisodeEncoder
from mllm.engine.collator import Collator
from mllm.models.builder import load_preprocessor
from mllm.registry import TEMPLATES
from mllm.types import IGNORE_INDEX, Episode, Preprocessor, RawItem, Sample
from tests.golden.compare import Case

SIDE = 224
COMMON, WITHOUT_MODE = 'vicuna_v1.1', 'icl_v1.0'
DECIMALS = 3
"""The original rounded boxes to so many also for formatters that write more."""
NO_LIMIT = 10**6
"""The original cut at `truncation_size` alone, whatever the model's length."""


@dataclass(frozen=True)
class TemplateByItem(EpisodeTemplate):
    """Each item under the template its `mode` names; `modes` are those of the episode."""

    modes: tuple[str, ...] = ()

    def places(self, supports: int, queries: int) -> list[Place]:
        modes = self.modes[len(self.modes) - supports - queries :]
        templates = [TEMPLATES.get(mode) for mode in modes]
        return [
            Place(template, keep_end=number in (0, len(templates) - 1), supervised=number == len(templates) - 1)
            for number, template in enumerate(templates)
        ]


@functools.cache
def preprocessor(folder: str, settings: str) -> Preprocessor:
    """The family's own, with a tower whose images stand as `image_token_len` patches."""
    given = json.loads(settings)
    patches = round(given['image_token_len'] ** 0.5)
    vision = {'image_size': SIDE, 'patch_size': SIDE // patches, 'num_hidden_layers': 2, 'hidden_size': 32}
    return load_preprocessor(
        {
            'type': 'llava',
            'tokenizer': str(Path(folder, 'tokenizer')),
            'llm': {'model_type': 'llama', 'hidden_size': 32, 'num_hidden_layers': 1, 'num_attention_heads': 2},
            'vision_tower': {'model_type': 'clip_vision_model', 'num_attention_heads': 2, **vision},
            'image_size': SIDE,
            'mm_use_im_start_end': given['use_im_start_end'],
            'model_max_length': given['truncation_size'] or NO_LIMIT,
            'target_processor': {'boxes': given['formatter']},
            'conv_args': {'transforms': given['transforms'] and {'type': given['transforms']}},
        }
    )


def for_case(case: Case) -> Preprocessor:
    """The preprocessor of a case, with the templates that its items name."""
    keys = ('image_token_len', 'use_im_start_end', 'truncation_size', 'formatter', 'transforms')
    base = preprocessor(case['folder'], json.dumps({key: case['settings'][key] for key in keys}))
    base.formatter.decimals = DECIMALS
    if not case['is_episode']:
        return base
    modes = tuple(COMMON if mode == 'common' else mode for mode in map(mode_of, case['items']))
    single = base.episode_template.single
    return replace(base, episode_template=TemplateByItem(single, single, single, single, modes=modes))


def mode_of(item: dict[str, Any]) -> str:
    return item.get('mode') or WITHOUT_MODE


def raw_item(item: dict[str, Any], image_in_front: bool) -> RawItem:
    turns = [in_front(turn) if image_in_front else turn for turn in item['conversations']]
    # The original encoded an image that no turn names, and used it nowhere.
    shown = any('<image>' in turn['value'] for turn in turns)
    image = picture(item.get('image')) if shown else None
    return {'image': image, 'target': item.get('target') if shown else None, 'conversations': turns}


def picture(size: Any) -> Any:
    """A blank image, a list of them, or none; the cases know images by their size alone."""
    if isinstance(size, list):
        return [picture(one) for one in size]
    return size and Image.new('RGB', (size['width'], size['height']))


def in_front(turn: dict[str, Any]) -> dict[str, Any]:
    """The original's `sep_image_conv_front`: the image, then a second role mark, then the question without it."""
    if '<image>' not in turn['value']:
        return turn
    return {**turn, 'value': '<image> USER: ' + turn['value'].replace('<image>', '')}


def encode(case: Case, training: bool) -> tuple[Preprocessor, Sample]:
    if case['items'] is None:
        raise ValueError('the dataset itself refused this case')
    base = for_case(case)
    items = [raw_item(item, case['settings']['sep_image_conv_front']) for item in case['items']]
    episode = Episode(items[-1], tuple(items[:-1]))
    return base, EpisodeEncoder(base, training)(episode, 0)


def tokenise(case: Case) -> dict[str, Any]:
    """`input_ids`, `labels`, `attention_mask` and `image_shape` as the original recorded them."""
    training = case['settings']['mode'] == 'train'
    base, sample = encode(case, training)
    batch = Collator(base, 'right', training)([sample])
    labels = sample.labels if training else whole_prompt(sample, len(case['items']) - 1, base)
    found = {key: batch[key][0].tolist() for key in ('input_ids', 'attention_mask')}
    if 'pixel_values' in batch:
        shape = list(batch['pixel_values'].shape)
        found['image_shape'] = shape if case['is_episode'] else shape[1:]
    return {**found, 'labels': labels}


def whole_prompt(sample: Sample, supports: int, base: Preprocessor) -> list[int]:
    """Labels in evaluation: nothing for the supports, one less than their ids each; then prompt and answer."""
    bos = base.tokenizer.bos_token_id
    start = len(sample.input_ids) - 1 - sample.input_ids[::-1].index(bos)
    query = [*sample.input_ids[start + 1 :], *sample.answers[sample.target]]
    return [IGNORE_INDEX] * (start - supports) + query


GROUPS = (
    *('rec', 'reg', 'caption', 'flickr', 'points', 'clevr', 'gqa', 'vqa', 'vcr', 'multiturn', 'formatter'),
    *('lcl_eval', 'lcl_train', 'lcl_other', 'lcl_v3det', 'lcl_mix', 'truncation', 'edge'),
)
RUNNERS = dict.fromkeys(GROUPS, tokenise)
