"""The same run as finetune.py with flash attention, whose memory grows with a sequence's length, not with its square.

accelerate launch mllm/pipeline/finetune_mem.py CONFIG [--cfg-options a.b=c ...] [--any_hf_flag value ...]

It stands above what the config file says of `model_args.attn_implementation`; to name another one with --cfg-options is
an error. Where flash attention cannot run, the run ends at once with the reason; GPUs older than Ampere (V100) take
memory-efficient sdpa, with a notice. A run may go on with either script.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == '__main__':
    # As in finetune.py.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mllm.models.attention import FLASH, choose_attention
from mllm.pipeline import finetune

KEY = 'model_args.attn_implementation'


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: as of `finetune.main`."""
    words = list(sys.argv[1:] if argv is None else argv)
    others = [word for word in words if word.startswith(f'{KEY}=') and word != f'{KEY}={FLASH}']
    if others:
        sys.stderr.write(f'{", ".join(others)}: finetune_mem.py is finetune.py with {FLASH}; start finetune.py\n')
        return 2
    try:
        choose_attention(FLASH)
    except ValueError as error:
        sys.stderr.write(f'{error}, and start finetune.py\n')
        return 2
    return finetune.main([*words, '--cfg-options', f'{KEY}={FLASH}'])


if __name__ == '__main__':
    sys.exit(main())
