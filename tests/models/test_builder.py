"""`model_args` find their family by `type`."""

from typing import Any

import pytest

from mllm.models.builder import load_model, load_preprocessor


def test_an_unknown_type_is_named_with_the_nearest(model_args: Any):
    with pytest.raises(ValueError, match=r"MODELS: there is no 'lava'; did you mean 'llava'"):
        load_preprocessor({**model_args(), 'type': 'lava'})


def test_the_preprocessor_needs_no_weights(model_args: Any, monkeypatch: pytest.MonkeyPatch):
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError('weights were asked for')

    args = model_args('resnet_lfm2')
    monkeypatch.setattr('mllm.models.llava.build.from_parts', refuse)
    preprocessor = load_preprocessor(args)
    assert preprocessor.tokenizer.convert_ids_to_tokens(preprocessor.image_token_id) == '<im_patch>'
    assert preprocessor.max_length == 2048
    with pytest.raises(AssertionError, match='weights were asked for'):
        load_model(args, preprocessor)
