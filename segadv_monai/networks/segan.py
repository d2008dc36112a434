"""Segmentor of SegAN (Xue et al., ISBI 2018; Neuroinformatics 2018, arXiv 1706.01805).

The layer table is the released code's, the only fully specified one. Departs from it in four ways:

- ``residual_norm`` puts the batch norms of the residual blocks to use; the release holds their 30,080
  values and never calls them (at width 64 and 3 channels 156,265,344 parameters with, 156,235,264 without).
- The last convolution starts small: with the published fan-out rule the first outputs are saturated.
- Feature maps are resized with pixel centres aligned, not corners, so that a shift of the image by one
  stride shifts them by one position.
- Three dimensions: a global convolution is the sum, over the cyclic orders of the axes, of one-axis
  convolutions in sequence, which in two dimensions is the published pair.
"""

import torch
from monai.networks.layers.factories import Conv, Norm
from torch import Tensor, nn
from torch.nn import functional

from segadv_monai.layers import initialize_fan_out

__all__ = ["SegAN"]

_LEAKY_SLOPE = 0.2
_DECODER = (  # output channels in units of the width, kernel size, whether the convolution is a global one
    (16, 3, False),
    (8, 3, False),
    (8, 7, True),
    (4, 7, True),
    (2, 9, True),
    (1, 9, True),
    (1, 11, True),
)


class SegAN(nn.Module):
    """Encoder and decoder of seven scales with residual blocks and large separable kernels.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: number of maps; each is activated by a logistic function of its own.
        width: channels of the first stage; every other stage is a multiple of it.
        residual_norm: batch norms inside the residual blocks.

    Shape:
        - Input: ``(B, in_channels, *S)``, every axis at least 33.
        - Output: logits ``(B, out_channels, *S)``.

    Raises:
        ValueError: ``spatial_dims`` is neither 2 nor 3; an axis of the input is shorter than 33.

    Up to 128 along each axis the coarsest scale is a single position, and batch norm needs two: train with
    two samples or more.
    """

    size_divisor = 1

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 64,
        residual_norm: bool = True,
    ) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
        self.minimum_size = 33
        self.interpolation = {2: "bilinear", 3: "trilinear"}[spatial_dims]
        leaky = nn.LeakyReLU(_LEAKY_SLOPE)
        encoder: list[nn.Module] = []
        channels = in_channels
        for scale, out in enumerate(width * multiple for multiple in (1, 2, 4, 8, 8)):
            kernel = 7 if scale == 0 else 5
            stage = _Convolution(spatial_dims, channels, out, kernel, leaky, stride=2, norm=scale > 0)
            encoder.append(nn.Sequential(stage, _Bottleneck(spatial_dims, out, leaky, norm=residual_norm)))
            channels = out
        coarse = _Convolution(spatial_dims, channels, 16 * width, 4, leaky, stride=2)
        encoder.append(nn.Sequential(coarse, _PointwiseResidual(spatial_dims, 16 * width, leaky)))
        encoder.append(_Convolution(spatial_dims, 16 * width, 32 * width, 3, leaky, stride=2))
        self.encoder = nn.ModuleList(encoder)

        relu = nn.ReLU()
        self.bottom = nn.Sequential(
            _Convolution(spatial_dims, 32 * width, 8 * width, 1, leaky),
            _Convolution(spatial_dims, 8 * width, 32 * width, 1, relu),
        )
        decoder: list[nn.Module] = []
        channels = 64 * width
        for i, (multiple, kernel, is_global) in enumerate(_DECODER):
            out = multiple * width
            block = _GlobalConvolution if is_global else _Convolution
            residual = (
                _PointwiseResidual(spatial_dims, out, relu)
                if i == 0
                else _Bottleneck(spatial_dims, out, relu, norm=residual_norm)
            )
            decoder.append(nn.Sequential(block(spatial_dims, channels, out, kernel, relu), residual))
            channels = 2 * out
        self.decoder = nn.ModuleList(decoder)
        self.head = Conv[Conv.CONV, spatial_dims](width, out_channels, 5, padding=2, bias=False)
        initialize_fan_out(self)
        nn.init.normal_(self.head.weight, 0.0, 0.01)

    def features(self, x: Tensor) -> list[Tensor]:
        """Encoder features, finest first, seven scales from stride 2 on."""
        features: list[Tensor] = []
        for stage in self.encoder:
            x = stage(x)
            features.append(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        if min(size) < self.minimum_size:
            raise ValueError(
                f"SegAN takes axes of at least 33, got {list(size)}: pad the image to 33 along each."
            )
        skips = self.features(x)
        y = self.bottom(skips[-1])
        coarsest = len(skips) - 1
        for i, stage in enumerate(self.decoder):
            finer = skips[coarsest - i - 1].shape[2:] if i < coarsest else size
            y = torch.cat((y, skips[coarsest - i]), dim=1)
            y = stage(functional.interpolate(y, size=finer, mode=self.interpolation, align_corners=False))
        logits: Tensor = self.head(y)
        return logits


class _Convolution(nn.Sequential):
    """Convolution without bias, batch norm, activation."""

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        act: nn.Module,
        *,
        stride: int = 1,
        norm: bool = True,
    ) -> None:
        convolution = Conv[Conv.CONV, spatial_dims](
            in_channels, out_channels, kernel_size, stride=stride, padding=(kernel_size - 1) // 2, bias=False
        )
        norms = [Norm[Norm.BATCH, spatial_dims](out_channels)] if norm else []
        super().__init__(convolution, *norms, act)


class _Bottleneck(nn.Module):
    """``x`` plus 1, 3, 1 convolutions of twice the channels inside."""

    def __init__(self, spatial_dims: int, channels: int, act: nn.Module, *, norm: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _Convolution(spatial_dims, channels, 2 * channels, 1, act, norm=norm),
            _Convolution(spatial_dims, 2 * channels, 2 * channels, 3, act, norm=norm),
            _Convolution(spatial_dims, 2 * channels, channels, 1, act, norm=norm),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.body(x)
        return y


class _PointwiseResidual(nn.Module):
    """``x`` plus one pointwise convolution."""

    def __init__(self, spatial_dims: int, channels: int, act: nn.Module) -> None:
        super().__init__()
        self.body = _Convolution(spatial_dims, channels, channels, 1, act)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.body(x)
        return y


class _GlobalConvolution(nn.Module):
    """Sum over the cyclic orders of the axes of one-axis convolutions in sequence, batch norm, activation."""

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, kernel_size: int, act: nn.Module
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(
                *(
                    _one_axis_convolution(
                        spatial_dims,
                        in_channels if step == 0 else out_channels,
                        out_channels,
                        kernel_size=kernel_size,
                        axis=(first + step) % spatial_dims,
                    )
                    for step in range(spatial_dims)
                )
            )
            for first in range(spatial_dims)
        )
        self.norm = Norm[Norm.BATCH, spatial_dims](out_channels)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor | None = None
        for branch in self.branches:
            y = branch(x)
            total = y if total is None else total + y
        activated: Tensor = self.act(self.norm(total))
        return activated


def _one_axis_convolution(
    spatial_dims: int, in_channels: int, out_channels: int, *, kernel_size: int, axis: int
) -> nn.Module:
    kernel = [1] * spatial_dims
    kernel[axis] = kernel_size
    padding = [(k - 1) // 2 for k in kernel]
    convolution: nn.Module = Conv[Conv.CONV, spatial_dims](in_channels, out_channels, kernel, padding=padding)
    return convolution
