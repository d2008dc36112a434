"""How far a network sees, and by which steps it may be moved: measured, not derived from its layers.

A border of NaN is laid on one side of a thin image. Every layer hands NaN on, whatever its weights and
however its maximum falls, so the outputs that the border can reach are exactly those that are NaN.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from segadv_monai.layers import unwrapped

__all__ = ["ReceptiveField", "receptive_field"]

# Pooling by more than this in total is not looked for.
_LARGEST_DIVISOR = 64
_LONGEST = 2048


class ReceptiveField(NamedTuple):
    """What an output position depends on, one number for each axis.

    Args:
        before: positions at the start of an image whose outputs depend on what lies before it.
        after: the same at its end.
        divisor: a shift of the image by multiples of it shifts the output and changes nothing else.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    divisor: tuple[int, ...]


def receptive_field(network: nn.Module, spatial_dims: int, in_channels: int) -> ReceptiveField:
    """Measure a network whose output has the size of its input.

    The network runs in evaluation mode on images that are long along one axis and thin along the others.

    Args:
        network: as it will be used; its ``size_divisor`` is taken as the divisor if it has one.
        spatial_dims: axes of the image.
        in_channels: channels of the image.

    Raises:
        ValueError: an output depends on the whole image, or no shift up to 64 leaves it unchanged.
    """
    network = unwrapped(network)
    divisor = getattr(network, "size_divisor", None)
    with torch.no_grad(), _evaluating(network):
        probes = [_Probe(network, spatial_dims, in_channels, axis=i) for i in range(spatial_dims)]
        measured = [probe.measured(divisor) for probe in probes]
    before, after, divisors = zip(*measured, strict=True)
    return ReceptiveField(before, after, divisors)


class _Probe:
    """Measurements along one axis."""

    def __init__(self, network: nn.Module, spatial_dims: int, in_channels: int, *, axis: int) -> None:
        self.network = network
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.axis = axis

    def measured(self, divisor: int | None) -> tuple[int, int, int]:
        unit = _LARGEST_DIVISOR if divisor is None else -(-_LARGEST_DIVISOR // divisor) * divisor
        length = 4 * unit
        while length <= max(_LONGEST, 4 * unit):
            image = self._image(length, divisor)
            border = length // 4
            before = self._last_touched(image, border) + 1 - border
            after = length - border - self._first_touched(image, length - border)
            # Both borders have to leave outputs that neither touches.
            if before + after + 2 * border + _LARGEST_DIVISOR < length:
                return before, after, divisor or self._period(image, border, before)
            length *= 2
        raise ValueError(
            f"an output of {type(self.network).__name__} depends on the whole of axis {self.axis}, or on "
            f"more than {_LONGEST // 2 - _LARGEST_DIVISOR} positions of it: tiles cannot equal it; give halo "
            "and divisor to accept a difference."
        )

    def _image(self, length: int, divisor: int | None) -> Tensor:
        # Twice the divisor: a norm over the positions of one case refuses a single one.
        thin = 2 * divisor if divisor else {2: 64, 3: 32}[self.spatial_dims]
        size = [thin] * self.spatial_dims
        size[self.axis] = length
        weight = next(self.network.parameters(), torch.empty(0))
        return torch.zeros(1, self.in_channels, *size, device=weight.device, dtype=weight.dtype)

    def _last_touched(self, image: Tensor, border: int) -> int:
        """The last place that a border of that length at the start reaches."""
        return int(self._touched(image, 0, border).max())

    def _first_touched(self, image: Tensor, start: int) -> int:
        return int(self._touched(image, start, image.shape[self.axis + 2] - start).min())

    def _touched(self, image: Tensor, start: int, length: int) -> Tensor:
        """Places along the axis at which any output is NaN."""
        image = image.clone()
        image.narrow(self.axis + 2, start, length).fill_(torch.nan)
        output: Tensor = self.network(image)
        if output.shape[2:] != image.shape[2:]:
            raise ValueError(
                f"{type(self.network).__name__} makes {list(output.shape[2:])} of {list(image.shape[2:])}: "
                "a network of valid convolutions has to have output_size(input_size)."
            )
        axes = [i for i in range(output.ndim) if i != self.axis + 2]
        places: Tensor = output.isnan().sum(dim=axes).nonzero()
        return places

    def _period(self, image: Tensor, border: int, before: int) -> int:
        """The steps by which the reach of a border moves along with it.

        A pooled position is touched as a whole, so within the period the reach runs ahead of the border.
        """
        divisor, step = 1, 1
        while step <= _LARGEST_DIVISOR:
            if self._last_touched(image, border + step) + 1 - border - step != before:
                divisor = 2 * step
            step *= 2
        if divisor > _LARGEST_DIVISOR:
            raise ValueError(
                f"no shift by up to {_LARGEST_DIVISOR} positions leaves {type(self.network).__name__} as it "
                "is: tiles cannot equal it; give halo and divisor to accept a difference."
            )
        return divisor


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode, without which NaN would stay in running statistics."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
