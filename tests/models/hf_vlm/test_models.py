"""Each type of model: its images all arrive, neighbours and padding change nothing, and saving keeps it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine import Config
from transformers import AutoModelForImageTextToText, set_seed

from mllm.dataset.encoder import EpisodeEncoder
from mllm.engine.collator import Collator
from mllm.engine.loss import supervised_loss
from mllm.evaluation.scoring import Scorer
from mllm.models.builder import load_model
from mllm.models.hf_vlm.arguments import HfVlmArguments
from mllm.models.hf_vlm.family import HfVlmFamily
from mllm.utils.weights import load_weights, save_weights
from tests.models.hf_vlm.kinds import KINDS

SEEDS = [(1, 2, 3), (4,), (None,), (5, 6), (None, 8), (9, None, None), (1, 2, 3, 4, 5), (7, 7)]
FLOAT = 1e-4
EVERY = pytest.mark.parametrize('model_type', KINDS)


@EVERY
def test_every_image_of_an_episode_moves_the_answer(model_type: str, build: Any, encode: Any, logits: Any):
    model, preprocessor = build(model_type)
    [plain] = logits(model, preprocessor, [encode(preprocessor, 1, 3, 7)])
    for changed in ((5, 3, 7), (1, 9, 7), (1, 3, 13)):
        [moved] = logits(model, preprocessor, [encode(preprocessor, *changed)])
        assert (moved[-2:] - plain[-2:]).abs().max() > 1e-3


@EVERY
def test_neighbours_and_padding_change_nothing(model_type: str, build: Any, encode: Any, logits: Any):
    model, preprocessor = build(model_type)
    samples = [encode(preprocessor, *seeds) for seeds in SEEDS]
    alone = [logits(model, preprocessor, [sample])[0] for sample in samples]
    for side in ('left', 'right'):
        for one, found in zip(alone, logits(model, preprocessor, samples, side), strict=True):
            torch.testing.assert_close(found, one, atol=FLOAT, rtol=0)


@EVERY
def test_answers_depend_on_neither_batch_nor_cache(model_type: str, build: Any, episode: Any):
    model, preprocessor = build(model_type)
    encoder = EpisodeEncoder(preprocessor, training=False)
    samples = [encoder(episode(*seeds), 0) for seeds in SEEDS]
    scorers = [Scorer(model, preprocessor, {'max_new_tokens': 4, 'use_cache': use}) for use in (True, False)]
    answers, uncached = (scorer.generate(samples) for scorer in scorers)
    assert len(set(answers)) > 2
    assert answers == uncached
    assert answers == [scorers[0].generate([sample])[0] for sample in samples]


@EVERY
def test_beams_see_the_images_of_their_row(model_type: str, build: Any, episode: Any):
    """What a beam search says its answer is worth equals what the answer is worth without one."""
    model, preprocessor = build(model_type)
    encoder = EpisodeEncoder(preprocessor, training=False)
    batch = Collator(preprocessor, 'left', training=False)([encoder(episode(*seeds), 0) for seeds in SEEDS[:5]])
    batch.pop('samples')
    length = batch['input_ids'].shape[1]
    options = {'max_new_tokens': 3, 'eos_token_id': None, 'suppress_tokens': [preprocessor.image_token_id]}
    found = model.generate(
        **batch, **options, num_beams=2, length_penalty=0.0, return_dict_in_generate=True, output_scores=True
    )
    written = found.sequences[:, length:]
    for name, filler in (('attention_mask', 1), ('mm_token_type_ids', 0), ('token_type_ids', 0)):
        if name in batch:
            batch[name] = torch.cat([batch[name], torch.full_like(written, filler)], dim=1)
    with torch.no_grad():
        likelihoods = model(**{**batch, 'input_ids': found.sequences}, use_cache=False).logits.log_softmax(-1)
    totals = likelihoods[:, length - 1 : -1].gather(-1, written[..., None]).squeeze(-1).sum(1)
    torch.testing.assert_close(found.sequences_scores, totals, atol=1e-3, rtol=0)


@EVERY
def test_saving_keeps_the_model(model_type: str, build: Any, model_args: Any, encode: Any, logits: Any, tmp_path: Path):
    """Under live names, read by us strictly or by plain transformers, with a token of its own for a coordinate."""
    changes = {'target_processor': {'boxes': {'type': 'TokenFormatter', 'num_bins': 3}}}
    model, preprocessor = build(model_type, **changes)
    sample = encode(preprocessor, 1, None, 2)
    [expected] = logits(model, preprocessor, [sample])
    save_weights(model, str(tmp_path))
    set_seed(2)
    strict = load_model(model_args(model_type, **changes), preprocessor).eval()
    load_weights(strict, str(tmp_path))
    ours = load_model({**model_args(model_type, **changes), 'model_name_or_path': str(tmp_path)}, preprocessor)
    plain = AutoModelForImageTextToText.from_pretrained(tmp_path)
    args = HfVlmArguments(**{key: value for key, value in model_args(model_type).items() if key != 'type'})
    HfVlmFamily().export(model, args, preprocessor, 'hf', str(tmp_path / 'published'))
    exported = AutoModelForImageTextToText.from_pretrained(tmp_path / 'published')
    assert (tmp_path / 'published' / 'chat_template.jinja').is_file()
    for loaded in (strict, ours, plain, exported):
        assert torch.equal(logits(loaded.eval(), preprocessor, [sample])[0], expected)


@EVERY
def test_without_images_all_parts_take_part(model_type: str, build: Any, encode: Any):
    """The last layer norm of LLaVA-OneVision's tower is not on the way of any image."""
    model, preprocessor = build(model_type)
    collator = Collator(preprocessor, 'right', training=True)
    losses, reached = [], []
    for seeds in ((1, 2), (None, None)):
        model.train().zero_grad()
        loss, _ = supervised_loss(model, collator([encode(preprocessor, *seeds)]))
        loss.backward()
        losses.append(loss)
        reached.append({name for name, parameter in model.named_parameters() if parameter.grad is not None})
    assert reached[0] == reached[1]
    assert any(parameter.grad.abs().sum() == 0 for parameter in model.parameters() if parameter.grad is not None)
    loss, _ = supervised_loss(model.eval(), collator([encode(preprocessor, None, None)]))
    torch.testing.assert_close(loss, losses[1])


@EVERY
def test_parts_are_frozen_by_pattern_and_adapters_stand_in_the_decoder(model_type: str, build: Any, encode: Any):
    model, _ = build(model_type, freeze=['*'], tune=['*layers.1.*norm*'])
    learning = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert learning
    assert all('layers.1.' in name and 'norm' in name for name in learning)
    model, preprocessor = build(model_type, lora={'r': 2})
    learning = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert learning
    assert all('lora_' in name and ('language_model' in name or 'text_model' in name) for name in learning)
    collator = Collator(preprocessor, 'right', training=True)
    loss, _ = supervised_loss(model.train(), collator([encode(preprocessor, None, None)]))
    loss.backward()


@pytest.mark.parametrize('base', ['smolvlm', 'qwen3_vl', 'internvl'])
def test_the_bases_of_published_models_fit_their_class(base: str, build: Any, root: Path):
    args = Config.fromfile(root / f'config/_base_/model/{base}.py').to_dict()['model_args']
    changes = {key: value for key, value in args.items() if key not in ('type', 'model_name_or_path')}
    model, preprocessor = build(base, **changes)
    [tower] = changes['freeze']
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name, _ in model.named_parameters() if name.startswith(f'{tower}.')}
    assert preprocessor.max_length == args['model_max_length']
