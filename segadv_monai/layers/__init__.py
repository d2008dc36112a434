from .initialization import initialize_fan_out
from .pair import check_pair
from .scaled_logistic import ScaledLogistic
from .score import score_of

__all__ = ["ScaledLogistic", "check_pair", "initialize_fan_out", "score_of"]
