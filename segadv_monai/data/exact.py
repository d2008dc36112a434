"""Values of an image from a stream: as many as its header declares, no more and no fewer."""

import io
import zlib
from collections.abc import Sequence
from math import prod
from typing import Any, BinaryIO, Protocol, final

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["Inflated", "Readable", "read_exactly", "skip"]

# A larger piece would take memory for bytes that turn out not to be there.
_PIECE = 1 << 20


class Readable(Protocol):
    """What values are read from: a file, a decompressed one."""

    def read(self, size: int, /) -> bytes: ...


@final
class Inflated(io.RawIOBase):
    """What a zlib stream holds, as a file to read; its checksum is compared at the end.

    Args:
        file: open, at the stream's first byte.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._stream = zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any, /) -> int:
        piece = b""
        while not piece and not self._stream.eof:
            packed = self._stream.unconsumed_tail or self._file.read(_PIECE)
            if not packed:
                raise EOFError("the compressed data end too early")
            piece = self._stream.decompress(packed, len(target))
        if not piece and (self._stream.unused_data or self._file.read(1)):
            raise ValueError("there are bytes behind the compressed data")
        target[: len(piece)] = piece
        return len(piece)


def read_exactly(stream: Readable, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
    """Read an array whose first axis runs fastest, and see that the stream ends there.

    Memory is used as far as bytes have come, not as far as a header promises them.

    Args:
        stream: open, at the first value.
        shape: of the array.
        dtype: of a value, with its byte order.

    Raises:
        EOFError: the stream ends before.
        ValueError: it goes on behind.
    """
    values = np.empty(prod(shape), dtype)
    target = values.view(np.uint8)
    done = 0
    while done < len(target):
        piece = stream.read(min(_PIECE, len(target) - done))
        if not piece:
            raise EOFError(f"{done} of {len(target)} bytes are there")
        target[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
        done += len(piece)
    if stream.read(1):
        raise ValueError(f"there are more than the {len(target)} bytes that its header declares")
    return values.reshape(shape, order="F")


def skip(stream: Readable, count: int) -> None:
    """Read over bytes without keeping them.

    Args:
        stream: open.
        count: how many.

    Raises:
        EOFError: the stream ends before.
    """
    while count > 0:
        piece = stream.read(min(_PIECE, count))
        if not piece:
            raise EOFError(f"{count} bytes are missing before the values")
        count -= len(piece)
