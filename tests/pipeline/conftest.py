"""The command that users type."""

import sys
from pathlib import Path

import pytest


@pytest.fixture(scope='session')
def command(root: Path) -> list[str]:
    """`accelerate launch` of the entry script, without its arguments."""
    words = [sys.executable, '-m', 'accelerate.commands.launch']
    words += ['--config_file', str(root / 'accelerate_config/default_config.yaml')]
    return [*words, str(root / 'mllm/pipeline/finetune.py')]
