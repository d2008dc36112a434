from .border_weight import BorderWeightMap, BorderWeightMapd
from .classes import ClassesToLabeld, ClearIgnoredd
from .cleaning import CLEANINGS, CleanLabelsd, CleanRegions, CleanRegionsd
from .coarse_elastic import RandCoarseElastic, RandCoarseElasticd
from .ensembles import LargerMask, LargerMaskd, MaskUnion, MaskUniond, SmallerMask, SmallerMaskd
from .field_of_view import FieldOfViewd
from .image_grid import ToImageGridd
from .instances import ForegroundToInstancesd, InstancesToForegroundd
from .masked_normalization import NormalizeInMask, NormalizeInMaskd
from .regions import LabelToRegionsd, RegionsToLabel, RegionsToLabeld
from .shades_of_grey import ShadesOfGrey, ShadesOfGreyd
from .window_hu import HU_WINDOWS, WindowHU, WindowHUd

__all__ = [
    "CLEANINGS",
    "HU_WINDOWS",
    "BorderWeightMap",
    "BorderWeightMapd",
    "ClassesToLabeld",
    "CleanLabelsd",
    "CleanRegions",
    "CleanRegionsd",
    "ClearIgnoredd",
    "FieldOfViewd",
    "ForegroundToInstancesd",
    "InstancesToForegroundd",
    "LabelToRegionsd",
    "LargerMask",
    "LargerMaskd",
    "MaskUnion",
    "MaskUniond",
    "NormalizeInMask",
    "NormalizeInMaskd",
    "RandCoarseElastic",
    "RandCoarseElasticd",
    "RegionsToLabel",
    "RegionsToLabeld",
    "ShadesOfGrey",
    "ShadesOfGreyd",
    "SmallerMask",
    "SmallerMaskd",
    "ToImageGridd",
    "WindowHU",
    "WindowHUd",
]
