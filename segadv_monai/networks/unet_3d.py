"""3D U-Net of Cicek et al. (MICCAI 2016, arXiv 1606.06650).

As in the paper: four levels, the channels doubled before each pooling, batch norm before each ReLU,
up-convolutions that keep their channels; 132 x 132 x 116 in, 44 x 44 x 28 out, from 3 channels to 3 maps.
Its count of 19,069,955 parameters is that of the convolutions with their biases and of up-convolutions
without; scales and shifts of the batch norms, 4,672 more, are not in it. Ours:

- Initial values as those of the U-Net of 2015.
- ``padding`` keeps the image's grid, and ``norm`` takes any norm of MONAI's; batch norm learns little from
  batches of one small tile.
- Two dimensions, with kernels of the same lengths.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from monai.networks.layers.factories import Conv

from segadv_monai.layers import ConvolutionPair, UShape

__all__ = ["UNet3D"]


class UNet3D(UShape):
    """U-Net whose channels grow before they are pooled, with a norm before each ReLU.

    Without padding the logits lie on the centred grid of ``output_size``, and ``margin`` positions of the
    image at every border are context only. An axis that fits is ``size_divisor * n - 4``; with padding it is
    ``size_divisor * n``.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: number of maps.
        widths: channels at the end of each level, finest first; even, the first convolution has half of them.
        padding: keep the image's grid; the paper's network does not.
        norm: MONAI's name of a norm, or the name and its arguments; None for none.

    Shape:
        - Input: ``(B, in_channels, *S)``.
        - Output: logits ``(B, out_channels, *output_size(S))``.

    Raises:
        ValueError: ``spatial_dims`` is neither 2 nor 3; fewer than two levels; an odd width; a size of an
            image that does not fit.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        *,
        widths: Sequence[int] = (64, 128, 256, 512),
        padding: bool = False,
        norm: str | Sequence[Any] | None = "batch",
    ) -> None:
        if spatial_dims not in (2, 3):
            raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
        if len(widths) < 2 or any(width % 2 for width in widths):
            raise ValueError(f"widths needs at least two levels of even numbers, got {list(widths)}.")
        steps = [(coarse, fine) for fine, coarse in pairwise(widths)][::-1]
        super().__init__(
            spatial_dims,
            encoder=[
                ConvolutionPair(spatial_dims, before, (after // 2, after), padding=padding, norm=norm)
                for before, after in pairwise((in_channels, *widths))
            ],
            up=[
                Conv[Conv.CONVTRANS, spatial_dims](coarse, coarse, 2, stride=2, bias=False)
                for coarse, _ in steps
            ],
            decoder=[
                ConvolutionPair(spatial_dims, coarse + fine, (fine, fine), padding=padding, norm=norm)
                for coarse, fine in steps
            ],
            head=Conv[Conv.CONV, spatial_dims](widths[0], out_channels, 1),
            padding=padding,
        )
