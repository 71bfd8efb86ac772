"""Which clips go together into a batch."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler


class LengthBuckets(Sampler[list[int]]):
    """Batches of clips of similar length, in random order, the same for the same seed and epoch.

    Each epoch shuffles the clips, sorts them by length within pools of many batches, cuts the pools into
    batches and shuffles those: nearly no padding, yet a clip meets other neighbours every time.
    """

    def __init__(
        self, lengths: Sequence[float], batch_size: int, *, seed: int, pool_batches: int | None = None
    ) -> None:
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._pool_size = batch_size * (pool_batches or max(16, len(lengths) // batch_size // 4))
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return sum(1 for _ in self._cut(range(len(self._lengths))))

    def __iter__(self) -> Iterator[list[int]]:
        rng = random.Random(f"{self._seed}/{self._epoch}")
        order = list(range(len(self._lengths)))
        rng.shuffle(order)
        batches = list(self._cut(order))
        rng.shuffle(batches)
        return iter(batches)

    def _cut(self, order: Sequence[int]) -> Iterator[list[int]]:
        for start in range(0, len(order), self._pool_size):
            pool = sorted(order[start : start + self._pool_size], key=lambda index: self._lengths[index])
            for first in range(0, len(pool), self._batch_size):
                yield pool[first : first + self._batch_size]


class EpochLoader(DataLoader[Any]):
    """A loader that tells its batch sampler which epoch it is, as the trainer expects of a loader."""

    def set_epoch(self, epoch: int) -> None:
        self.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]


def sorted_batches(lengths: Sequence[float], batch_size: int) -> list[list[int]]:
    """Cut indices into batches from longest to shortest: what fits in memory at first fits to the end."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def rows_of(batch: dict[str, Any], rows: slice) -> dict[str, Any]:
    """Return some clips of a batch: those rows of everything in it that has one a clip.

    Raises:
        ValueError: a tensor has not as many rows as there are labels.
    """
    return _rows_of(batch, rows, len(batch["labels"]))


def _rows_of(batch: Any, rows: slice, n_rows: int) -> Any:
    chosen = {}
    for name, value in batch.items():
        if isinstance(value, torch.Tensor):
            if len(value) != n_rows:
                raise ValueError(f"{name} has {len(value)} rows for {n_rows} clips")
            chosen[name] = value[rows].contiguous()  # as it is when a task makes it
        else:
            chosen[name] = type(value)(**_rows_of(value, rows, n_rows)) if isinstance(value, dict) else value
    return chosen


class Indexed(Dataset[Any]):
    """A dataset over a function of the index."""

    def __init__(self, n_items: int, get: Any) -> None:
        self._n_items = n_items
        self._get = get

    def __len__(self) -> int:
        return self._n_items

    def __getitem__(self, index: int) -> Any:
        return self._get(index)
