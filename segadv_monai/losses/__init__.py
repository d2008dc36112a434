from .multi_scale_l1 import MultiScaleL1Loss, ReleasedMultiScaleL1Loss

__all__ = ["MultiScaleL1Loss", "ReleasedMultiScaleL1Loss"]
