"""Where this package keeps what it can make again."""

import os
from pathlib import Path

__all__ = ["cache_dir"]


def cache_dir() -> Path:
    """The folder ``SEGADV_CACHE`` or, if that is not set, ``segadv_monai`` in the user's cache."""
    own = os.environ.get("SEGADV_CACHE")
    folder = Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "segadv_monai"
    return folder.expanduser().absolute()
