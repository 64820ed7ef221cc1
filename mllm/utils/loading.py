"""Between stages 7 and 8 of a sample's way: bad samples travel through a loader as values.

What a worker process raises arrives with the worker's traceback for a message; a value arrives as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch.utils.data import Dataset

from mllm.utils.faults import BadSampleError


class Caught(Dataset[Any]):
    """A dataset that returns, in place of a sample that cannot be made, the error that says why."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, key: Any) -> Any:
        try:
            return self.dataset[key]
        except BadSampleError as error:
            return error


def raise_caught(items: Iterable[Any]) -> None:
    """One BadSampleError for all that `Caught` returned, if there are any."""
    caught = [str(item) for item in items if isinstance(item, BadSampleError)]
    if caught:
        raise BadSampleError('\n'.join(dict.fromkeys(caught)))
