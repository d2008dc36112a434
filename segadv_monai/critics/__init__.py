from .asdnet import ASDNetCritic
from .genseg import GenSegCritic
from .luc import LucCritic, LucTwoBranchCritic
from .patch import PatchCritic
from .projective import ProjectiveCritic
from .segan import SegANCritic

__all__ = [
    "ASDNetCritic",
    "GenSegCritic",
    "LucCritic",
    "LucTwoBranchCritic",
    "PatchCritic",
    "ProjectiveCritic",
    "SegANCritic",
]
