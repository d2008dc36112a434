from .segan import SegANCritic

__all__ = ["SegANCritic"]
