from .announce import Announce
from .best_model import BestModel
from .case_report import CaseReport
from .checkpoint import Checkpoint, LoadModel, load_weights, unwrapped
from .events import CriticEvents
from .finite_loss import FiniteLoss
from .history import History, TensorBoard
from .overlap import Overlap
from .preview import Preview
from .progress import Progress
from .schedules import CosineDecay, EpochSeed, ScaledLogisticSchedule, StepDecay
from .standard import StandardHandlers, standard_handlers
from .weight_clip import WeightClip

__all__ = [
    "Announce",
    "BestModel",
    "CaseReport",
    "Checkpoint",
    "CosineDecay",
    "CriticEvents",
    "EpochSeed",
    "FiniteLoss",
    "History",
    "LoadModel",
    "Overlap",
    "Preview",
    "Progress",
    "ScaledLogisticSchedule",
    "StandardHandlers",
    "StepDecay",
    "TensorBoard",
    "WeightClip",
    "load_weights",
    "standard_handlers",
    "unwrapped",
]
