from .overlap import OverlapMetric, both_empty, dice_score, jaccard_index, missed

__all__ = ["OverlapMetric", "both_empty", "dice_score", "jaccard_index", "missed"]
