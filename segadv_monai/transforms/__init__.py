from .classes import ClassesToLabeld, ClearIgnoredd
from .field_of_view import FieldOfViewd
from .regions import LabelToRegionsd, RegionsToLabel, RegionsToLabeld

__all__ = [
    "ClassesToLabeld",
    "ClearIgnoredd",
    "FieldOfViewd",
    "LabelToRegionsd",
    "RegionsToLabel",
    "RegionsToLabeld",
]
