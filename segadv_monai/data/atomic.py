"""Files that appear complete or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["atomic_write"]


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Give a draft to write to; when the block ends well, it is flushed and takes the file's place.

    A block that fails, or a process that is killed in it, leaves the file as it was; the draft of a killed
    process is overwritten by the next.

    Args:
        path: the file; its folder is made if it is not there. The draft beside it has the same suffix.

    Raises:
        OSError: the folder or the file cannot be written.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.parent / f".draft-{target.name}"
    try:
        yield draft
        _flush(draft)
        draft.replace(target)
        _flush(target.parent)
    finally:
        draft.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Without this, a power cut may leave the new name with no content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
