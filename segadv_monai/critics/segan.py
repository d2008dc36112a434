"""Critic of SegAN (Xue et al., ISBI 2018; Neuroinformatics 2018, arXiv 1706.01805).

Kernels and widths are those that the released code executes (9,393,088 parameters for one map on a
3-channel image; the release counts 60,182,720 because it also holds blocks that it never calls).
The figure of the ISBI paper differs: kernels 13, 11, 9, 7, 4, 3 with the same widths; pass them to have it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.layers.factories import Conv
from monai.networks.layers.utils import get_norm_layer
from torch import Tensor, nn

from segadv_monai.layers import check_pair, initialize_fan_out
from segadv_monai.protocols import CriticOutput

__all__ = ["SegANCritic"]

_LEAKY_SLOPE = 0.2


class SegANCritic(nn.Module):
    """Strided convolutions on the image masked by each map; compares features and gives no score.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        num_maps: maps per segmentation; every map masks all channels of the image.
        widths: channels of the blocks.
        kernels: kernel size of each block; every block has stride 2.
        norm: normalisation of all blocks but the first, by MONAI's name, or name and arguments.
        separate: one critic per map (S3-3C of the BRATS paper) instead of one on all masked images joined
            (S3-1C). The critics are the groups of one grouped network of ``num_maps`` times the widths.

    Shape:
        - segmentation: probabilities or one-hot maps ``(B, num_maps, *S)``.
        - image: ``(B, in_channels, *S)``.
        - Output: ``score`` None; ``features`` the masked image ``(B, num_maps * in_channels, *S)`` and the
          output of every block.

    Raises:
        ValueError: ``widths`` and ``kernels`` differ in length; maps, channels or grids do not fit; the image
            is too small for the blocks.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_maps: int = 1,
        *,
        widths: Sequence[int] = (64, 128, 256, 512, 512, 512),
        kernels: Sequence[int] = (7, 5, 4, 4, 4, 3),
        norm: str | Sequence[Any] = "batch",
        separate: bool = False,
    ) -> None:
        super().__init__()
        if len(widths) != len(kernels):
            raise ValueError(f"widths and kernels must have one entry per block, got {widths} and {kernels}.")
        self.in_channels = in_channels
        self.num_maps = num_maps
        groups = num_maps if separate else 1
        blocks = []
        channels = in_channels * num_maps
        norm_name = norm if isinstance(norm, str) else tuple(norm)
        for i, (width, kernel) in enumerate(zip(widths, kernels, strict=True)):
            out = width * groups
            convolution = Conv[Conv.CONV, spatial_dims](
                channels, out, kernel, stride=2, padding=(kernel - 1) // 2, groups=groups, bias=False
            )
            norms = [get_norm_layer(norm_name, spatial_dims=spatial_dims, channels=out)] if i else []
            blocks.append(nn.Sequential(convolution, *norms, nn.LeakyReLU(_LEAKY_SLOPE)))
            channels = out
        self.blocks = nn.ModuleList(blocks)
        self.kernels = tuple(kernels)
        initialize_fan_out(self)

    def forward(self, segmentation: Tensor, image: Tensor) -> CriticOutput:
        self._check(segmentation, image)
        x = torch.cat([image * segmentation[:, i : i + 1] for i in range(self.num_maps)], dim=1)
        features = [x]
        for block in self.blocks:
            x = block(x)
            features.append(x)
        return CriticOutput(score=None, features=tuple(features))

    def _check(self, segmentation: Tensor, image: Tensor) -> None:
        check_pair(segmentation, image, num_maps=self.num_maps, in_channels=self.in_channels)
        smallest = min(image.shape[2:])
        for kernel in self.kernels:
            smallest = (smallest + 2 * ((kernel - 1) // 2) - kernel) // 2 + 1
            if smallest < 1:
                raise ValueError(
                    f"images of size {tuple(image.shape[2:])} vanish in {len(self.kernels)} blocks of "
                    "stride 2: pad them or give the critic fewer blocks."
                )
