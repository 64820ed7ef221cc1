"""The shipped bases of published Flamingos and Otters, each over a miniature of its checkpoint in its layout."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CLIPImageProcessorPil, PreTrainedTokenizerFast

from mllm.config.config import load_model_args
from mllm.models.builder import load_model, load_preprocessor
from mllm.models.flamingo.published import save_openflamingo, save_otter

MINIATURES = {
    'openflamingo_3b': ('mosaic_gpt', 1),
    'openflamingo_4b': ('gpt_neox', 2),
    'openflamingo_9b': ('mpt', 4),
    'otter_7b': ('llama', 4),
    'otter_mpt_7b': ('mpt', 4),
}
PUBLISHED = {'perceiver_depth': 6, 'num_latents': 64, 'num_heads': 8, 'head_dim': 64}


@pytest.fixture
def parts(flamingo, root: Path, tmp_path: Path):
    """(kind of language model, every n-th layer) -> the model, and folders of its parts and tokenizer."""

    def make(kind: str, step: int) -> tuple[Any, dict[str, str]]:
        words = root / 'data/tiny_llava'
        tokenizer = PreTrainedTokenizerFast.from_pretrained(words)
        model = flamingo(kind, cross_attn_every_n_layers=step, **PUBLISHED)
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        places = {'llm': tmp_path / 'llm', 'vision_tower': tmp_path / 'tower', 'tokenizer': tmp_path / 'words'}
        model.language_model.save_pretrained(places['llm'])
        for name in ('llm', 'tokenizer'):
            places[name].mkdir(exist_ok=True)
            for file in ('tokenizer.json', 'tokenizer_config.json'):
                shutil.copy(words / file, places[name] / file)
        model.vision_tower.save_pretrained(places['vision_tower'])
        processor = CLIPImageProcessorPil(size={'shortest_edge': 16}, crop_size=16)
        processor.save_pretrained(places['vision_tower'])
        # Published models have rows for their tokens beyond those of the language model.
        model.resize_token_embeddings(len(tokenizer) + 2, mean_resizing=False)
        return model, {name: str(place) for name, place in places.items()}

    return make


@pytest.mark.parametrize('base', MINIATURES)
def test_a_base_loads_its_checkpoint(base: str, parts, root: Path, tmp_path: Path, encode, logits):
    trained, places = parts(*MINIATURES[base])
    if base.startswith('otter'):
        save_otter(trained, tmp_path / 'published')
        chosen = {
            'model_name_or_path': str(tmp_path / 'published'),
            **{n: places[n] for n in ('tokenizer', 'vision_tower')},
        }
    else:
        save_openflamingo(trained, tmp_path / 'checkpoint.pt', ['vision_tower', 'language_model'])
        chosen = {'checkpoint': str(tmp_path), **{name: places[name] for name in ('llm', 'vision_tower')}}
    options = [f'model_args.{name}={place}' for name, place in chosen.items()]
    args = load_model_args(root / f'config/_base_/model/{base}.py', options)
    preprocessor = load_preprocessor(args)
    model: Any = load_model(args, preprocessor).eval()
    own, wanted = model.state_dict(), trained.state_dict()
    assert own.keys() == wanted.keys()
    for name in own:
        assert torch.equal(own[name], wanted[name]) or 'lm_head' in name, name
    learnt = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    heads = {name for name in learnt if 'lm_head' in name}
    assert bool(heads) == (base == 'otter_7b')
    assert all(name.startswith(('perceiver', 'cross_attention')) for name in learnt - heads if not embeds(name))
    first, second = (logits(model, preprocessor, [encode(preprocessor, seed, 2)])[0] for seed in (1, 9))
    assert (first[-1] - second[-1]).abs().max() > 0


def embeds(name: str) -> bool:
    return any(word in name for word in ('embed_tokens', 'embed_in', 'wte'))
