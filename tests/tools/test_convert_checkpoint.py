"""Models between layouts from the command line, as a person would type it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import LlavaForConditionalGeneration

from mllm.models.adapters import merge_adapters
from mllm.models.builder import load_model, load_preprocessor
from mllm.pipeline.trained import model_of
from mllm.utils.weights import save_weights
from tools.convert_checkpoint import main

TOWER = "dict(model_type='clip_vision_model', hidden_size=32, num_hidden_layers=2, intermediate_size=48, num_attention_heads=2, image_size=32, patch_size=16)"  # fmt: skip # noqa: E501
LLM = "dict(model_type='llama', hidden_size=32, num_hidden_layers=2, intermediate_size=48, num_attention_heads=2)"


@pytest.fixture
def config(tmp_path: Path, root: Path):
    """(further model_args as text) -> a config of a model alone."""

    def make(extra: str = '', seed: int = 42) -> str:
        path = tmp_path / 'model.py'
        path.write_text(
            f"model_args = dict(type='llava', tokenizer={str(root / 'data/tiny_llava')!r}, image_size=32,\n"
            f'    vision_tower={TOWER},\n    llm={LLM}, {extra})\n'
            f'training_args = dict(seed={seed})\n'
        )
        return str(path)

    return make


@pytest.fixture
def run(config, tmp_path: Path) -> tuple[Path, Any]:
    """The output folder of a run with adapters and its model."""
    base = tmp_path / 'base'
    assert main(['import', config(), '--out', str(base)]) == 0
    text = f"lora=dict(r=2, target=['*q_proj', '*o_proj']), model_name_or_path={str(base)!r}"
    folder = tmp_path / 'run'
    folder.mkdir()
    (folder / 'cfg.py').write_text(Path(config(text)).read_text())
    args = model_of(str(folder))
    model = load_model(args, load_preprocessor(args)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    save_weights(model, str(folder))
    return folder, model


def logits(model: Any) -> torch.Tensor:
    torch.manual_seed(0)
    patch = model.config.image_token_id
    ids = torch.tensor([[0, 20, *[patch] * 4, 30, 31, 32]])
    with torch.no_grad():
        return model.eval()(input_ids=ids, pixel_values=torch.randn(1, 3, 32, 32)).logits


def test_adapters_are_merged_and_exported(run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder, model = run
    wanted = logits(model)
    assert main(['merge', str(folder), '--out', str(tmp_path / 'merged')]) == 0
    assert 'its adapters merged' in capsys.readouterr().out
    merged = model_of(str(folder), [f'model_args.model_name_or_path={tmp_path / "merged"}', 'model_args.lora=None'])
    args = {**merged, 'model_name_or_path': str(tmp_path / 'merged')}
    torch.testing.assert_close(logits(load_model(args, load_preprocessor(args))), wanted, atol=1e-4, rtol=0)
    assert main(['export', str(folder), '--layout', 'hf', '--out', str(tmp_path / 'hf')]) == 0
    plain = LlavaForConditionalGeneration.from_pretrained(tmp_path / 'hf')
    torch.testing.assert_close(logits(plain), wanted, atol=1e-4, rtol=0)


def test_peft_loads_the_adapters_alone(run, tmp_path: Path):
    folder, model = run
    wanted = logits(model)
    assert main(['peft', str(folder), '--out', str(tmp_path / 'adapter')]) == 0
    base = model_of(str(folder), ['model_args.lora=None', 'model_args.adapter=None'])
    base = {**base, 'lora': None, 'adapter': None, 'model_name_or_path': str(tmp_path / 'base')}
    plain = load_model(base, load_preprocessor(base))
    adapted = PeftModel.from_pretrained(plain, str(tmp_path / 'adapter'))
    torch.testing.assert_close(logits(adapted), wanted, atol=1e-5, rtol=0)


def test_every_layout_of_a_config(config, tmp_path: Path):
    for layout in ('mllm', 'hf', 'original'):
        out = tmp_path / layout
        assert main(['export', config(), '--layout', layout, '--out', str(out)]) == 0
        assert (out / 'config.json').is_file()
        assert (out / 'preprocessor_config.json').is_file() or (out / 'processor_config.json').is_file()


def test_a_delta_from_the_command_line(config, tmp_path: Path, root: Path):
    """In a process of its own; the delta is made and applied in float16, as published ones are."""
    half = ['--cfg-options', 'model_args.dtype=float16']
    assert main(['export', config(), '--layout', 'original', '--out', str(tmp_path / 'base'), *half]) == 0
    assert main(['export', config(seed=7), '--layout', 'original',
                 '--out', str(tmp_path / 'target'), *half]) == 0  # fmt: skip
    tool = [sys.executable, str(root / 'tools/convert_checkpoint.py'), 'delta']
    for action, given, out in (('make', 'target', 'delta'), ('apply', 'delta', 'again')):
        command = [*tool, action, '--base', str(tmp_path / 'base'), f'--{given}', str(tmp_path / given)]
        subprocess.run([*command, '--out', str(tmp_path / out)], check=True, capture_output=True)
    assert (tmp_path / 'again' / 'config.json').is_file()
    assert main(['delta', 'apply', '--base', str(tmp_path / 'target'), '--delta', str(tmp_path / 'delta'),
                 '--out', str(tmp_path / 'wrong')]) == 2  # fmt: skip


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (['export', 'MODEL', '--layout', 'gguf', '--out', 'NEW'], "--layout gguf: 'llava' has mllm, hf, original"),
        (['merge', 'MODEL', '--out', 'NEW'], 'has no adapters'),
        (['import', 'MODEL', '--out', 'FULL'], 'is there and not empty'),
        (['import', 'FULL', '--out', 'NEW'], 'no output folder of a run'),
        (['import', 'missing.py', '--out', 'NEW'], 'missing.py'),
        (['delta', 'apply', '--base', 'FULL', '--delta', 'FULL', '--out', 'NEW'], 'has no weights'),
    ],
)
def test_what_cannot_be_done(config, tmp_path: Path, capsys: pytest.CaptureFixture[str], argv, message):
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full' / 'note').write_text('')
    names = {'MODEL': config(), 'NEW': str(tmp_path / 'new'), 'FULL': str(tmp_path / 'full')}
    assert main([names.get(word, word) for word in argv]) == 2
    assert message in capsys.readouterr().err


def test_merging_twice_is_nothing(run):
    _, model = run
    merge_adapters(model)
    wanted = logits(model)
    merge_adapters(model)
    assert torch.equal(logits(model), wanted)
