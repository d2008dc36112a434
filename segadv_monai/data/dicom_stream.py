"""The bytes of a DICOM file: read in bounded memory, inflated to a limit, followed to the end of the pixels.

What a header declares is judged here before anything is taken for it: pydicom would ask for as many bytes as
an element declares, inflate whatever it is given, and read items until there are no more.
"""

import io
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from segadv_monai.protocols import DataError

from .ceiling import most_bytes

__all__ = ["BoundedReader", "DeflatedError", "inflated", "pixels_at"]

# The groups of some thousand frames take a few MiB; what is skipped unread does not count.
_MOST_READ = 8 * 2**20
_UNDEFINED = 0xFFFFFFFF
_PIXEL_DATA = 0x7FE00010
_ITEM, _END = 0xFFFEE000, 0xFFFEE0DD


class DeflatedError(Exception):
    """The file goes on deflated."""


class BoundedReader(io.BufferedReader):
    """Reads no further than the file goes, whatever length an element declares, and only so much in all.

    Args:
        raw: the file, open for reading and not buffered.
        size: how many bytes it has.
    """

    def __init__(self, raw: Any, size: int) -> None:
        super().__init__(raw)
        self._size = size
        self._left = _MOST_READ

    def read(self, size: int | None = -1, /) -> bytes:
        """Read bytes; all of them is what pydicom asks for to inflate them at once."""
        if size is None or size < 0:
            raise DeflatedError
        size = max(0, min(size, self._size - self.tell()))
        self._left -= size
        return super().read(size) if self._left >= 0 else b""

    def check(self, path: Path) -> None:
        """Refuse a file whose header went on for longer than is read.

        Args:
            path: the file, for the message.

        Raises:
            DataError: more was asked for than a header takes.
        """
        if self._left < 0:
            raise DataError(
                f"{path} has a header of more than {_MOST_READ // 2**20} MiB: mend it or export it again."
            )


def inflated(path: Path, start: int) -> bytes:
    """Inflate a data set, up to half the ceiling, as what is decoded from it takes memory, too.

    Args:
        path: the file.
        start: where its deflated data set begins.

    Raises:
        DataError: it is larger.
        EOFError: it was cut short.
    """
    most = most_bytes() // 2
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    content = inflater.decompress(path.read_bytes()[start:], most)
    if len(content) >= most:
        raise DataError(f"{path} inflates to more than {most / 2**30:g} GiB: export it without deflation.")
    if not inflater.eof:
        raise EOFError("the deflated data have no end")
    return content


def pixels_at(file: BinaryIO, *, implicit: bool, little: bool) -> tuple[int, int, bool]:
    """Where PixelData starts, how long it is, and whether it is compressed.

    Args:
        file: at the tag of its pixels, or at its end.
        implicit: whether its elements do not name their kinds.
        little: whether its numbers start with the lowest byte.

    Returns:
        the offset of the value; its bytes, without the marks between compressed frames, -1 where there is no
        PixelData; whether it is a sequence of compressed frames.

    Raises:
        EOFError: the pixels were cut short.
    """
    order = "<" if little else ">"
    head = file.read(8)
    if len(head) < 8 or _tag(head, order) != _PIXEL_DATA:
        return 0, -1, False
    told = head[4:] if implicit else file.read(4)
    length = struct.unpack(f"{order}I", told)[0]
    offset = file.tell()
    if length == _UNDEFINED:
        return offset, _frames_length(file), True
    if file.seek(0, io.SEEK_END) < offset + length:
        raise EOFError("the pixels are cut short")
    return offset, length, False


def _frames_length(file: BinaryIO) -> int:
    """Follow the items of compressed pixels to the mark of their end."""
    total = 0
    while True:
        head = file.read(8)
        tag, length = _tag(head, "<"), int.from_bytes(head[4:], "little")
        if tag == _END:
            return total
        if tag != _ITEM or length == _UNDEFINED:
            raise EOFError("the frames have no end")
        total += length
        file.seek(length, io.SEEK_CUR)


def _tag(head: bytes, order: str) -> int:
    group, element = struct.unpack(f"{order}HH", head[:4])
    return int(group) << 16 | int(element)
