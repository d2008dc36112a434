"""Partially reversible U-Net (Bruegger, Baumgartner and Konukoglu, MICCAI 2019) and its plain baseline.

As in the paper, by the released code where the paper is silent: 12,365,283 parameters from 4 channels to 3
maps, 18,248,403 with two blocks on each level of the way down, and 12,425,253 of the baseline. Ours:

- ``reversible=False`` is the same network, which keeps what every block needs.
- Any widths: a group norm has as many groups as divide half of every width, 30 as in the paper by default.
- Dropout inside the blocks on request, and two dimensions.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from math import gcd
from typing import Any

from monai.networks.layers.factories import Conv, Dropout, Pool
from monai.networks.layers.utils import get_act_layer
from torch import Tensor, nn

from segadv_monai.layers import ReversibleBlock, ReversibleSequence, check_valid_size

__all__ = ["NonReversibleUNet", "PartiallyReversibleUNet"]

_INTERPOLATION = {2: "bilinear", 3: "trilinear"}
_LEAKY = ("leakyrelu", {"negative_slope": 0.01, "inplace": True})


class _AddingUNet(nn.Module):
    """Levels down, finest first, levels up, coarsest first, and skips that are added."""

    def __init__(self, encoder: Sequence[nn.Module], decoder: Sequence[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.levels = len(encoder)
        self.size_divisor = 2 ** (self.levels - 1)
        self.encoder = nn.ModuleList(encoder)
        self.decoder = nn.ModuleList(decoder)
        self.head = head

    def features(self, x: Tensor) -> list[Tensor]:
        """Features of the way down, finest first, one for each level."""
        check_valid_size(list(x.shape[2:]), self.levels, 0)
        features: list[Tensor] = []
        for stage in self.encoder:
            x = stage(x)
            features.append(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        skips = self.features(x)
        y = skips.pop()
        for stage in self.decoder:
            y = stage(y)
            if len(skips) > 0:
                y = y + skips.pop()
        logits: Tensor = self.head(y)
        return logits


class PartiallyReversibleUNet(_AddingUNet):
    """U-Net of reversible blocks: what its training holds does not grow with their number.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: number of maps.
        widths: channels of each level, finest first; even.
        depths: blocks of each level on the way down, one number or one per level.
        decoder_depths: the same on the way up, finest first.
        groups: of the group norms; None for the most that divide half of every width.
        act: MONAI's name of an activation, or the name and its arguments.
        dropout: probability that a function's channel is dropped in training.
        reversible: whether inputs are computed anew in the backward pass; else they are kept.

    Shape:
        - Input: ``(B, in_channels, *S)``, every axis a multiple of ``size_divisor``.
        - Output: logits ``(B, out_channels, *S)``.

    Raises:
        ValueError: ``spatial_dims`` is neither 2 nor 3; fewer than two widths, or an odd one; ``depths`` are
            not one per level or less than 1; ``groups`` do not divide half of a width; a size of an image
            that does not fit.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        *,
        widths: Sequence[int] = (60, 120, 240, 360, 480),
        depths: int | Sequence[int] = 1,
        decoder_depths: int | Sequence[int] = 1,
        groups: int | None = None,
        act: str | Sequence[Any] = _LEAKY,
        dropout: float = 0.0,
        reversible: bool = True,
    ) -> None:
        _check(spatial_dims, widths)
        halves = [width // 2 for width in widths]
        groups = gcd(*halves) if groups is None else groups
        if any(width % 2 for width in widths) or groups < 1 or any(half % groups for half in halves):
            raise ValueError(
                f"widths are even and groups divide their halves, got {list(widths)} and {groups}."
            )

        function = partial(_function, spatial_dims, groups=groups, act=act, dropout=dropout)

        def blocks(level: int, given: int | Sequence[int], name: str) -> ReversibleSequence:
            depth = _per_level(given, len(widths), name)[level]
            pairs = [[function(halves[level]) for _ in "fg"] for _ in range(depth)]
            return ReversibleSequence([ReversibleBlock(f, g) for f, g in pairs], reversible=reversible)

        conv = Conv[Conv.CONV, spatial_dims]
        first = conv(in_channels, widths[0], 3, padding=1, bias=False)
        encoder = [nn.Sequential(first, blocks(0, depths, "depths"))]
        for level, (fine, coarse) in enumerate(pairwise(widths), start=1):
            pool = Pool[Pool.MAX, spatial_dims](2)
            encoder.append(nn.Sequential(pool, conv(fine, coarse, 1), blocks(level, depths, "depths")))
        decoder = []
        for level in reversed(range(len(widths))):
            stage: list[nn.Module] = [blocks(level, decoder_depths, "decoder_depths")]
            if level:
                stage += [conv(widths[level], widths[level - 1], 1), _upsampling(spatial_dims)]
            decoder.append(nn.Sequential(*stage))
        super().__init__(encoder, decoder, conv(widths[0], out_channels, 1))


class NonReversibleUNet(_AddingUNet):
    """The baseline of the paper: two convolutions on each level, group norm behind each, skips added.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: number of maps.
        widths: channels of each level, finest first.
        groups: of the group norms; None for the most that divide every width.
        act: MONAI's name of an activation, or the name and its arguments.

    Shape:
        - Input: ``(B, in_channels, *S)``, every axis a multiple of ``size_divisor``.
        - Output: logits ``(B, out_channels, *S)``.

    Raises:
        ValueError: ``spatial_dims`` is neither 2 nor 3; fewer than two widths; ``groups`` do not divide a
            width; a size of an image that does not fit.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        *,
        widths: Sequence[int] = (30, 60, 120, 240, 480),
        groups: int | None = None,
        act: str | Sequence[Any] = _LEAKY,
    ) -> None:
        _check(spatial_dims, widths)
        groups = gcd(*widths) if groups is None else groups
        if groups < 1 or any(width % groups for width in widths):
            raise ValueError(f"groups divide every width, got {groups} and {list(widths)}.")

        def layers(*channels: int) -> list[nn.Module]:
            found: list[nn.Module] = []
            for before, after in pairwise(channels):
                convolution = Conv[Conv.CONV, spatial_dims](before, after, 3, padding=1, bias=False)
                found += [convolution, nn.GroupNorm(groups, after), _activation(act)]
            return found

        coarsest = len(widths) - 1
        encoder = [nn.Sequential(*layers(in_channels, widths[0], widths[0]))]
        for level, (fine, coarse) in enumerate(pairwise(widths), start=1):
            # The bottom has one convolution on the way down and one on the way up.
            channels = (fine, coarse) if level == coarsest else (fine, coarse, coarse)
            encoder.append(nn.Sequential(Pool[Pool.MAX, spatial_dims](2), *layers(*channels)))
        decoder = []
        for level in reversed(range(len(widths))):
            width, finer = widths[level], widths[max(level - 1, 0)]
            channels = (width, finer) if level == coarsest else (width, width, finer)
            up = [_upsampling(spatial_dims)] if level else []
            decoder.append(nn.Sequential(*layers(*channels), *up))
        super().__init__(encoder, decoder, Conv[Conv.CONV, spatial_dims](widths[0], out_channels, 1))


def _check(spatial_dims: int, widths: Sequence[int]) -> None:
    if spatial_dims not in _INTERPOLATION:
        raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
    if len(widths) < 2 or any(width < 1 for width in widths):
        raise ValueError(f"widths needs at least two levels of positive numbers, got {list(widths)}.")


def _per_level(depths: int | Sequence[int], levels: int, name: str) -> list[int]:
    found = [depths] * levels if isinstance(depths, int) else list(depths)
    if len(found) != levels or any(depth < 1 for depth in found):
        raise ValueError(f"{name} is one number or {levels} of them, each at least 1, got {depths}.")
    return found


def _function(
    spatial_dims: int, channels: int, *, groups: int, act: str | Sequence[Any], dropout: float
) -> nn.Sequential:
    """Norm, activation, convolution: what a block adds to one half of its channels."""
    layers = [
        nn.GroupNorm(groups, channels),
        _activation(act),
        Conv[Conv.CONV, spatial_dims](channels, channels, 3, padding=1, bias=False),
    ]
    if dropout:
        layers.append(Dropout[Dropout.DROPOUT, spatial_dims](dropout))
    return nn.Sequential(*layers)


def _activation(act: str | Sequence[Any]) -> nn.Module:
    layer: nn.Module = get_act_layer(act if isinstance(act, str) else tuple(act))
    return layer


def _upsampling(spatial_dims: int) -> nn.Module:
    return nn.Upsample(scale_factor=2, mode=_INTERPOLATION[spatial_dims], align_corners=False)
