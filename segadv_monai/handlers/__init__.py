from .announce import Announce
from .best_model import BestModel
from .case_measures import CaseMeasures
from .case_report import CaseReport
from .checkpoint import Checkpoint
from .class_overlap import ClassOverlap, ClassReport
from .cleaning_choice import CleaningChoice
from .events import CriticEvents
from .exponential_average import ExponentialAverage
from .finite import BatchLeftOutError, Finite
from .game_health import GameHealth
from .gradient_clip import GradientClip
from .history import History, TensorBoard
from .instance_measures import CellMeasures, MembraneMeasures
from .overlap import Overlap
from .preview import Preview
from .progress import Progress
from .ramp import Ramp
from .schedules import CosineDecay, ScaledLogisticSchedule, Seeding, StepDecay
from .standard import StandardHandlers, standard_handlers
from .stop import Stop
from .vessel_measures import VesselMeasures
from .weight_clip import WeightClip
from .weights import LoadModel, load_weights

__all__ = [
    "Announce",
    "BatchLeftOutError",
    "BestModel",
    "CaseMeasures",
    "CaseReport",
    "CellMeasures",
    "Checkpoint",
    "ClassOverlap",
    "ClassReport",
    "CleaningChoice",
    "CosineDecay",
    "CriticEvents",
    "ExponentialAverage",
    "Finite",
    "GameHealth",
    "GradientClip",
    "History",
    "LoadModel",
    "MembraneMeasures",
    "Overlap",
    "Preview",
    "Progress",
    "Ramp",
    "ScaledLogisticSchedule",
    "Seeding",
    "StandardHandlers",
    "StepDecay",
    "Stop",
    "TensorBoard",
    "VesselMeasures",
    "WeightClip",
    "load_weights",
    "standard_handlers",
]
