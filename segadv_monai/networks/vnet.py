"""V-Net (Milletari et al., 3DV 2016, arXiv 1606.04797).

By memory of the paper: convolutions of length 5, learnt halving and doubling of the grid, PReLU, no norm, and
a residual connection around every stage; 65,171,858 parameters in convolutions from one channel to two maps.
``depths=(1, 1, 2, 3, 3)``, ``decoder_depths=(3, 2, 1, 1)`` and ``two_step_head`` give the network of the
released prototxt, with 61,982,682 parameters in all. Ours:

- A slope for each channel, as in the release. Those of the paper's layout are not in its count.
- An image of several channels reaches the first sum through a convolution of length 1; a single channel is
  added to every one of the stage.
- Initial values as those of the U-Net of 2015.
- ``norm`` puts a norm of MONAI's behind every convolution but the head's.
- Two dimensions, with kernels of the same lengths.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from monai.networks.layers.factories import Conv
from monai.networks.layers.utils import get_norm_layer
from torch import Tensor, cat, nn

from segadv_monai.layers import check_valid_size, initialize_he

__all__ = ["VNet"]

_KERNEL = 5


class VNet(nn.Module):
    """Residual stages of long convolutions on the way down and up, joined across.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: number of maps.
        widths: channels of each level, finest first; a level's way up has as many as the level below has on
            the way down.
        depths: convolutions of each stage on the way down, finest first.
        decoder_depths: convolutions of each stage on the way up, coarsest first; None for those of the way
            down without its last.
        two_step_head: two convolutions of lengths 5 and 1 instead of one of length 1, as released.
        norm: MONAI's name of a norm, or the name and its arguments; None for none.

    Shape:
        - Input: ``(B, in_channels, *S)``, each axis a multiple of ``size_divisor``.
        - Output: logits ``(B, out_channels, *S)``.

    Raises:
        ValueError: ``spatial_dims`` is neither 2 nor 3; there are fewer than two levels, not one depth for
            each stage, or a depth less than 1; a size of an image that does not fit.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        *,
        widths: Sequence[int] = (16, 32, 64, 128, 256),
        depths: Sequence[int] = (1, 2, 3, 3, 3),
        decoder_depths: Sequence[int] | None = None,
        two_step_head: bool = False,
        norm: str | Sequence[Any] | None = None,
    ) -> None:
        super().__init__()
        norm = norm if norm is None or isinstance(norm, str) else tuple(norm)
        up_depths = list(depths[-2::-1] if decoder_depths is None else decoder_depths)
        _check(spatial_dims, widths, [*depths], up_depths)
        self.levels = len(widths)
        self.size_divisor = 2 ** (self.levels - 1)
        down, up = Conv[Conv.CONV, spatial_dims], Conv[Conv.CONVTRANS, spatial_dims]

        def halve(fine: int, coarse: int) -> nn.Sequential:
            return _activated(spatial_dims, down(fine, coarse, 2, stride=2), coarse, norm)

        def double(coarse: int, fine: int) -> nn.Sequential:
            return _activated(spatial_dims, up(coarse, fine, 2, stride=2), fine, norm)

        ways_up = [*(2 * width for width in widths[:-1]), widths[-1]]
        coarsest_first = list(range(self.levels - 1))[::-1]
        halvings = [halve(fine, coarse) for fine, coarse in pairwise(widths)]
        self.down = nn.ModuleList([nn.Identity(), *halvings])
        self.encoder = nn.ModuleList(
            _Stage(spatial_dims, in_channels if level == 0 else width, width, depth=depth, norm=norm)
            for level, (width, depth) in enumerate(zip(widths, depths, strict=True))
        )
        self.up = nn.ModuleList([double(ways_up[level + 1], widths[level]) for level in coarsest_first])
        self.decoder = nn.ModuleList(
            _Stage(spatial_dims, ways_up[level], ways_up[level], depth=depth, norm=norm)
            for level, depth in zip(coarsest_first, up_depths, strict=True)
        )
        self.head = _head(spatial_dims, ways_up[0], out_channels, two_steps=two_step_head)
        initialize_he(self)

    def features(self, x: Tensor) -> list[Tensor]:
        """Features of the way down, finest first, one for each level."""
        check_valid_size(list(x.shape[2:]), self.levels, 0)
        features: list[Tensor] = []
        for down, stage in zip(self.down, self.encoder, strict=True):
            x = stage(down(x))
            features.append(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        skips = self.features(x)
        y = skips[-1]
        for i, (up, stage) in enumerate(zip(self.up, self.decoder, strict=True)):
            y = stage(cat((up(y), skips[self.levels - 2 - i]), dim=1))
        logits: Tensor = self.head(y)
        return logits


class _Stage(nn.Module):
    """Convolutions and the sum with what came in; PReLU between them and after the sum."""

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        width: int,
        *,
        depth: int,
        norm: str | tuple[Any, ...] | None,
    ) -> None:
        super().__init__()
        convolution = Conv[Conv.CONV, spatial_dims]
        layers: list[nn.Module] = []
        for i in range(depth):
            before = in_channels if i == 0 else width
            layers.append(convolution(before, width, _KERNEL, padding=_KERNEL // 2))
            if norm is not None:
                layers.append(get_norm_layer(norm, spatial_dims, width))
            if i < depth - 1:
                layers.append(nn.PReLU(width))
        self.convolutions = nn.Sequential(*layers)
        repeated = in_channels in (1, width)
        self.shortcut = nn.Identity() if repeated else convolution(in_channels, width, 1)
        self.act = nn.PReLU(width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.convolutions(x) + self.shortcut(x))
        return y


def _check(
    spatial_dims: int, widths: Sequence[int], depths: Sequence[int], decoder_depths: Sequence[int]
) -> None:
    if spatial_dims not in (2, 3):
        raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
    if len(widths) < 2 or len(depths) != len(widths) or len(decoder_depths) != len(widths) - 1:
        raise ValueError(
            "there must be two levels or more, a depth for each of them and one less on the way up, got "
            f"widths {list(widths)}, depths {list(depths)} and decoder_depths {list(decoder_depths)}."
        )
    if min(*depths, *decoder_depths) < 1:
        raise ValueError(
            f"each depth must be 1 or more, got depths {list(depths)} and decoder_depths "
            f"{list(decoder_depths)}."
        )


def _activated(
    spatial_dims: int, convolution: nn.Module, width: int, norm: str | tuple[Any, ...] | None
) -> nn.Sequential:
    norms = [] if norm is None else [get_norm_layer(norm, spatial_dims, width)]
    return nn.Sequential(convolution, *norms, nn.PReLU(width))


def _head(spatial_dims: int, width: int, out_channels: int, *, two_steps: bool) -> nn.Module:
    convolution = Conv[Conv.CONV, spatial_dims]
    if not two_steps:
        last: nn.Module = convolution(width, out_channels, 1)
        return last
    return nn.Sequential(
        convolution(width, out_channels, _KERNEL, padding=_KERNEL // 2),
        nn.PReLU(out_channels),
        convolution(out_channels, out_channels, 1),
    )
