"""What becomes of the predictions of overlapping windows, a slab at a time."""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from .windows import Windows

__all__ = ["Finished", "NearestWindow", "RunningSum"]


class Finished(NamedTuple):
    """Logits that no later window changes.

    Args:
        box: start and stop along each axis.
        logits: ``(K, *box)``; good until the next window is added.
    """

    box: tuple[tuple[int, int], ...]
    logits: Tensor


class NearestWindow:
    """Every position from the window whose centre is nearest; nothing is kept.

    Args:
        windows: of the image.
    """

    def __init__(self, windows: Windows) -> None:
        self.windows = windows

    def add(self, starts: tuple[int, ...], logits: Tensor) -> Iterator[Finished]:
        """Take one window.

        Args:
            starts: of the window.
            logits: ``(K, *size)``.
        """
        box = tuple(self.windows.nearest(i, start) for i, start in enumerate(starts))
        for i, ((first, stop), start) in enumerate(zip(box, starts, strict=True), 1):
            logits = logits.narrow(i, first - start, stop - first)
        yield Finished(box, logits)

    def rest(self) -> Iterator[Finished]:
        """Nothing is left."""
        return iter(())


class RunningSum:
    """Weighted sums in a ring as long as a window, whose slabs leave it when no later window reaches them.

    Args:
        windows: of the image; they have to come in their order.
        lengths: of the image.
        weights: of the positions of a window; None: all 1.
        divide: whether the sums become means. A position's largest sum is at its largest mean.
    """

    def __init__(
        self, windows: Windows, lengths: tuple[int, ...], *, weights: Tensor | None, divide: bool
    ) -> None:
        self.windows = windows
        self.lengths = lengths
        self.weights = weights
        self.divide = divide
        self.ring: Tensor | None = None
        self.slab_total: Tensor | None = None
        self.start = 0

    def add(self, starts: tuple[int, ...], logits: Tensor) -> Iterator[Finished]:
        """Take one window and give what it shows to be finished.

        Args:
            starts: of the window.
            logits: ``(K, *size)``.
        """
        axis, size = self.windows.axis, self.windows.size
        if self.ring is None:
            shape = list(self.lengths)
            shape[axis] = size[axis]
            # Windows of half precision are summed in single.
            dtype = torch.promote_types(logits.dtype, torch.float32)
            self.ring = logits.new_zeros((logits.shape[0], *shape), dtype=dtype)
        if starts[axis] > self.start:
            yield from self._leave(starts[axis])
        self._sum(self.ring, starts, logits)

    def rest(self) -> Iterator[Finished]:
        """What is left when the last window is in."""
        if self.ring is not None:
            yield from self._leave(self.start + self.windows.size[self.windows.axis])

    def _sum(self, ring: Tensor, starts: tuple[int, ...], logits: Tensor) -> None:
        axis = self.windows.axis
        for i, (start, length) in enumerate(zip(starts, self.windows.size, strict=True), 1):
            ring = ring if i == axis + 1 else ring.narrow(i, start, length)
        for first, count, row in self._pieces(starts[axis], self.windows.size[axis]):
            target = ring.narrow(axis + 1, row, count)
            part = logits.narrow(axis + 1, first - starts[axis], count)
            if self.weights is None:
                target.add_(part)
            else:
                weights = self.weights.narrow(axis, first - starts[axis], count)
                target.addcmul_(part.to(target.dtype), weights.to(target.dtype))

    def _pieces(self, start: int, count: int) -> Iterator[tuple[int, int, int]]:
        """First position, number and row in the ring of the runs that do not cross the ring's seam."""
        size = self.windows.size[self.windows.axis]
        while count:
            row = start % size
            length = min(count, size - row)
            yield start, length, row
            start, count = start + length, count - length

    def _leave(self, stop: int) -> Iterator[Finished]:
        axis = self.windows.axis
        for first, count, row in self._pieces(self.start, stop - self.start):
            if self.ring is not None:
                rows = self.ring.narrow(axis + 1, row, count)
                if self.divide:
                    rows /= self._total(first, count, rows)
                box = [(0, length) for length in self.lengths]
                box[axis] = (first, first + count)
                yield Finished(tuple(box), rows)
                rows.zero_()
        self.start = stop

    def _total(self, first: int, count: int, like: Tensor) -> Tensor:
        """Weights of all windows that see some rows."""
        axis, size = self.windows.axis, self.windows.size[self.windows.axis]
        slab = self._weights_of_a_slab(like)
        shape = list(slab.shape)
        shape[axis] = count
        total = slab.new_zeros(shape)
        for start in self.windows.starts[axis]:
            low, high = max(first, start), min(first + count, start + size)
            if low < high:
                part = slab.narrow(axis, low - start, high - low)
                total.narrow(axis, low - first, high - low).add_(part)
        return total

    def _weights_of_a_slab(self, like: Tensor) -> Tensor:
        """Weights of all windows with the same start along the axis: the same for every such start."""
        if self.slab_total is None:
            axis, size = self.windows.axis, self.windows.size
            shape = list(self.lengths)
            shape[axis] = size[axis]
            self.slab_total = like.new_zeros(shape)
            others = [starts if i != axis else (0,) for i, starts in enumerate(self.windows.starts)]
            weights = torch.ones((), device=like.device) if self.weights is None else self.weights
            for starts in product(*others):
                part = tuple(slice(start, start + length) for start, length in zip(starts, size, strict=True))
                self.slab_total[part] += weights
        return self.slab_total
