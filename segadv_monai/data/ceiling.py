"""How large an image may be: what its header declares is judged before memory is taken for it."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from pathlib import Path
from threading import Condition
from typing import final

from segadv_monai.protocols import ConfigError, DataError

__all__ = ["Room", "check_declared", "most_bytes"]

_VARIABLE = "SEGADV_MAX_IMAGE_GIB"
_DEFAULT_GIB = 4.0


def most_bytes() -> int:
    """The most bytes that the values of one image may take: ``SEGADV_MAX_IMAGE_GIB``, else 4 GiB.

    Raises:
        ConfigError: the variable holds no number greater than 0.
    """
    told = os.environ.get(_VARIABLE, "")
    try:
        gib = float(told) if told else _DEFAULT_GIB
    except ValueError:
        gib = 0.0
    if not 0 < gib < float("inf"):
        raise ConfigError(f"{_VARIABLE} is {told!r}: set it to a number of GiB greater than 0, or unset it.")
    return int(gib * 2**30)


def check_declared(path: str | Path, shape: Sequence[int], bytes_per_value: int) -> int:
    """Refuse an image whose header declares no size, or more than :func:`most_bytes`.

    Within :meth:`Room.share` it waits until there is room for the image.

    Args:
        path: the file, for the message.
        shape: declared length of every axis, channels and frames included.
        bytes_per_value: of a value as it is stored.

    Returns:
        the bytes that are declared.

    Raises:
        DataError: a length is less than 1, or all together are too large.
    """
    told = " x ".join(str(length) for length in shape)
    if not shape or min(shape) < 1:
        raise DataError(
            f"{path} declares the size {told or 'of nothing'}: mend its header or export it again."
        )
    declared = prod(int(length) for length in shape) * bytes_per_value
    if declared > most_bytes():
        raise DataError(
            f"{path} declares {told} values, {declared / 2**30:.3g} GiB, and {most_bytes() / 2**30:g} GiB "
            f"are allowed: mend its header, or set {_VARIABLE} if it is right."
        )
    if share := _SHARE.get():
        share.resize(declared)
    return declared


@final
class Room:
    """Memory for the images that several threads read at a time: as much as one may take."""

    def __init__(self) -> None:
        self.changed = Condition()
        self.taken = 0

    @contextmanager
    def share(self) -> Iterator[None]:
        """Count what this thread reads in the block, one image, against the room."""
        mine = _Share(self)
        token = _SHARE.set(mine)
        try:
            yield
        finally:
            _SHARE.reset(token)
            mine.resize(0)


class _Share:
    def __init__(self, room: Room) -> None:
        self.room = room
        self.held = 0

    def resize(self, count: int) -> None:
        """Give back before asking for more, so that two never wait for each other."""
        room = self.room
        with room.changed:
            room.taken -= self.held
            room.changed.notify_all()
            room.changed.wait_for(lambda: room.taken + count <= most_bytes() or not room.taken)
            room.taken += count
            self.held = count


_SHARE: ContextVar[_Share | None] = ContextVar("_SHARE", default=None)
