from .border_weight import BorderWeightMap, BorderWeightMapd
from .classes import ClassesToLabeld, ClearIgnoredd
from .coarse_elastic import RandCoarseElastic, RandCoarseElasticd
from .ensembles import LargerMask, LargerMaskd, MaskUnion, MaskUniond, SmallerMask, SmallerMaskd
from .field_of_view import FieldOfViewd
from .instances import ForegroundToInstancesd, InstancesToForegroundd
from .regions import LabelToRegionsd, RegionsToLabel, RegionsToLabeld
from .shades_of_grey import ShadesOfGrey, ShadesOfGreyd

__all__ = [
    "BorderWeightMap",
    "BorderWeightMapd",
    "ClassesToLabeld",
    "ClearIgnoredd",
    "FieldOfViewd",
    "ForegroundToInstancesd",
    "InstancesToForegroundd",
    "LabelToRegionsd",
    "LargerMask",
    "LargerMaskd",
    "MaskUnion",
    "MaskUniond",
    "RandCoarseElastic",
    "RandCoarseElasticd",
    "RegionsToLabel",
    "RegionsToLabeld",
    "ShadesOfGrey",
    "ShadesOfGreyd",
    "SmallerMask",
    "SmallerMaskd",
]
