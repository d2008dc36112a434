from .luc import LucCritic, LucTwoBranchCritic
from .patch import PatchCritic
from .segan import SegANCritic

__all__ = ["LucCritic", "LucTwoBranchCritic", "PatchCritic", "SegANCritic"]
