"""U-Net of Ronneberger, Fischer and Brox (MICCAI 2015, arXiv 1505.04597).

As in the paper: from 1 channel to 2 maps in two dimensions, 572 x 572 in, 388 x 388 out; no norm; 31,030,658
parameters. Three things are ours:

- Dropout follows the two coarsest levels, with probability 0.5: by memory of the released network, the paper
  only says that it stands at the end of the contracting path.
- ``padding`` keeps the image's grid, and ``norm`` puts a norm before each ReLU of the 3 x 3 convolutions.
- Three dimensions, with kernels of the same lengths.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from monai.networks.layers.factories import Conv, Dropout

from segadv_monai.layers import ConvolutionPair, UShape

__all__ = ["UNet2015"]


class UNet2015(UShape):
    """Two convolutions on each level down and up, joined across by cropped skips.

    Without padding the logits lie on the centred grid of ``output_size``, and ``margin`` positions of the
    image at every border are context only. An axis that fits is ``size_divisor * n - 4``; with padding it is
    ``size_divisor * n``.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: number of maps.
        widths: channels of each level, finest first; halved by each step up.
        padding: keep the image's grid; the paper's network does not.
        norm: MONAI's name of a norm, or the name and its arguments; the paper's network has none.
        dropout: probability after the two coarsest levels.

    Shape:
        - Input: ``(B, in_channels, *S)``.
        - Output: logits ``(B, out_channels, *output_size(S))``.

    Raises:
        ValueError: ``spatial_dims`` is neither 2 nor 3; fewer than two levels; a size of an image that does
            not fit.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        *,
        widths: Sequence[int] = (64, 128, 256, 512, 1024),
        padding: bool = False,
        norm: str | Sequence[Any] | None = None,
        dropout: float = 0.5,
    ) -> None:
        if spatial_dims not in (2, 3):
            raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
        if len(widths) < 2:
            raise ValueError(f"widths needs at least two levels, got {list(widths)}.")
        encoder = [
            ConvolutionPair(spatial_dims, before, (after, after), padding=padding, norm=norm)
            for before, after in pairwise((in_channels, *widths))
        ]
        for stage in encoder[-2:]:
            stage.append(Dropout[Dropout.DROPOUT, spatial_dims](dropout))
        steps = [(coarse, fine) for fine, coarse in pairwise(widths)][::-1]
        super().__init__(
            spatial_dims,
            encoder=encoder,
            up=[Conv[Conv.CONVTRANS, spatial_dims](coarse, fine, 2, stride=2) for coarse, fine in steps],
            decoder=[
                ConvolutionPair(spatial_dims, 2 * fine, (fine, fine), padding=padding, norm=norm)
                for _, fine in steps
            ],
            head=Conv[Conv.CONV, spatial_dims](widths[0], out_channels, 1),
            padding=padding,
        )
