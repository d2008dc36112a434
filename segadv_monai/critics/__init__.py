from .asdnet import ASDNetCritic
from .luc import LucCritic, LucTwoBranchCritic
from .patch import PatchCritic
from .segan import SegANCritic

__all__ = [
    "ASDNetCritic",
    "LucCritic",
    "LucTwoBranchCritic",
    "PatchCritic",
    "SegANCritic",
]
