from .class_cross_entropy import ClassCrossEntropy
from .multi_scale_l1 import MultiScaleL1Loss, ReleasedMultiScaleL1Loss
from .pixel_weighted_cross_entropy import PixelWeightedCrossEntropy
from .sample_attention import SampleAttentionLoss
from .weighted_sum import WeightedSum

__all__ = [
    "ClassCrossEntropy",
    "MultiScaleL1Loss",
    "PixelWeightedCrossEntropy",
    "ReleasedMultiScaleL1Loss",
    "SampleAttentionLoss",
    "WeightedSum",
]
