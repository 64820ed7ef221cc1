"""Which implementation of attention is taken on which card, and that they agree."""

import pytest
import torch

from mllm.models import attention
from mllm.models.attention import choose_attention


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch):
    """Makes this machine one with a card of some capability, or with none, and with or without flash-attn."""

    def set_card(capability: tuple[int, int] | None, installed: bool = True) -> None:
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: capability is not None)
        monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda: capability)
        monkeypatch.setattr(torch.cuda, 'get_device_name', lambda: 'Some Card')
        monkeypatch.setattr(attention, 'is_flash_attn_2_available', lambda: installed)

    return set_card


@pytest.mark.parametrize('name', [None, 'eager', 'sdpa', 'flex_attention'])
def test_others_than_flash_are_taken_as_they_are(card, name):
    card(None)
    assert choose_attention(name) == name


@pytest.mark.parametrize('capability', [(8, 0), (8, 9), (9, 0), (10, 3)])
def test_flash_on_ampere_and_later(card, capability):
    card(capability)
    assert choose_attention('flash_attention_2') == 'flash_attention_2'


@pytest.mark.parametrize('installed', [True, False])
@pytest.mark.parametrize('capability', [(6, 1), (7, 0), (7, 5)])
def test_older_cards_fall_back_with_a_notice(card, monkeypatch, capability, installed):
    told: list[str] = []
    monkeypatch.setattr(attention.logger, 'warning', lambda text, *values: told.append(text % values))
    card(capability, installed)
    assert choose_attention('flash_attention_2') == 'sdpa'
    major, minor = capability
    assert told == [
        f'Some Card has compute capability {major}.{minor} and flash attention needs 8.0: memory-efficient sdpa is '
        'used instead'
    ]


def test_flash_without_a_gpu_or_its_package_is_an_error_with_the_reason(card, build):
    card(None)
    with pytest.raises(ValueError, match=r"attn_implementation='flash_attention_2' needs a GPU"):
        build(attn_implementation='flash_attention_2')
    card((8, 0), installed=False)
    with pytest.raises(ValueError, match=r'flash-attn 2\.3\.3 or later, which is not installed'):
        build(attn_implementation='flash_attention_2')


@pytest.mark.parametrize('name', ['sdpa', 'flex_attention'])
@pytest.mark.parametrize('kind', ['clip_llama', 'resnet_lfm2'])
def test_implementations_agree_on_padded_batches(build, encode, logits, kind, name):
    model, preprocessor = build(kind, attn_implementation='eager')
    other, _ = build(kind, attn_implementation=name)
    assert other.model.language_model.config._attn_implementation == name
    samples = [encode(preprocessor, 1, 2, 3), encode(preprocessor, 4)]
    with torch.compiler.set_stance('force_eager'):  # compiling flex attention takes 25 s
        pairs = zip(logits(model, preprocessor, samples), logits(other, preprocessor, samples), strict=True)
        for expected, found in pairs:
            torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize('name', ['eager', 'flex_attention'])
def test_a_saved_model_takes_the_choice_of_its_config(build, tmp_path, name):
    model, _ = build()
    model.save_pretrained(tmp_path, save_original_format=False)
    again, _ = build(model_name_or_path=str(tmp_path), attn_implementation=name)
    assert again.model.language_model.config._attn_implementation == name
