from .initialization import initialize_fan_out
from .scaled_logistic import ScaledLogistic

__all__ = ["ScaledLogistic", "initialize_fan_out"]
