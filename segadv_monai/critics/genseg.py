"""Critics of GenSeg (Vorontsov et al., 2019, arXiv 1904.01339): one of healthy images, one of sick ones.

As in the paper: each judges an image at three scales, with spectral norm but for the last convolutions; the
two have 16,559,238 parameters for four channels. Their layers are our reading, which has that number: four
strided convolutions of 4, layer norm in all but the first, a pointwise convolution, and each scale half the
size of the one before.
"""

import torch
from monai.networks.layers.factories import Conv, Pool
from torch import Tensor, nn
from torch.nn import functional

from segadv_monai.layers import check_pair, spectral_norm
from segadv_monai.protocols import CriticOutput

__all__ = ["GenSegCritic"]

_LEAKY_SLOPE = 0.2
_STRIDES = 4


class GenSegCritic(nn.Module):
    """Two critics in one: how healthy is the first image, how sick the second.

    The pair is two images, none of which explains the other: real ones, or those of a translation there and
    back. Both go through one forward pass, so that a wrapper for several processes sees it.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the second image.
        num_maps: channels of the first, as many by default.
        width: channels of the first stage; each stage has twice those of the one before.
        scales: sizes at which an image is judged.
        spectral: normalise all convolutions but the last by their largest singular value.

    Shape:
        - segmentation: the image judged as a healthy one, ``(B, num_maps, *S)``.
        - image: the one judged as a sick one, ``(B, in_channels, *S)``.
        - Output: ``score`` ``(B, 1, 2, scales, *S / 16)``, the verdicts of both critics at each scale,
          repeated to the grid of the finest; no features.

    Raises:
        ValueError: channels or grids do not fit; the images are too small for the scales.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_maps: int | None = None,
        *,
        width: int = 64,
        scales: int = 3,
        spectral: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.num_maps = in_channels if num_maps is None else num_maps
        self.minimum_size = 2 ** (_STRIDES + scales - 1)
        self.healthy = _ImageCritic(spatial_dims, self.num_maps, width, scales=scales)
        self.sick = _ImageCritic(spatial_dims, in_channels, width, scales=scales)
        if spectral:
            last = [f"{name}.scales.{i}.verdict" for name in ("healthy", "sick") for i in range(scales)]
            spectral_norm(self, excluded=last)

    def forward(self, segmentation: Tensor, image: Tensor) -> CriticOutput:
        check_pair(segmentation, image, num_maps=self.num_maps, in_channels=self.in_channels)
        if min(image.shape[2:]) < self.minimum_size:
            raise ValueError(
                f"images of size {tuple(image.shape[2:])} vanish at the critic's coarsest scale: pad them to "
                f"at least {self.minimum_size} per side, or set fewer scales."
            )
        verdicts = torch.stack([self.healthy(segmentation), self.sick(image)], dim=1)
        return CriticOutput(verdicts.unsqueeze(1), ())


class _ImageCritic(nn.Module):
    """Verdicts at several scales, ``(B, scales, *S')`` on the grid of the finest."""

    def __init__(self, spatial_dims: int, channels: int, width: int, *, scales: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(_Scale(spatial_dims, channels, width) for _ in range(scales))
        self.halve = Pool[Pool.AVG, spatial_dims](3, stride=2, padding=1, count_include_pad=False)

    def forward(self, x: Tensor) -> Tensor:
        verdicts: list[Tensor] = []
        for i, scale in enumerate(self.scales):
            x = self.halve(x) if i else x
            verdicts.append(scale(x))
        grid = verdicts[0].shape[2:]
        return torch.cat([functional.interpolate(verdict, size=grid) for verdict in verdicts], dim=1)


class _Scale(nn.Module):
    """Strided convolutions and a verdict for each position that is left."""

    def __init__(self, spatial_dims: int, channels: int, width: int) -> None:
        super().__init__()
        convolution = Conv[Conv.CONV, spatial_dims]
        layers: list[nn.Module] = []
        for i in range(_STRIDES):
            out = width * 2**i
            layers.append(convolution(channels, out, 4, stride=2, padding=1, padding_mode="reflect"))
            layers += [nn.GroupNorm(1, out)] if i else []
            layers.append(nn.LeakyReLU(_LEAKY_SLOPE))
            channels = out
        self.stages = nn.Sequential(*layers)
        self.verdict = convolution(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        verdict: Tensor = self.verdict(self.stages(x))
        return verdict
