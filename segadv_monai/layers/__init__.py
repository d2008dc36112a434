from .initialization import initialize_fan_out
from .pair import check_pair
from .predicted_maps import predicted_maps
from .scaled_logistic import ScaledLogistic
from .score import score_of
from .spectral_norm import spectral_norm

__all__ = [
    "ScaledLogistic",
    "check_pair",
    "initialize_fan_out",
    "predicted_maps",
    "score_of",
    "spectral_norm",
]
