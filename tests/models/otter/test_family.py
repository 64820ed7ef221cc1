"""Otter: a Flamingo with its own tokens, prompts and loss."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import set_seed

from mllm.dataset.encoder import EpisodeEncoder
from mllm.engine.collator import Collator
from mllm.engine.loss import supervised_loss
from mllm.evaluation.scoring import Scorer
from mllm.models.builder import load_model, load_preprocessor
from mllm.models.flamingo.published import save_otter
from mllm.types import IGNORE_INDEX, Episode, Preprocessor, Turn
from tests.models.conftest import CLIP, LLAMA, item, picture

ANSWERS = st.text(alphabet='ab <"', min_size=1, max_size=6).map(lambda text: f'a{text}b')


@pytest.fixture
def model_args(root) -> Callable[..., dict[str, Any]]:
    def make(**changes: Any) -> dict[str, Any]:
        return {
            'type': 'otter',
            'tokenizer': str(root / 'data/tiny_llava'),
            'vision_tower': CLIP,
            'image_size': 32,
            'llm': LLAMA,
            'cross_attn_every_n_layers': 1,
            **changes,
        }

    return make


@pytest.fixture
def build(model_args) -> Callable[..., tuple[Any, Preprocessor]]:
    def make(seed: int = 1, **changes: Any) -> tuple[Any, Preprocessor]:
        arguments = model_args(**changes)
        preprocessor = load_preprocessor(arguments)
        set_seed(seed)
        model: Any = load_model(arguments, preprocessor)
        with torch.no_grad():
            for block in model.cross_attention:
                block.attn_gate.fill_(1.0)
                block.ff_gate.fill_(1.0)
        return model.eval(), preprocessor

    return make


def original_labels(ids: list[int], answer: int, end: int, eos: int) -> list[int]:
    """The original's rule: from behind each <answer> to the next <|endofchunk|>, and every end of sequence."""
    labels = [token if token == eos else IGNORE_INDEX for token in ids]
    learning = False
    for place, token in enumerate(ids):
        if learning:
            labels[place] = token
        if token == answer:
            learning = True
        elif token == end:
            learning = False
    return labels


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ANSWERS, min_size=1, max_size=4), st.booleans())
def test_labels_are_those_of_the_original(model_args, answers: list[str], spaced: bool):
    name = 'otter_spaced' if spaced else 'otter'
    preprocessor = load_preprocessor(model_args(conv_args={'conv_template': name, 'episode_template': name}))
    items = [item('x', seed) for seed in range(len(answers))]
    for one, answer in zip(items, answers, strict=True):
        one['conversations'][1] = Turn({'from': 'gpt', 'value': answer})
    sample = EpisodeEncoder(preprocessor, training=True)(Episode(items[-1], tuple(items[:-1])), 0)
    tokenizer = preprocessor.tokenizer
    answer, end = tokenizer.convert_tokens_to_ids(['<answer>', '<|endofchunk|>'])
    assert sample.labels == original_labels(sample.input_ids, answer, end, tokenizer.eos_token_id)
    assert sample.input_ids[0] == tokenizer.bos_token_id
    assert sample.input_ids[-1] == tokenizer.eos_token_id
    assert sample.input_ids.count(tokenizer.bos_token_id) == 1


def test_blanks_are_a_matter_of_the_template(model_args, encode):
    texts = []
    for name in ('otter', 'otter_spaced'):
        preprocessor = load_preprocessor(model_args(conv_args={'conv_template': name, 'episode_template': name}))
        sample = encode(preprocessor, 1)
        wanted = {
            'otter': '<s><image>User:What is in the image? GPT:<answer>there is "aa" in the image.<|endofchunk|></s>',
            'otter_spaced': '<s><image>User: What is in the image? GPT:<answer> there is "aa" in the image.'
            '<|endofchunk|></s>',
        }[name]
        assert sample.input_ids == preprocessor.tokenizer(wanted, add_special_tokens=False).input_ids
        texts.append(sample.input_ids)
    assert texts[0] != texts[1]


def test_a_prompt_ends_with_the_mark_of_the_answer(model_args):
    preprocessor = load_preprocessor(model_args())
    sample = EpisodeEncoder(preprocessor, training=False)(Episode(item('aa', 1)), 0)
    assert sample.input_ids[-1] == preprocessor.tokenizer.convert_tokens_to_ids('<answer>')


def test_embeddings_learn_whole_and_the_head_if_asked(build, encode):
    for head in (False, True):
        model, preprocessor = build(tune_lm_head=head)
        batch = Collator(preprocessor, 'right', training=True)([encode(preprocessor, 1, 2)])
        supervised_loss(model.train(), batch)[0].backward()
        names = {name for name, one in model.named_parameters() if one.grad is not None and one.grad.abs().sum() > 0}
        learnt = {name for name in names if name.startswith('language_model')}
        assert learnt == {'language_model.model.embed_tokens.weight'} | (
            {'language_model.lm_head.weight'} if head else set()
        )
        rows = model.get_input_embeddings().weight.grad.abs().sum(1).nonzero()
        assert len(rows) > 3


def test_a_support_image_moves_the_answer(build, encode, logits):
    model, preprocessor = build()
    before, after = (logits(model, preprocessor, [encode(preprocessor, seed, 2, 3)])[0][-1] for seed in (1, 9))
    assert (before - after).abs().max() > 1e-5


def test_legacy_cache_is_a_matter_of_config(build):
    answers = []
    for legacy in (False, True):
        model, preprocessor = build(legacy_cache=legacy)
        with torch.no_grad():
            for block in model.cross_attention:
                block.attn.to_out.weight.mul_(30)
        sample = EpisodeEncoder(preprocessor, training=False)(Episode(item('aa', 1), (item('bb', 2),)), 0)
        scorer = Scorer(model, preprocessor, {'max_new_tokens': 8})
        answers.append(scorer.predict([sample])[0][0].pred)
        # Likelihoods are taken in one pass, which sees every image either way.
        assert model.config.legacy_cache == legacy
    assert answers[0] != answers[1]


def test_a_published_folder_is_loaded(build, encode, logits, tmp_path):
    model, preprocessor = build()
    save_otter(model, tmp_path)
    again, _ = build(seed=2, model_name_or_path=str(tmp_path))
    samples = [encode(preprocessor, 1, 2)]
    assert torch.equal(logits(model, preprocessor, samples)[0], logits(again, preprocessor, samples)[0])


def test_frames_of_a_video_share_one_token(build):
    model, preprocessor = build(video_frames=3, max_num_frames=3)
    film = item('aa', 1)
    film['image'] = [picture(seed) for seed in (1, 2, 3)]
    film['conversations'][0]['value'] = '<image><image><image> What happens?'
    samples = [EpisodeEncoder(preprocessor, training=True)(Episode(film), 0)]
    text = preprocessor.tokenizer.decode(samples[0].input_ids)
    assert text.count('<image>') == 1
    film['image'].reverse()
    samples.append(EpisodeEncoder(preprocessor, training=True)(Episode(film), 1))
    batch = Collator(preprocessor, 'right', training=True)(samples)
    batch.pop('labels')
    with torch.no_grad():
        forward, backward = model(**batch).logits
    assert (forward - backward).abs().max() > 1e-5, 'the order of frames does not matter'
