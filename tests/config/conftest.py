"""Registries with a handful of small components, so that configs are checked against known signatures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import pytest

from mllm import registry

if TYPE_CHECKING:
    from decimal import Decimal

GOOD = """
RARE = dict(type='Episodes', filename='rare.jsonl', policy=dict(type='two_way'), shot=1)
model_args = dict(type='tiny', path='weights', conv_args=dict(conv_template='plain'))
data_args = dict(
    train=RARE,
    multitest={'rare things': dict(cfg=RARE, compute_metric=dict(type='Exact'))},
    compute_metric=dict(type='Exact'),
    gen_kwargs=dict(max_new_tokens=8),
)
training_args = dict(output_dir='exp/good', learning_rate=1e-3, warmup_steps=0.1, seed=1, use_cpu=True)
"""


class Splice(Enum):
    ALL = 'all'
    LAST_ONLY = 'last_only'


@dataclass
class TinyArguments:
    path: str
    image_splice: Splice | str = 'all'
    conv_args: dict[str, Any] | None = None
    target_processor: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.path == 'nowhere':
            raise ValueError("model_args.path: there is no folder 'nowhere'")


class Tiny:
    arguments = TinyArguments


class Lines:
    def __init__(self, filename: str, image_folder: str | None = None, limit: 'Decimal | None' = None) -> None: ...


class Uniform(TypedDict):
    type: Literal['uniform']
    low: int
    high: int


class Weighted(Uniform):
    type: Literal['weighted']  # type: ignore[misc]
    rate: float


class Episodes(Lines):
    def __init__(self, *, policy: str | Mapping[str, Any], shot: 'int | Uniform | Weighted', **kwargs: Any) -> None:
        super().__init__(**kwargs)


class Mixture:
    def __init__(
        self,
        cfgs: list[Any],
        probabilities: list[float] | None = None,
        stopping: Literal['first', 'all'] = 'first',
        strict: bool = False,
    ) -> None: ...


class Part:
    def __init__(self, cfg: Any, portion: float, size: tuple[int, int] | None = None) -> None: ...


Names = Literal['invented', 'real'] | Mapping[Literal['invented', 'real'], float]


def two_way(bank: Any, index: int, shot: int, rng: Any, negatives: str | float = 'hard', words: int = 1, names: Names = 'real') -> None: ...


class Turned:
    def __init__(self, degrees: float = 17) -> None: ...


class Decimals:
    def __init__(self, precision: int = 3) -> None: ...


class Exact:
    pass


@pytest.fixture(autouse=True)
def components(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {
        registry.MODELS: {'tiny': Tiny},
        registry.DATASETS: {'Lines': Lines, 'Episodes': Episodes, 'Mixture': Mixture, 'Part': Part},
        registry.POLICIES: {'two_way': two_way},
        registry.TRANSFORMS: {'Turned': Turned},
        registry.FORMATTERS: {'Decimals': Decimals},
        registry.METRICS: {'Exact': Exact},
        registry.TEMPLATES: {'plain': object()},
        registry.EPISODE_TEMPLATES: {'protocol': {}},
    }
    for target, known in entries.items():
        monkeypatch.setattr(target, '_pending', [])
        monkeypatch.setattr(target, '_entries', dict(known))


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Writes a file below the test's folder; returns its path. Without text, a config without faults."""

    def write_file(name: str = 'good.py', text: str = GOOD) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding='utf-8')
        return str(path)

    return write_file
