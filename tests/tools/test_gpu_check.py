"""The check of GPUs, where there is none: its code on tiny models, and what it says."""

from pathlib import Path

import pytest
import torch

from tools.benchmark.gpu_models import CASES
from tools.gpu_check import main


def test_every_model_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / 'table.md'
    assert main(['--device', 'cpu', '--tiny', '--repeats', '1', '--out', str(out)]) == 0
    text = out.read_text()
    assert 'tiny models, which say nothing about a GPU' in text
    rows = [line.strip('| ').split(' | ') for line in text.splitlines() if line.startswith('| ')]
    assert [row[0] for row in rows[2:]] == list(CASES)
    named = [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]
    for row in named:
        assert 0 < float(row['from eager, float32'].split()[-1]) < 1e-4
        assert all(float(row[key].replace(',', '')) > 0 for key in row if key.endswith('tokens/s'))


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert main([]) == 2
    assert 'there is no GPU here' in capsys.readouterr().err
