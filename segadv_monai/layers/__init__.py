from .initialization import initialize_fan_out
from .pair import check_pair
from .scaled_logistic import ScaledLogistic

__all__ = ["ScaledLogistic", "check_pair", "initialize_fan_out"]
