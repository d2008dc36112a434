"""What a metric has seen so far, to be kept in a checkpoint and taken over from one."""

import torch
from monai.metrics import CumulativeIterationMetric
from torch import Tensor

__all__ = ["CollectingMetric"]


class CollectingMetric(CumulativeIterationMetric):
    """MONAI's metric over iterations, with the values of this process for reading and for setting."""

    @property
    def collected(self) -> Tensor:
        """Values of the cases that this process has seen, ``(N, ...)``, empty before the first."""
        if not self._buffers:
            return torch.empty(0)
        return torch.stack(self._buffers[0])

    @collected.setter
    def collected(self, values: Tensor) -> None:
        self.reset()  # type: ignore[no-untyped-call]
        if len(values):
            self.extend(values)
