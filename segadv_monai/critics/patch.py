"""Critics of the retina GAN (Son et al., 2017, arXiv 1706.09318): one verdict per pixel, patch or image.

Layers are those of the released code. Departs from it in form, not in function: its convolutions have a bias
that the batch norm takes away again and its norms have no scale; here the norms have the scale and the
convolutions no bias, and the number of parameters is the same: 93,665 (pixel), 287,873 (patch1) and 4,715,009
(patch2 and image) for one map on a 3-channel image. The verdict of the image critic is the mean of patch2's
logits, which is the release's linear layer on the mean of the features.
"""

from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.layers.factories import Conv, Pool
from monai.networks.layers.utils import get_norm_layer
from torch import Tensor, nn

from segadv_monai.layers import check_pair
from segadv_monai.protocols import CriticOutput

__all__ = ["PatchCritic"]

_LEAKY_SLOPE = 0.2
# How many stages there are, and how many of them begin with a strided convolution.
_SCOPES = {"pixel": (3, 0), "patch1": (3, 1), "patch2": (5, 2), "image": (5, 2)}


class PatchCritic(nn.Module):
    """Convolutions on image and maps joined, then a map of verdicts or their mean.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        num_maps: maps per segmentation.
        scope: what one verdict is about: ``pixel`` (it sees a field 7 pixels wide), ``patch1`` (61 pixels, on
            a grid 8 times coarser), ``patch2`` (537 pixels, 64 times coarser) or ``image``, the best in the
            paper.
        width: channels of the first stage; each stage has twice those of the one before.
        norm: normalisation by MONAI's name, or name and arguments; the pixel critic has none.
        stride: of each strided convolution and each pooling, one number or one per axis, as for volumes with
            thick slices; the pixel critic has none.

    Shape:
        - segmentation: probabilities or one-hot maps ``(B, num_maps, *S)``.
        - image: ``(B, in_channels, *S)``.
        - Output: ``score`` ``(B, 1, *S')``, of the image critic ``(B, 1)``; ``features`` the output of each
          stage.

    Raises:
        ValueError: ``scope`` is unknown; ``stride`` has not one entry per axis; maps, channels or grids do
            not fit; the image is too small for the stages.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_maps: int = 1,
        *,
        scope: str = "image",
        width: int = 32,
        norm: str | Sequence[Any] = "batch",
        stride: int | Sequence[int] = 2,
    ) -> None:
        super().__init__()
        if scope not in _SCOPES:
            raise ValueError(f"scope must be one of {', '.join(_SCOPES)}, got {scope}.")
        self.stride = (stride,) * spatial_dims if isinstance(stride, int) else tuple(stride)
        if len(self.stride) != spatial_dims:
            raise ValueError(f"stride must be a number or {spatial_dims} of them, got {stride}.")
        self.in_channels = in_channels
        self.num_maps = num_maps
        self.scope = scope
        number, self.strided = _SCOPES[scope]
        self.stages = nn.ModuleList()
        channels = in_channels + num_maps
        for i in range(number):
            out = width * 2**i
            if scope == "pixel":
                stage = _pixel_stage(spatial_dims, channels, out)
            else:
                first = self.stride if i < self.strided else 1
                stage = _patch_stage(spatial_dims, channels, out, norm=norm, stride=first)
            self.stages.append(stage)
            channels = out
        self.pool = nn.Identity() if scope == "pixel" else Pool[Pool.MAX, spatial_dims](self.stride)
        self.verdict = Conv[Conv.CONV, spatial_dims](channels, 1, 1)

    def forward(self, segmentation: Tensor, image: Tensor) -> CriticOutput:
        self._check(segmentation, image)
        x = torch.cat([image, segmentation], dim=1)
        features = []
        for i, stage in enumerate(self.stages):
            x = stage(self.pool(x) if i else x)
            features.append(x)
        score = self.verdict(x)
        return CriticOutput(score.flatten(2).mean(2) if self.scope == "image" else score, tuple(features))

    def _check(self, segmentation: Tensor, image: Tensor) -> None:
        check_pair(segmentation, image, num_maps=self.num_maps, in_channels=self.in_channels)
        if self.scope != "pixel" and not all(map(self._survives, image.shape[2:], self.stride)):
            raise ValueError(
                f"images of size {tuple(image.shape[2:])} vanish in the poolings of the {self.scope} critic: "
                "pad them or give the critic a smaller scope."
            )

    def _survives(self, length: int, stride: int) -> bool:
        for i in range(len(self.stages)):
            length = length // stride if i else length
            length = -(-length // stride) if i < self.strided else length
        return length > 0


def _pixel_stage(spatial_dims: int, channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        Conv[Conv.CONV, spatial_dims](channels, out, 3, padding=1), nn.LeakyReLU(_LEAKY_SLOPE)
    )


def _patch_stage(
    spatial_dims: int, channels: int, out: int, *, norm: str | Sequence[Any], stride: int | tuple[int, ...]
) -> nn.Sequential:
    name = norm if isinstance(norm, str) else tuple(norm)
    layers: list[nn.Module] = []
    for before, step in ((channels, stride), (out, 1)):
        layers.append(Conv[Conv.CONV, spatial_dims](before, out, 3, stride=step, padding=1, bias=False))
        layers += [get_norm_layer(name, spatial_dims=spatial_dims, channels=out), nn.ReLU()]
    return nn.Sequential(*layers)
