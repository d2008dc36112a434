from .segan import SegAN

__all__ = [
    "SegAN",
]
