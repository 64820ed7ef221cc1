"""The shipped bases of published LLaVAs, each over a miniature of its checkpoint in its authors' layout."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mllm.config.config import load_model_args
from mllm.models.builder import load_model, load_preprocessor
from tests.parity.llava import lay_out
from tests.parity.own_folders import old_format, spliced_format

MINIATURES = {'lcl_7b': old_format, 'shikra_7b': old_format, 'llava_v1_5_7b': spliced_format}


@pytest.mark.parametrize('base', MINIATURES)
def test_a_base_loads_its_checkpoint(base: str, root: Path, tmp_path: Path, encode: Any, logits: Any):
    folder = MINIATURES[base](tmp_path / 'reference')
    sizes = json.loads((folder / 'config.json').read_text())
    place = lay_out(folder, sizes, tmp_path)
    options = [
        f'model_args.model_name_or_path={place["model_name_or_path"]}',
        f'model_args.vision_tower={tmp_path / "tower"}',
    ]
    args = load_model_args(root / f'config/_base_/model/{base}.py', options)
    preprocessor = load_preprocessor(args)
    model = load_model(args, preprocessor).eval()
    sample = encode(preprocessor, 1, 2)
    marked = '<im_start>' in preprocessor.tokenizer.decode(sample.input_ids)
    assert marked == args['mm_use_im_start_end']
    assert sample.image_tokens == [4, 4]
    moved = encode(preprocessor, 9, 2)
    first, second = (logits(model, preprocessor, [one])[0] for one in (sample, moved))
    assert torch.isfinite(first).all()
    assert (first[-1] - second[-1]).abs().max() > 0
    only = {**args, 'image_splice': 'last_only'}
    released = load_preprocessor(only)
    assert encode(released, 1, 2).image_tokens == [4]
