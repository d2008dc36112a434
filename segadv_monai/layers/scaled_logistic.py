"""Scaled logistic activation of SegAN (Xue et al., ISBI 2018, section 2.1).

As in the paper. The steepness is a plain attribute, so that a schedule can sharpen it between epochs.
"""

import torch
from torch import Tensor, nn

__all__ = ["ScaledLogistic"]


class ScaledLogistic(nn.Module):
    """Sigmoid whose slope at zero is ``1 / (4 * k)``: ``1 / (1 + exp(-z / k))``.

    Args:
        k: steepness, greater than 0; 1 is the ordinary sigmoid, smaller is steeper.

    Shape:
        Any; the output has the shape and type of the input, values in (0, 1).

    Raises:
        ValueError: ``k`` is not greater than 0.
    """

    def __init__(self, k: float = 1.0) -> None:
        super().__init__()
        if not k > 0:
            raise ValueError(f"k must be greater than 0, got {k}.")
        self.k = k

    def forward(self, z: Tensor) -> Tensor:
        return torch.sigmoid(z / self.k)
