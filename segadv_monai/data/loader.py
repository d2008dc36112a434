"""Batches that are the same bits with any number of workers, and from any batch of an epoch on."""

import random
import signal
from collections.abc import Iterator
from typing import Any, TypeAlias

import ignite.distributed as idist
import numpy as np
import torch
from monai.data import DataLoader
from torch.utils.data import Dataset, Sampler

__all__ = ["SeededLoader"]

_Place: TypeAlias = tuple[int, int]


class SeededLoader(DataLoader):
    """A loader for training whose every random choice is computed from the seed, the epoch and the case.

    The order of the cases and the draws of their random transforms need no generator whose state would have
    to be kept: an epoch that is entered in its middle goes on with the very batches that were left, and a
    case is transformed alike in the main process and in a worker. In a distributed run each process takes its
    share of one common order.

    Args:
        dataset: cases by index; a MONAI data set's ``transform`` is seeded for each case.
        batch_size: cases per batch and process.
        seed: of the run.
        shuffle: whether every epoch has an order of its own.
        drop_last: whether a last batch that is not full is left out.
        num_workers: processes that prepare batches; 0 for none.

    Attributes:
        sampler: has ``set_epoch``, to be called before each epoch.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = True,
        num_workers: int = 0,
    ) -> None:
        cases = _SeededCases(dataset, seed)
        super().__init__(
            cases,
            batch_size=batch_size,
            sampler=_Order(len(cases), seed, shuffle=shuffle),
            drop_last=drop_last,
            num_workers=num_workers,
            worker_init_fn=_leave_interrupts_to_the_main_process,
        )

    def skip(self, batches: int) -> None:
        """Leave out the first batches of the next epoch that is iterated, because they were trained before.

        Args:
            batches: how many.
        """
        self.sampler.first = batches * (self.batch_size or 1)  # type: ignore[attr-defined]


class _SeededCases(Dataset[Any]):
    def __init__(self, dataset: Any, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, place: _Place) -> Any:
        epoch, index = place
        seed = int(np.random.SeedSequence((self.seed, epoch, index)).generate_state(1)[0])
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002  # transforms may draw from the global state
        torch.manual_seed(seed)
        transform: Any = getattr(self.dataset, "transform", None)
        if hasattr(transform, "set_random_state"):
            transform.set_random_state(seed)
        return self.dataset[index]


class _Order(Sampler[_Place]):
    def __init__(self, count: int, seed: int, *, shuffle: bool) -> None:
        self.count = count
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0
        self.first = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count // idist.get_world_size()

    def __iter__(self) -> Iterator[_Place]:
        order = np.arange(self.count)
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(self.count)
        mine = order[idist.get_rank() :: idist.get_world_size()][: len(self)]
        first, self.first = self.first, 0
        return iter([(self.epoch, int(index)) for index in mine[first:]])


def _leave_interrupts_to_the_main_process(_: int) -> None:
    """Ctrl-C reaches every process of a terminal; a worker that ends on it takes the batch with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
