"""Where tiles lie along the axes of an image, so that every position is taken from exactly one of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Fit", "Tiling", "valid_fit"]

_LARGEST_INPUT = 2048


@dataclass(frozen=True, slots=True)
class Fit:
    """What a network takes and gives along one axis.

    A tile of ``smallest + n * divisor`` positions gives ``tile - before - after``; only tiles whose starts
    differ by multiples of ``divisor`` see the same pooled positions as the whole image would show.

    Args:
        smallest: tile that the network takes.
        divisor: between tiles that it takes, and between starts.
        before: positions of a tile before the first that it gives.
        after: positions of a tile after the last that it gives.
        cropped: whether the network itself leaves them out.
    """

    smallest: int
    divisor: int
    before: int
    after: int
    cropped: bool

    def tile_for(self, wanted: int) -> int:
        """The smallest tile that gives that many positions.

        Args:
            wanted: positions.
        """
        missing = max(wanted + self.before + self.after - self.smallest, 0)
        return self.smallest + -(-missing // self.divisor) * self.divisor

    def tile_within(self, limit: int) -> int:
        """The largest tile that is not longer.

        Args:
            limit: positions.
        """
        return self.smallest + (limit - self.smallest) // self.divisor * self.divisor

    def least(self, length: int) -> int:
        """The smallest tile by which an image can be tiled.

        Args:
            length: of the image.
        """
        return self.tile_for(min(self.divisor, length))


@dataclass(frozen=True, slots=True)
class Tiling:
    """Tiles along one axis.

    Args:
        fit: of the network.
        length: of the image.
        tile: positions of the image, mirrored at its ends, that one tile shows.
        step: positions that are taken from one tile.
        count: tiles.
    """

    fit: Fit
    length: int
    tile: int
    step: int
    count: int

    @classmethod
    def within(cls, fit: Fit, length: int, *, limit: int) -> "Tiling":
        """The fewest tiles that are not longer than a limit, each no longer than it has to be.

        Args:
            fit: of the network.
            length: of the image.
            limit: longest tile; at least ``fit.least(length)``.
        """
        given = fit.tile_within(limit) - fit.before - fit.after
        if given >= length:
            return cls(fit, length, fit.tile_for(length), length, 1)
        count = -(-length // (given // fit.divisor * fit.divisor))
        step = -(-length // (count * fit.divisor)) * fit.divisor
        return cls(fit, length, fit.tile_for(step), step, -(-length // step))

    def source(self, i: int) -> list[int]:
        """Positions of the image that a tile shows: beyond an end they go back, as often as is needed.

        Args:
            i: which tile.
        """
        start = i * self.step - self.fit.before
        period = max(2 * self.length - 2, 1)
        folded = [position % period for position in range(start, start + self.tile)]
        return [min(position, period - position) if self.length > 1 else 0 for position in folded]

    def target(self, i: int) -> slice:
        """Positions of the image that are taken from a tile.

        Args:
            i: which tile.
        """
        return slice(i * self.step, min((i + 1) * self.step, self.length))

    def taken(self, i: int) -> slice:
        """The same positions in the output of the network.

        Args:
            i: which tile.
        """
        wanted, first = self.target(i), 0 if self.fit.cropped else self.fit.before
        return slice(first, first + wanted.stop - wanted.start)


def valid_fit(output_size: Callable[[Sequence[int]], Sequence[int]], spatial_dims: int) -> tuple[Fit, ...]:
    """What a network of valid convolutions takes and gives, asked of the network itself.

    Args:
        output_size: of the network: from the size of an image to that of its logits; ValueError where the
            image does not fit.
        spatial_dims: axes of the image.

    Raises:
        ValueError: no two sizes with equal axes fit.
    """

    def output(size: list[int]) -> list[int]:
        try:
            found = list(output_size(size))
        except ValueError:
            return []
        return found if min(found) > 0 else []

    sizes = range(1, _LARGEST_INPUT + 1)
    smallest = next((n for n in sizes if output([n] * spatial_dims)), None)
    if smallest is None:
        raise ValueError(f"output_size refuses every size with equal axes up to {_LARGEST_INPUT}.")
    fits = []
    for axis in range(spatial_dims):
        size = [smallest] * spatial_dims
        lost = size[axis] - output(size)[axis]
        larger = range(smallest + 1, 2 * _LARGEST_INPUT)
        following = next((n for n in larger if output([*size[:axis], n, *size[axis + 1 :]])), None)
        if following is None:
            raise ValueError(f"output_size takes {smallest} along axis {axis} and nothing larger.")
        fits.append(Fit(smallest, following - smallest, lost // 2, lost - lost // 2, cropped=True))
    return tuple(fits)
