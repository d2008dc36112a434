"""The noise-driven generator of the textbook game (Goodfellow et al., NIPS 2014): masks made of noise alone.

An interpretation, in the manner of Radford et al. (ICLR 2016, arXiv 1511.06434): a linear layer makes a small
grid of the noise, then each stage doubles the grid and applies a 3 x 3 convolution with batch norm and ReLU.
It returns logits, as every network here does; the sigmoid is the game's ``activation``. It is no segmentor:
it sees no image, and no bundle has it.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from monai.networks.layers.factories import Conv, Norm
from torch import Tensor, nn

__all__ = ["NoiseGenerator"]


class NoiseGenerator(nn.Module):
    """Linear layer, then stages of upsampling, convolution, batch norm and ReLU, and a last convolution.

    Args:
        spatial_dims: 2 or 3.
        in_channels: length of the noise vector.
        out_channels: number of maps.
        size: grid of the output, a multiple of 2 for each stage behind the first.
        widths: channels per scale, coarsest first.

    Shape:
        - Input: noise ``(B, in_channels)``, as of ``torch.randn``.
        - Output: logits ``(B, out_channels, *size)``.

    Raises:
        ValueError: ``spatial_dims`` is neither 2 nor 3; ``size`` does not fit; the noise has another shape.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        *,
        size: Sequence[int],
        widths: Sequence[int] = (512, 256, 128, 64),
    ) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
        divisor = 2 ** (len(widths) - 1)
        if len(size) != spatial_dims or any(length < 1 or length % divisor for length in size):
            raise ValueError(
                f"size must be {spatial_dims} multiples of {divisor}, got {list(size)}: round it up or give "
                "fewer widths."
            )
        self.in_channels = in_channels
        self.coarse = (widths[0], *(length // divisor for length in size))
        self.first = nn.Linear(in_channels, prod(self.coarse), bias=False)
        self.act = nn.Sequential(Norm[Norm.BATCH, spatial_dims](widths[0]), nn.ReLU())
        self.stages = nn.Sequential()
        for before, after in pairwise(widths):
            self.stages.append(
                nn.Sequential(
                    nn.Upsample(scale_factor=2),
                    Conv[Conv.CONV, spatial_dims](before, after, 3, padding=1, bias=False),
                    Norm[Norm.BATCH, spatial_dims](after),
                    nn.ReLU(),
                )
            )
        self.head = Conv[Conv.CONV, spatial_dims](widths[-1], out_channels, 3, padding=1)

    def forward(self, noise: Tensor) -> Tensor:
        if noise.ndim != 2 or noise.shape[1] != self.in_channels:
            raise ValueError(
                f"noise must be (B, {self.in_channels}), got {list(noise.shape)}: draw it by "
                f"torch.randn(B, {self.in_channels})."
            )
        x = self.act(self.first(noise).unflatten(1, self.coarse))
        logits: Tensor = self.head(self.stages(x))
        return logits
