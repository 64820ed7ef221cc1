"""A run's folder holds all that the tiny model of this kind needs: `model_name_or_path` is enough to go on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mmengine import Config

from mllm.config.config import prepare_args
from mllm.pipeline.finetune import run


def test_a_folder_of_a_run_is_enough(
    write_config: Callable[..., Path], root: Path, tmp_path: Path, losses: Any, read_jsonl: Any
):
    tiny = Config.fromfile(root / 'config/_base_/model/tiny_hf_vlm.py').to_dict()['model_args']
    out, again = tmp_path / 'out', tmp_path / 'again'

    def start(folder: Path, *flags: str, **model_args: Any) -> None:
        config = write_config(f'model_args = { ({"_delete_": True, **model_args})!r}')
        run(*prepare_args([str(config), '--output_dir', str(folder), '--report_to', 'none', *flags]))

    start(out, **tiny)
    assert all(0 < loss < 20 for loss in losses(out))
    assert {'processor_config.json', 'preprocessor_config.json', 'chat_template.jinja', 'tokenizer.json'} <= {
        path.name for path in out.iterdir()
    }
    start(again, '--do_train', 'false', type='hf_vlm', model_name_or_path=str(out))
    answers, others = (read_jsonl(folder / 'multitest_two_extra_prediction.jsonl') for folder in (out, again))
    assert [row['pred'] for row in answers] == [row['pred'] for row in others]
    for row, other in zip(answers, others, strict=True):
        assert row['score'] == pytest.approx(other['score'], abs=1e-5)
