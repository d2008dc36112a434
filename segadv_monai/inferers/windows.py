"""Windows over an image as MONAI's sliding window lays them, in the order in which a slab is finished."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from torch import Tensor
from torch.nn import functional

__all__ = ["Place", "Windows", "padded"]

# The case and the first position of a window along each axis.
Place = tuple[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Windows:
    """Where windows lie.

    Args:
        size: of a window.
        starts: ascending, for each axis.
        axis: along which slabs are finished.
    """

    size: tuple[int, ...]
    starts: tuple[tuple[int, ...], ...]
    axis: int

    @classmethod
    def over(
        cls, lengths: Sequence[int], size: Sequence[int], overlap: Sequence[float], *, axis: int | None
    ) -> "Windows":
        """Windows over an image that is nowhere shorter than one.

        Args:
            lengths: of the image.
            size: of a window.
            overlap: share of a window that its neighbour sees too, for each axis.
            axis: along which slabs are finished; the longest by default.
        """
        starts = tuple(_starts(*each) for each in zip(lengths, size, overlap, strict=True))
        longest = max(range(len(lengths)), key=lambda i: lengths[i]) if axis is None else axis
        return cls(tuple(size), starts, longest % len(lengths))

    def __len__(self) -> int:
        count = 1
        for starts in self.starts:
            count *= len(starts)
        return count

    def places(self, cases: int) -> Iterator[Place]:
        """All windows of all cases, slab by slab.

        Args:
            cases: in the batch.
        """
        others = self.starts[: self.axis] + self.starts[self.axis + 1 :]
        for case in range(cases):
            for start in self.starts[self.axis]:
                for rest in product(*others):
                    yield case, (*rest[: self.axis], start, *rest[self.axis :])

    def of(self, image: Tensor, place: Place) -> Tensor:
        """What a window shows, ``(C, *size)``.

        Args:
            image: ``(B, C, *S)``.
            place: of the window.
        """
        case, starts = place
        window = image[case]
        for i, (start, length) in enumerate(zip(starts, self.size, strict=True), 1):
            window = window.narrow(i, start, length)
        return window

    def nearest(self, i: int, start: int) -> tuple[int, int]:
        """Positions along an axis that are nearer to the centre of this window than to any other's.

        Args:
            i: the axis.
            start: of the window.
        """
        starts, size = self.starts[i], self.size[i]
        number = starts.index(start)
        first = start if number == 0 else (starts[number - 1] + start + size) // 2
        is_last = number == len(starts) - 1
        return first, start + size if is_last else (start + starts[number + 1] + size) // 2


def padded(
    image: Tensor, size: Sequence[int], mode: str, value: float
) -> tuple[Tensor, tuple[tuple[int, int], ...]]:
    """The image, nowhere shorter than a window, and where it lies in itself: start and stop of each axis.

    Args:
        image: ``(B, C, *S)``.
        size: of a window.
        mode: of :func:`torch.nn.functional.pad`.
        value: for the mode ``constant``.
    """
    lengths = image.shape[2:]
    missing = [max(wanted - length, 0) for wanted, length in zip(size, lengths, strict=True)]
    inside = tuple((lack // 2, lack // 2 + length) for lack, length in zip(missing, lengths, strict=True))
    if any(missing):
        sides = [side for lack in reversed(missing) for side in (lack // 2, lack - lack // 2)]
        image = functional.pad(image, sides, mode=mode, value=value if mode == "constant" else None)
    return image, inside


def _starts(length: int, size: int, overlap: float) -> tuple[int, ...]:
    step = max(int(size * (1 - overlap)), 1) if size < length else size
    count = -(-(length - size) // step) + 1
    return tuple(min(i * step, length - size) for i in range(count))
