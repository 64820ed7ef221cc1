"""The tool that tells how large a model is and what memory it needs, before anything is loaded."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from mllm.config.config import load_config
from mllm.models.builder import load_model, load_preprocessor
from mllm.models.freeze import trainable_rows

LLAMA_7B = (
    '{"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, '
    '"num_attention_heads": 32, "vocab_size": 32000}'
)
CLIP_L = (
    '{"model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, '
    '"num_attention_heads": 16, "image_size": 224, "patch_size": 14}'
)


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, root: Path) -> ModuleType:
    monkeypatch.syspath_prepend(root / 'tools')
    import model_info  # type: ignore[import-not-found]

    return model_info


def words(text: str) -> list[list[str]]:
    """The cells of every line of a table."""
    return [[cell.strip() for cell in line.split('│')[1:-1]] for line in text.splitlines() if line.startswith('│')]


def test_parts_are_those_of_the_built_model(
    tool: ModuleType, write_config: Callable[..., Path], capsys: pytest.CaptureFixture[str]
):
    config = str(write_config())
    assert tool.main([config]) == 0
    rows = words(capsys.readouterr().out)
    model_args = load_config(config).model_args
    built = trainable_rows(load_model(model_args, load_preprocessor(model_args)))
    assert [row[:3] for row in rows[: len(built)]] == [
        [part, f'{total:,}', f'{learning:,}'] for part, total, learning in built
    ]


def test_seven_billion_parameters_are_counted_but_not_made(
    tool: ModuleType, root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError('weights were asked for')

    monkeypatch.setattr('transformers.PreTrainedModel.from_pretrained', refuse)
    monkeypatch.setattr(torch.nn.init, 'normal_', lambda tensor, *_, **__: tensor if tensor.is_meta else refuse())
    options = [f'model_args.llm={LLAMA_7B}', f'model_args.vision_tower={CLIP_L}']
    options += [f'model_args.tokenizer={root / "data/tiny_llava"}', 'model_args.lora={"r": 16}']
    argv = [str(root / 'config/rec_llava_v1_7b_fsdp.py'), '--batch', '2', '--length', '1000', '--cfg-options', *options]
    assert tool.main(argv) == 0
    out = capsys.readouterr().out
    rows = {row[0]: row[1:] for row in words(out)}
    decoder = 32 * (4 * 4096**2 + 3 * 4096 * 11008 + 2 * 4096) + 4096
    adapters = 32 * 16 * (4 * (4096 + 4096) + 3 * (4096 + 11008))
    assert rows['language_model'][:2] == [f'{decoder + adapters:,}', f'{adapters:,}']
    assert 'Training, 2 x 1000 tokens' in out
    # 2 x keys and values x 32 layers x 4096 x 2 bytes x 2000 tokens
    assert rows['bfloat16'][1] == f'{2 * 32 * 4096 * 2 * 2000 / 2**30:.3g}'


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (['--batch', '0'], '--batch 0: expected 1 or more'),
        (['--length', '-3'], '--length -3'),
        (['--cfg-options', 'model_args.llm=nowhere/nothing'], "model_args.llm='nowhere/nothing' cannot be loaded"),
    ],
)
def test_what_is_wrong_is_told(
    tool: ModuleType,
    write_config: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    argv: list[str],
    message: str,
):
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    assert tool.main([str(write_config()), *argv]) == 2
    assert message in capsys.readouterr().err


def test_runs_from_any_folder(root: Path, tmp_path: Path, write_config: Callable[..., Path], environment):
    command = [sys.executable, str(root / 'tools/model_info.py'), str(write_config())]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 'QLoRA r=16, 4 bits' in done.stdout


@pytest.mark.parametrize('name', ['tiny_flamingo', 'tiny_hf_vlm'])
def test_a_base_is_enough_for_any_family(tool: ModuleType, root: Path, name: str, capsys: pytest.CaptureFixture[str]):
    config, option = str(root / f'config/_base_/model/{name}.py'), 'training_args.per_device_train_batch_size=3'
    assert tool.main([config, '--length', '100', '--cfg-options', option]) == 0
    assert 'Training, 3 x 100 tokens' in capsys.readouterr().out
