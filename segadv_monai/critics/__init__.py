from .asdnet import ASDNetCritic
from .luc import LucCritic, LucTwoBranchCritic
from .patch import PatchCritic
from .projective import ProjectiveCritic
from .segan import SegANCritic

__all__ = [
    "ASDNetCritic",
    "LucCritic",
    "LucTwoBranchCritic",
    "PatchCritic",
    "ProjectiveCritic",
    "SegANCritic",
]
