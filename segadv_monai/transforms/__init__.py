from .regions import LabelToRegionsd, RegionsToLabel, RegionsToLabeld

__all__ = ["LabelToRegionsd", "RegionsToLabel", "RegionsToLabeld"]
