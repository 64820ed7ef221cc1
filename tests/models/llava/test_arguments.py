"""What `model_args` of type='llava' may say, and what its switches stand for."""

from dataclasses import fields
from pathlib import Path

import pytest
from mmengine import Config

from mllm.models.llava.arguments import DECODER, PROJECTOR, TOWER, LlavaArguments


def test_all_faults_come_at_once():
    with pytest.raises(ValueError) as error:
        LlavaArguments(
            llm={'model_type': 'llama'}, projector='pool', projector_args={'num_token': 2}, tune_mm_mlp_adapter=True,
            freeze_mm_mlp_adapter=True,
        )  # fmt: skip
    assert str(error.value).splitlines() == [
        'model_args.tokenizer is needed where model_name_or_path is None',
        'model_args.vision_tower is needed where model_name_or_path is None',
        "model_args.projector_args.num_token: 'pool' has no such argument; did you mean 'num_tokens'?",
        'model_args: tune_mm_mlp_adapter and freeze_mm_mlp_adapter exclude each other',
    ]


def test_an_unknown_projector_is_named_with_the_nearest():
    with pytest.raises(ValueError, match=r"projector: there is no 'mlp2x_glue'; did you mean 'mlp2x_gelu'"):
        LlavaArguments(model_name_or_path='x', projector='mlp2x_glue')  # type: ignore[arg-type]


def test_a_language_model_by_path_brings_its_tokenizer():
    assert LlavaArguments(llm='some/llama', vision_tower='some/clip').tokenizer_path == 'some/llama'
    assert LlavaArguments(model_name_or_path='some/llava').tokenizer_path == 'some/llava'
    assert LlavaArguments(model_name_or_path='some/llava', tokenizer='words').tokenizer_path == 'words'


@pytest.mark.parametrize(
    ('switches', 'frozen', 'tuned'),
    [
        ({}, {TOWER}, set()),
        ({'freeze_vision_tower': False}, set(), set()),
        ({'freeze_backbone': True}, {TOWER, DECODER}, set()),
        ({'freeze_mm_mlp_adapter': True}, {TOWER, PROJECTOR}, set()),
        ({'tune_mm_mlp_adapter': True}, {TOWER, DECODER, 'lm_head'}, set()),
        (
            {'tune_mm_mlp_adapter': True, 'mm_use_im_start_end': True},
            {TOWER, DECODER, 'lm_head'},
            {f'{DECODER}.embed_tokens'},
        ),
        ({'freeze': ['a'], 'tune': ['b']}, {TOWER, 'a'}, {'b'}),
    ],
)
def test_switches_are_patterns(switches: dict, frozen: set[str], tuned: set[str]):
    freeze, tune = LlavaArguments(model_name_or_path='x', **switches).patterns()
    assert set(freeze) == frozen
    assert set(tune) == tuned


@pytest.mark.parametrize('name', ['tiny_llava', 'llava_v1_7b'])
def test_shipped_models_are_complete(root: Path, name: str):
    args = dict(Config.fromfile(root / f'config/_base_/model/{name}.py').model_args)
    assert args.pop('type') == 'llava'
    assert set(args) <= {field.name for field in fields(LlavaArguments)}
    assert LlavaArguments(**args).tokenizer_path
