"""Arguments of type='hf_vlm' are checked before anything is loaded."""

from typing import Any

import pytest

from mllm.models.hf_vlm.arguments import HfVlmArguments


def faults(**arguments: Any) -> list[str]:
    with pytest.raises(ValueError, match='model_args') as error:
        HfVlmArguments(**arguments)
    return str(error.value).split('\n')


def test_a_model_is_named_or_described():
    assert [line.split(' is needed')[0] for line in faults()] == [
        'model_args needs model_name_or_path, or config for random weights',
        'model_args.processor',
    ]
    HfVlmArguments(model_name_or_path='somewhere')
    HfVlmArguments(config={'model_type': 'smolvlm'}, processor='somewhere')
    # What a run does that goes on from weights it saved.
    HfVlmArguments(config={'model_type': 'smolvlm'}, processor='somewhere', model_name_or_path='out')


def test_all_faults_are_told_at_once():
    lines = faults(
        processor='p',
        config={'model_type': 'smolvlm', 'scale_faktor': 2},
        max_tiles=0,
        max_pixels=-1,
        conv_args={'conv_template': 'vicuna_v1.1'},
        lora={'r': 0},
    )
    wanted = ['max_tiles is 0', 'max_pixels is -1', 'conv_args.conv_template', 'scale_factor', 'lora.r=0']
    assert len(lines) == len(wanted)
    assert all(text in line for text, line in zip(wanted, lines, strict=True))


@pytest.mark.parametrize(
    ('config', 'hint'),
    [
        ({'model_type': 'smolvml'}, "'smolvlm'"),
        ({'model_type': 'qwen3_vl', 'text_config': {'hiden_size': 8}}, "config.text_config.hiden_size.*'hidden_size'"),
        ({'model_type': 'idefics3', 'text_config': {'model_type': 'lama'}}, "config.text_config.model_type.*'llama'"),
        ({'model_type': 'gemma3', 'vision_config': {'patch_sise': 8}}, "config.vision_config.patch_sise.*'patch_size'"),
        ({'text_config': {}}, 'needs model_type'),
    ],
)
def test_unknown_fields_of_a_config_are_named_with_the_nearest(config: dict[str, Any], hint: str):
    with pytest.raises(ValueError, match=hint):
        HfVlmArguments(processor='p', config=config)
