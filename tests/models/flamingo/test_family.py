"""From `model_args` to prompts, what learns, and models by path."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import CLIPImageProcessorPil, set_seed

from mllm.dataset.encoder import EpisodeEncoder
from mllm.engine.collator import Collator
from mllm.engine.loss import supervised_loss
from mllm.evaluation.scoring import Scorer
from mllm.models.builder import load_model, load_preprocessor, resolve
from mllm.models.flamingo import family
from mllm.models.flamingo.published import save_openflamingo
from mllm.types import IGNORE_INDEX, Episode, Preprocessor, Sample
from mllm.utils.weights import save_weights
from tests.models.conftest import CLIP, LLAMA, item, picture

OPT = {
    'model_type': 'opt',
    'hidden_size': 32,
    'word_embed_proj_dim': 32,
    'ffn_dim': 48,
    'num_hidden_layers': 2,
    'num_attention_heads': 2,
    'init_std': 0.2,
}
SIZES = {'perceiver_depth': 1, 'num_latents': 2, 'num_heads': 2, 'head_dim': 8}


@pytest.fixture
def model_args(root) -> Callable[..., dict[str, Any]]:
    def make(**changes: Any) -> dict[str, Any]:
        return {
            'type': 'openflamingo',
            'tokenizer': str(root / 'data/tiny_llava'),
            'vision_tower': CLIP,
            'image_size': 32,
            'llm': LLAMA,
            'sizes': SIZES,
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


def templates(name: str) -> dict[str, Any]:
    return {'conv_args': {'conv_template': name}}


def shown(preprocessor: Preprocessor, sample: Sample) -> tuple[str, str]:
    """The text of a sample, and of it what is learnt, with a bar after each token."""
    tokenizer = preprocessor.tokenizer
    learnt = [token for token in sample.labels if token != IGNORE_INDEX]
    return tokenizer.decode(sample.input_ids), tokenizer.decode(learnt)


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('openflamingo', '<image>{a}<|endofchunk|><image>{b}<|endofchunk|></s>'),
        ('openflamingo_caption', '<image>Output:{a}<|endofchunk|><image>Output:{b}<|endofchunk|></s>'),
        (
            'openflamingo_vqa',
            '<image>Question:What is in the image? Short answer:{a}<|endofchunk|>'
            '<image>Question:What is in the image? Short answer:{b}<|endofchunk|></s>',
        ),
        (
            'openflamingo_hateful_memes',
            '<image>What is in the image? Answer:{a}<|endofchunk|>'
            '<image>What is in the image? Answer:{b}<|endofchunk|></s>',
        ),
        (
            'otter',
            '<image>User:What is in the image? GPT:<answer>{a}<|endofchunk|>'
            '<image>User:What is in the image? GPT:<answer>{b}<|endofchunk|></s>',
        ),
    ],
)
def test_prompts_are_the_originals_and_answers_are_learnt_with_their_end(model_args, encode, name: str, text: str):
    preprocessor = load_preprocessor(model_args(**templates(name)))
    sample = encode(preprocessor, 1, 2)
    answers = [f'there is "{label}" in the image.' for label in ('aa', 'bb')]
    wanted = text.format(a=answers[0], b=answers[1])
    tokenizer = preprocessor.tokenizer
    assert sample.input_ids == tokenizer(wanted, add_special_tokens=False).input_ids
    learnt = [token for token in sample.labels if token != IGNORE_INDEX]
    ends = ''.join(f'{answer}<|endofchunk|>' for answer in answers) + '</s>'
    assert tokenizer.decode(learnt) == tokenizer.decode(tokenizer(ends, add_special_tokens=False).input_ids)
    assert sample.image_tokens == [1, 1]


def test_a_sequence_begins_as_the_tokenizer_lets_it(model_args, encode, monkeypatch):
    plain = load_preprocessor(model_args())
    assert encode(plain, 1, 2).input_ids[0] == plain.image_token_id
    tokenizer = load_preprocessor(model_args()).tokenizer
    begins: Any = tokenizer
    begins.backend_tokenizer.post_processor = TemplateProcessing(
        single='<s> $A', pair='<s> $A $B', special_tokens=[('<s>', begins.bos_token_id)]
    )
    monkeypatch.setattr(family, 'load_tokenizer', lambda *args: begins)
    ids = encode(load_preprocessor(model_args()), 1, 2).input_ids
    assert ids[0] == begins.bos_token_id
    assert ids.count(begins.bos_token_id) == 1


def test_a_question_after_the_first_has_no_image(model_args):
    preprocessor = load_preprocessor(model_args(**templates('otter')))
    conversation = item('aa', 1)
    conversation['conversations'] += item('bb', None)['conversations']
    sample = EpisodeEncoder(preprocessor, training=True)(Episode(conversation), 0)
    text = preprocessor.tokenizer.decode(sample.input_ids)
    assert text.count('<image>') == 1
    assert text.count('<answer>') == 2


def test_evaluation_leaves_the_answer_open_and_scores_it_with_its_end(model_args):
    preprocessor = load_preprocessor(model_args())
    query = {**item('aa', 1), 'meta': {'candidates': ['no']}}
    sample = EpisodeEncoder(preprocessor, training=False)(Episode(query, (item('bb', 2),)), 0)
    tokenizer = preprocessor.tokenizer
    assert tokenizer.decode(sample.input_ids).endswith('Short answer:')
    end = tokenizer.convert_tokens_to_ids('<|endofchunk|>')
    assert sample.answers['no'][-1] == end
    assert tokenizer.eos_token_id not in sample.answers['no']
    assert preprocessor.end_token_ids == (end, tokenizer.eos_token_id)


def test_answers_stop_at_the_end_of_the_chunk(build):
    model, preprocessor = build()
    end = preprocessor.end_token_ids[0]
    samples = [
        EpisodeEncoder(preprocessor, training=False)(Episode(item('aa', seed), (item('bb', 5),)), 0) for seed in (1, 2)
    ]
    assert model.generation_config.eos_token_id == list(preprocessor.end_token_ids)
    scorer = Scorer(model, preprocessor, {'max_new_tokens': 4, 'sequence_bias': {(end,): 1000.0}})
    predictions, _ = scorer.predict(samples)
    assert [prediction.pred for prediction in predictions] == ['', '']
    inputs = scorer.prompts(samples)
    ids = model.generate(**{name: inputs[name] for name in inputs if name != 'samples'}, **scorer.gen_kwargs)
    assert ids.shape[1] == inputs['input_ids'].shape[1] + 1


def test_by_default_the_parts_between_learn_and_the_rows_of_new_tokens(build, encode):
    for llm in (LLAMA, OPT):
        model, preprocessor = build(llm=llm)
        model.train()
        batch = Collator(preprocessor, 'right', training=True)([encode(preprocessor, 1, 2), encode(preprocessor, 3)])
        supervised_loss(model, batch)[0].backward()
        moved = {name for name, one in model.named_parameters() if one.grad is not None and one.grad.abs().sum() > 0}
        parts = {name.split('.')[0] for name in moved}
        assert parts == {'perceiver', 'cross_attention', 'language_model'}
        (embeddings,) = {name for name in moved if name.startswith('language_model')}
        assert 'embed_tokens' in embeddings
        everything = {name for name, _ in model.named_parameters() if name.startswith(('perceiver', 'cross_attention'))}
        assert everything <= moved
        gradient = model.get_input_embeddings().weight.grad
        rows = gradient.abs().sum(1).nonzero().flatten().tolist()
        tokenizer = preprocessor.tokenizer
        assert set(rows) <= set(tokenizer.convert_tokens_to_ids(['<image>', '<|endofchunk|>']))
        assert rows
        assert not model.vision_tower.training


@pytest.mark.parametrize(
    ('changes', 'learns'),
    [
        ({'tune_embeddings': 'none'}, {'perceiver', 'cross_attention'}),
        ({'tune_embeddings': 'all', 'tune_lm_head': True}, {'perceiver', 'cross_attention', 'embed_tokens', 'lm_head'}),
        ({'freeze': ['perceiver'], 'tune_embeddings': 'none'}, {'cross_attention'}),
        ({'lora': {'r': 2}, 'tune_embeddings': 'none'}, {'perceiver', 'cross_attention', 'lora_A', 'lora_B'}),
        ({'lora': {'r': 2, 'target': ['perceiver']}, 'tune_embeddings': 'none'}, {'lora_A', 'lora_B'}),
    ],
    # Sets are written in no order, and workers must agree on names.
    ids=lambda value: str(sorted(value)),
)
def test_what_learns_is_a_matter_of_config(build, changes: dict[str, Any], learns: set[str]):
    model, _ = build(**changes)
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert {word for word in learns if any(word in name.split('.') for name in names)} == learns
    assert all(set(name.split('.')) & learns for name in names)


def test_everything_learns_if_nothing_is_frozen(build):
    model, _ = build(freeze_vision_tower=False, freeze_llm=False)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not model.get_input_embeddings().weight._backward_hooks


def test_a_sample_is_computed_alone_as_in_any_batch(build, encode, logits):
    model, preprocessor = build()
    samples = [encode(preprocessor, *seeds) for seeds in ((1, 2, 3), (4,), (None,), (5, 6))]
    for side in ('left', 'right'):
        for found, sample in zip(logits(model, preprocessor, samples, side), samples, strict=True):
            alone = logits(model, preprocessor, [sample])[0]
            torch.testing.assert_close(found, alone, rtol=0, atol=2e-5)


def test_images_swapped_between_rows_are_noticed(build, encode):
    _, preprocessor = build()
    one, two = encode(preprocessor, 1), encode(preprocessor, 2, 3)
    swapped = [replace(one, images=two.images), replace(two, images=one.images)]
    with pytest.raises(ValueError, match='sample 0: 2 images and 1 image tokens'):
        Collator(preprocessor, 'right', training=True)(swapped)


def test_too_long_a_prompt_says_how_many_tokens_and_images_it_has(model_args, encode):
    preprocessor = load_preprocessor(model_args(model_max_length=8))
    with pytest.raises(ValueError, match=r'\d+ tokens with 1 images, more than the 8 of model_max_length'):
        encode(preprocessor, 1)


def test_supports_that_do_not_fit_are_dropped_with_their_images(model_args, encode):
    whole = encode(load_preprocessor(model_args()), 1, 2, 3)
    shorter = encode(load_preprocessor(model_args(model_max_length=len(whole.input_ids) - 1)), 1, 2, 3)
    assert len(shorter.images) == 2
    assert torch.equal(shorter.images, whole.images[1:])


def test_a_run_of_ours_is_loaded_whole(build, encode, logits, tmp_path):
    model, preprocessor = build()
    save_weights(model, str(tmp_path))
    again, _ = build(seed=2, model_name_or_path=str(tmp_path))
    for block, own in zip(again.cross_attention, model.cross_attention, strict=True):
        assert torch.equal(block.attn_gate, own.attn_gate)
    samples = [encode(preprocessor, 1, 2)]
    assert torch.equal(
        logits(model, preprocessor, samples)[0],
        logits(again, preprocessor, samples)[0],
    )


def test_a_published_checkpoint_is_laid_over_parts_by_path(build, encode, logits, tmp_path):
    model, preprocessor = build()
    save_openflamingo(model, tmp_path / 'checkpoint.pt', ['vision_tower', 'language_model'])
    model.vision_tower.save_pretrained(tmp_path / 'tower')
    half = [0.5, 0.5, 0.5]
    CLIPImageProcessorPil(size={'shortest_edge': 32}, crop_size=32, image_mean=half, image_std=half).save_pretrained(
        tmp_path / 'tower'
    )
    model.language_model.save_pretrained(tmp_path / 'llm')
    parts = {'vision_tower': str(tmp_path / 'tower'), 'llm': str(tmp_path / 'llm')}
    for name in (str(tmp_path / 'checkpoint.pt'), str(tmp_path)):
        again, preprocessor = build(seed=2, **parts, checkpoint=name)
        samples = [encode(preprocessor, 1, 2)]
        assert torch.equal(logits(model, preprocessor, samples)[0], logits(again, preprocessor, samples)[0])
    with pytest.raises(ValueError, match=r'missing: language_model\.model\.layers'):
        build(vision_tower=parts['vision_tower'], checkpoint=str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r'model_args\.checkpoint=.*no such file, nor a folder'):
        build(**parts, checkpoint=parts['llm'])


@pytest.mark.parametrize('family', ['openflamingo', 'otter'])
def test_what_is_exported_is_what_is_loaded(build, model_args, encode, logits, tmp_path, family: str):
    model, preprocessor = build(type=family)
    samples = [encode(preprocessor, 1, 2)]
    wanted = logits(model, preprocessor, samples)[0]
    found, arguments = resolve(model_args(type=family))
    assert found.layouts == ('mllm', 'original')
    for layout in found.layouts:
        folder = str(tmp_path / layout)
        found.export(model, arguments, preprocessor, layout, folder)
        original = family == 'openflamingo' and layout == 'original'
        key = 'checkpoint' if original else 'model_name_or_path'
        # Whatever an exported folder holds of tokenizer and image processor is used.
        again, own = build(seed=2, type=family, **{key: folder, 'tokenizer': folder, 'vision_tower': CLIP})
        assert len(own.tokenizer) == len(preprocessor.tokenizer)
        assert torch.equal(logits(again, own, samples)[0], wanted)


def test_images_in_a_row_may_be_the_frames_of_a_video(build, encode):
    model, preprocessor = build(video_frames=2, max_num_frames=2)
    film = item('aa', 1)
    film['image'] = [picture(1), picture(2)]
    film['conversations'][0]['value'] = 'What is in the image <image><image>?'
    sample = EpisodeEncoder(preprocessor, training=True)(Episode(film, (film,)), 0)
    assert sample.images.shape == (2, 2, 3, 32, 32)
    assert sample.input_ids.count(preprocessor.image_token_id) == 2
    batch = Collator(preprocessor, 'right', training=True)([sample])
    assert batch['media_counts'].tolist() == [2]
    labels = batch.pop('labels')
    assert model(**batch).logits.shape[:2] == labels.shape
    with pytest.raises(ValueError, match='1 images are no whole number of videos of 2 frames'):
        encode(preprocessor, 1)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'llm': None}, 'model_args.llm is needed'),
        ({'vision_tower': {'hidden_size': 3}}, 'model_args.vision_tower: a dict needs model_type'),
        ({'cross_attn_every_n_layers': 0}, 'cross_attn_every_n_layers=0'),
        ({'video_frames': 3, 'max_num_frames': 2}, 'video_frames=3 is more than max_num_frames=2'),
        ({'conv_args': {'conv_template': 'oter'}}, "did you mean 'otter'"),
    ],
)
def test_arguments_that_cannot_be_are_refused(model_args, changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        load_preprocessor(model_args(**changes))


def test_tokens_stand_in_the_order_of_published_embeddings(model_args):
    tokenizer = load_preprocessor(model_args(**templates('otter'))).tokenizer
    end, answer = tokenizer.convert_tokens_to_ids(['<|endofchunk|>', '<answer>'])
    assert answer == end + 1, '<image> is in this tokenizer already'
    assert tokenizer.tokenize('a <answer> b') == [*tokenizer.tokenize('a '), '<answer>', *tokenizer.tokenize(' b')]
