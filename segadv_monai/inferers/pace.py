"""How many windows to run at a time: tried on the windows themselves."""

import time
from collections.abc import Iterator

import torch

__all__ = ["Pace"]

# Logits of one batch may take this many bytes: what is kept from one layer to the next is of that order.
_LOGITS_BYTES = 2**26
_CANDIDATES = (1, 2, 4)
# The first run of a size prepares the kernels.
_RUNS = 2


class Pace:
    """Number of windows of the next batch, which settles on the fastest per window.

    Up to half of the windows are spent on trials, whose results are used like any other.

    Args:
        windows: that there are.
        fixed: the number, where it is not to be found.
    """

    def __init__(self, windows: int, *, fixed: int | None = None) -> None:
        self.best = fixed
        self.allowed = max(_CANDIDATES)
        self.seconds: dict[int, float] = {}
        self.trials = iter(()) if fixed else self._trials(windows)

    def _trials(self, windows: int) -> Iterator[int]:
        spent = 0
        for candidate in _CANDIDATES:
            spent += _RUNS * candidate
            if spent > windows // 2 or candidate > self.allowed:
                return
            for _ in range(_RUNS):
                yield candidate

    def next(self) -> int:
        """Windows of the next batch."""
        number = next(self.trials, None)
        if number is None:
            number = self.best = self.best or min(self.seconds, key=self.seconds.__getitem__, default=1)
        return number

    def timed(self, number: int, started: float, logits: torch.Tensor) -> None:
        """Note what a batch took.

        Args:
            number: of windows.
            started: time before it.
            logits: that it gave.
        """
        if self.best is not None:
            return
        if logits.device.type == "cuda":
            torch.cuda.synchronize(logits.device)
        self.allowed = _LOGITS_BYTES * number // (logits.numel() * logits.element_size())
        seconds = (time.perf_counter() - started) / number
        self.seconds[number] = min(self.seconds.get(number, seconds), seconds)
