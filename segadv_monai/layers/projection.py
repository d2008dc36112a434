"""Projection of maps along an axis (Khosravan et al., MICCAI 2019, arXiv 1906.04378).

By memory of the paper: ``1 - exp(-sum)``, like the share of light that is lost in a medium.
"""

import torch
from torch import Tensor

__all__ = ["project"]


def project(maps: Tensor, dim: int) -> Tensor:
    """Maps as seen along an axis: near 1 where any position on the line of sight is large, 0 where all are 0.

    It is differentiable everywhere, and no position on a line is preferred to another. Values of 0 and more
    become values from 0 to 1.

    Args:
        maps: probabilities or label maps.
        dim: the axis along which to look; the result does not have it.
    """
    return -torch.expm1(-maps.sum(dim=dim))
