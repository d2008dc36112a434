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

from segadv_monai.protocols import ConfigError

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
        unlabelled: cases without a label, for semi-supervised games. A batch is of one kind or the other; an
            epoch has all batches of ``dataset`` in the order that it has without these, and the batches of
            ``unlabelled`` at random places between them.
        unlabelled_share: batches of ``unlabelled`` for each one of ``dataset``, greater than 0.

    Attributes:
        sampler: has ``set_epoch``, to be called before each epoch.

    Raises:
        ConfigError: there are unlabelled cases, and ``unlabelled_share`` is not greater than 0, batches need
            not be full, or one of the two has too few cases for a batch.
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
        unlabelled: Dataset[Any] | None = None,
        unlabelled_share: float = 1.0,
    ) -> None:
        cases = _SeededCases(dataset, seed, unlabelled)
        order = _Order(cases.counts[0], seed, shuffle=shuffle)
        mixed = None
        if unlabelled is not None:
            _check_mixture(cases.counts, batch_size, share=unlabelled_share, drop_last=drop_last)
            mixed = _MixedOrder(order, cases.counts[1], batch_size=batch_size, share=unlabelled_share)
        super().__init__(
            cases,
            batch_size=batch_size,
            sampler=order if mixed is None else mixed,
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
    """The cases with a label, and behind them those without one."""

    def __init__(self, dataset: Any, seed: int, unlabelled: Any = None) -> None:
        self.datasets = [dataset] if unlabelled is None else [dataset, unlabelled]
        self.counts = [len(part) for part in self.datasets]
        self.seed = seed

    def __len__(self) -> int:
        return sum(self.counts)

    def __getitem__(self, place: _Place) -> Any:
        epoch, index = place
        seed = int(np.random.SeedSequence((self.seed, epoch, index)).generate_state(1)[0])
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002  # transforms may draw from the global state
        torch.manual_seed(seed)
        is_unlabelled = index >= self.counts[0]
        dataset = self.datasets[is_unlabelled]
        transform: Any = getattr(dataset, "transform", None)
        if hasattr(transform, "set_random_state"):
            transform.set_random_state(seed)
        return dataset[index - self.counts[0] * is_unlabelled]


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


class _MixedOrder(Sampler[_Place]):
    """Batches of labelled cases in their order, and of unlabelled ones between them.

    Every process has the same kind of batch at the same time.
    """

    def __init__(self, labelled: _Order, unlabelled: int, *, batch_size: int, share: float) -> None:
        self.labelled = labelled
        self.unlabelled = unlabelled
        self.batch_size = batch_size
        self.counts = [len(labelled) // batch_size]
        self.counts.append(max(1, round(share * self.counts[0])))
        self.first = 0

    def set_epoch(self, epoch: int) -> None:
        self.labelled.set_epoch(epoch)

    def __len__(self) -> int:
        return sum(self.counts) * self.batch_size

    def __iter__(self) -> Iterator[_Place]:
        labelled, unlabelled = iter(self.labelled), iter(self._unlabelled())
        kinds = np.repeat([0, 1], self.counts)
        first, self.first = self.first, 0
        places = [
            next(unlabelled if is_unlabelled else labelled)
            for is_unlabelled in self._random(0).permutation(kinds)
            for _ in range(self.batch_size)
        ]
        return iter(places[first:])

    def _unlabelled(self) -> list[_Place]:
        """As many as are asked for, each once before one comes again."""
        world, rank = idist.get_world_size(), idist.get_rank()
        needed = self.counts[1] * self.batch_size * world
        rounds = [np.arange(self.unlabelled) for _ in range(-(-needed // self.unlabelled))]
        if self.labelled.shuffle:
            rounds = [self._random(i).permutation(self.unlabelled) for i in range(1, len(rounds) + 1)]
        mine = np.concatenate(rounds)[:needed][rank::world]
        return [(self.labelled.epoch, self.labelled.count + int(index)) for index in mine]

    def _random(self, number: int) -> np.random.Generator:
        """Not that of the labelled cases, for numpy takes a zero at the end for none."""
        return np.random.default_rng((self.labelled.seed, self.labelled.epoch, number + 1))


def _check_mixture(counts: list[int], batch_size: int, *, share: float, drop_last: bool) -> None:
    if not (drop_last and share > 0):
        raise ConfigError(
            "beside unlabelled cases all batches are full and unlabelled_share is greater than 0, got "
            f"drop_last {drop_last} and {share}: mend these."
        )
    kinds = ("labelled", "unlabelled")
    for kind, count in zip(kinds, (counts[0] // idist.get_world_size(), counts[1]), strict=True):
        if count < batch_size:
            raise ConfigError(
                f"batch_size {batch_size} is more than the {count} {kind} cases: set --batch_size {count} "
                "or less."
            )


def _leave_interrupts_to_the_main_process(_: int) -> None:
    """Ctrl-C reaches every process of a terminal; a worker that ends on it takes the batch with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
