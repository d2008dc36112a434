"""The block of the U-Nets (Ronneberger et al., MICCAI 2015): two convolutions in sequence."""

from collections.abc import Sequence
from typing import Any

from monai.networks.layers.factories import Conv
from monai.networks.layers.utils import get_norm_layer
from torch import nn

__all__ = ["ConvolutionPair"]


class ConvolutionPair(nn.Sequential):
    """Convolution of kernel 3 with bias, norm if there is one, ReLU; twice.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the input.
        channels: of the first and of the second convolution.
        padding: whether the grid is kept.
        norm: MONAI's name of a norm, or the name and its arguments; None for none.

    Shape:
        - Input: ``(B, in_channels, *S)``.
        - Output: ``(B, channels[1], *S')``, every axis of ``S'`` shorter by 4 without padding.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        channels: tuple[int, int],
        *,
        padding: bool,
        norm: str | Sequence[Any] | None,
    ) -> None:
        layers: list[nn.Module] = []
        name = norm if norm is None or isinstance(norm, str) else tuple(norm)
        for before, after in ((in_channels, channels[0]), channels):
            layers.append(Conv[Conv.CONV, spatial_dims](before, after, 3, padding=int(padding)))
            if name is not None:
                layers.append(get_norm_layer(name, spatial_dims, after))
            layers.append(nn.ReLU())
        super().__init__(*layers)
