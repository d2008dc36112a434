"""Confidence network of ASDNet (Nie et al., MICCAI 2018).

Layers are those of the released code, which says more than the paper: three strided convolutions down, three
transposed ones up to each of which the level before is added, 5,509,698 parameters for four maps in 3D and
1,378,626 in 2D. Departs from it in three ways: one logit instead of a softmax over two (33 parameters less);
every level grows from the one below, where the release feeds the encoder's level once more and so never uses
its bottom; the strided kernels lie centred on their voxels, not half a voxel off, and the grid may have any
size. Initial values are torch's.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from monai.networks.layers.factories import Conv
from monai.networks.layers.utils import get_norm_layer
from torch import Tensor, nn

from segadv_monai.layers import check_pair
from segadv_monai.protocols import CriticOutput

__all__ = ["ASDNetCritic"]

_LEAKY_SLOPE = 0.2
_LEVELS = 3


class ASDNetCritic(nn.Module):
    """A verdict per voxel, from an encoder and a decoder over the label maps.

    Its sigmoid is the confidence that a voxel of the maps is as an expert draws it.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        num_maps: maps per segmentation.
        width: channels of the first level; each level below has twice those of the one above.
        sees_image: whether the image is joined to the maps; the release has it as an option that is off.
        norm: normalisation of the decoder by MONAI's name, or name and arguments; the encoder has none.

    Shape:
        - segmentation: probabilities or one-hot maps ``(B, num_maps, *S)``, each side at least 8.
        - image: ``(B, in_channels, *S)``.
        - Output: ``score`` ``(B, 1, *S)``; ``features`` the four levels of the encoder.

    Raises:
        ValueError: maps, channels or grids do not fit; the image is too small.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_maps: int = 1,
        *,
        width: int = 32,
        sees_image: bool = False,
        norm: str | Sequence[Any] = "batch",
    ) -> None:
        super().__init__()
        convolution = Conv[Conv.CONV, spatial_dims]
        self.in_channels = in_channels
        self.num_maps = num_maps
        self.sees_image = sees_image
        widths = [width * 2**i for i in range(_LEVELS + 1)]
        self.first = convolution(num_maps + in_channels * sees_image, width, 3, padding=1)
        self.down = nn.ModuleList(
            convolution(above, below, 4, stride=2, padding=1) for above, below in pairwise(widths)
        )
        self.up = nn.ModuleList(
            _Up(spatial_dims, below, above, norm=norm) for below, above in pairwise(reversed(widths))
        )
        self.verdict = convolution(width, 1, 1)
        self.activation = nn.LeakyReLU(_LEAKY_SLOPE)

    def forward(self, segmentation: Tensor, image: Tensor) -> CriticOutput:
        self._check(segmentation, image)
        x = torch.cat([image, segmentation], dim=1) if self.sees_image else segmentation
        levels = [self.activation(self.first(x))]
        for down in self.down:
            levels.append(self.activation(down(levels[-1])))
        x = levels[-1]
        for up, level in zip(self.up, levels[-2::-1], strict=True):
            x = up(x, level)
        return CriticOutput(self.verdict(x), tuple(levels))

    def _check(self, segmentation: Tensor, image: Tensor) -> None:
        check_pair(segmentation, image, num_maps=self.num_maps, in_channels=self.in_channels)
        if min(image.shape[2:]) < 2**_LEVELS:
            raise ValueError(
                f"images of size {tuple(image.shape[2:])} vanish in the critic's strided convolutions: pad "
                f"them to at least {2**_LEVELS} per side."
            )


class _Up(nn.Module):
    """Twice the size, to which the encoder's level is added."""

    def __init__(self, spatial_dims: int, channels: int, out: int, *, norm: str | Sequence[Any]) -> None:
        super().__init__()
        name = norm if isinstance(norm, str) else tuple(norm)
        self.up = Conv[Conv.CONVTRANS, spatial_dims](channels, out, 4, stride=2, padding=1)
        self.norm = get_norm_layer(name, spatial_dims=spatial_dims, channels=out)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        grown = torch.relu(self.norm(self.up(x, output_size=level.shape[2:])))
        return torch.relu(grown + level)
