from .class_cross_entropy import ClassCrossEntropy
from .multi_scale_l1 import MultiScaleL1Loss, ReleasedMultiScaleL1Loss
from .sample_attention import SampleAttentionLoss

__all__ = [
    "ClassCrossEntropy",
    "MultiScaleL1Loss",
    "ReleasedMultiScaleL1Loss",
    "SampleAttentionLoss",
]
