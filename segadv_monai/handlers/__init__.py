from .announce import Announce
from .best_model import BestModel
from .case_measures import CaseMeasures
from .case_report import CaseReport
from .checkpoint import Checkpoint
from .events import CriticEvents
from .finite import Finite
from .history import History, TensorBoard
from .overlap import Overlap
from .preview import Preview
from .progress import Progress
from .schedules import CosineDecay, ScaledLogisticSchedule, Seeding, StepDecay
from .standard import StandardHandlers, standard_handlers
from .stop import Stop
from .weight_clip import WeightClip
from .weights import LoadModel, load_weights, unwrapped

__all__ = [
    "Announce",
    "BestModel",
    "CaseMeasures",
    "CaseReport",
    "Checkpoint",
    "CosineDecay",
    "CriticEvents",
    "Finite",
    "History",
    "LoadModel",
    "Overlap",
    "Preview",
    "Progress",
    "ScaledLogisticSchedule",
    "Seeding",
    "StandardHandlers",
    "StepDecay",
    "Stop",
    "TensorBoard",
    "WeightClip",
    "load_weights",
    "standard_handlers",
    "unwrapped",
]
