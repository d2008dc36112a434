"""What the U-Nets share (Ronneberger et al., MICCAI 2015): blocks down, blocks up, cropped skips across."""

from collections.abc import Sequence

from monai.networks.layers.factories import Pool
from torch import Tensor, cat, nn

from .he_initialization import initialize_he
from .valid_grid import centre_crop, check_valid_size, fitting_size, total_loss

__all__ = ["UShape"]


class UShape(nn.Module):
    """Blocks on each level, pooling by 2 between them, and the same way back.

    Without padding the logits lie on the centred grid of ``output_size``, and ``margin`` positions of the
    image at every border are context only. An axis that fits is ``size_divisor * n - 4``; with padding it is
    ``size_divisor * n``. Initial values are those of :func:`initialize_he`.

    Args:
        spatial_dims: 2 or 3.
        encoder: blocks down, finest first, the bottom included.
        up: transposed convolutions, coarsest first.
        decoder: blocks up, coarsest first, which take the skip and what came up joined.
        head: from the finest block to the logits.
        padding: whether the blocks keep their grid; else each takes 4 positions off every axis.

    Shape:
        - Input: ``(B, in_channels, *S)``.
        - Output: logits ``(B, out_channels, *output_size(S))``.

    Raises:
        ValueError: a size of an image that does not fit.
    """

    def __init__(
        self,
        spatial_dims: int,
        *,
        encoder: Sequence[nn.Module],
        up: Sequence[nn.Module],
        decoder: Sequence[nn.Module],
        head: nn.Module,
        padding: bool,
    ) -> None:
        super().__init__()
        self.levels = len(encoder)
        self.loss = 0 if padding else 4
        self.size_divisor = 2 ** (self.levels - 1)
        self.margin = total_loss(self.levels, self.loss) // 2
        self.encoder = nn.ModuleList(encoder)
        self.pool = Pool[Pool.MAX, spatial_dims](2)
        self.up = nn.ModuleList(up)
        self.decoder = nn.ModuleList(decoder)
        self.head = head
        initialize_he(self)

    def output_size(self, input_size: Sequence[int]) -> tuple[int, ...]:
        """Size of the logits of an image.

        Args:
            input_size: of the image, one number for each axis.

        Raises:
            ValueError: the size does not fit; the message names the one to pad to.
        """
        check_valid_size(list(input_size), self.levels, self.loss)
        return tuple(size - 2 * self.margin for size in input_size)

    def input_sizes(self, stop: int) -> list[int]:
        """All sizes of an axis that fit and are less than ``stop``, ascending.

        Args:
            stop: the first size that is too large.
        """
        return list(range(fitting_size(1, self.levels, self.loss), stop, self.size_divisor))

    def features(self, x: Tensor) -> list[Tensor]:
        """Features of the way down, finest first, one for each level."""
        check_valid_size(list(x.shape[2:]), self.levels, self.loss)
        features: list[Tensor] = []
        for i, stage in enumerate(self.encoder):
            x = stage(x if i == 0 else self.pool(x))
            features.append(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        skips = self.features(x)
        y = skips[-1]
        for i, (up, stage) in enumerate(zip(self.up, self.decoder, strict=True)):
            y = up(y)
            y = stage(cat((centre_crop(skips[self.levels - 2 - i], list(y.shape[2:])), y), dim=1))
        logits: Tensor = self.head(y)
        return logits
