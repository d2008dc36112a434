from .convolution_pair import ConvolutionPair
from .he_initialization import initialize_he
from .initialization import initialize_fan_out
from .pair import check_pair
from .predicted_maps import predicted_maps
from .projection import project
from .reversible import ReversibleBlock, ReversibleSequence
from .scaled_logistic import ScaledLogistic
from .score import score_of
from .spectral_norm import spectral_norm
from .u_shape import UShape
from .valid_grid import centre_crop, check_valid_size, fitting_size, total_loss
from .with_features import WithFeatures
from .wrapped import unwrapped

__all__ = [
    "ConvolutionPair",
    "ReversibleBlock",
    "ReversibleSequence",
    "ScaledLogistic",
    "UShape",
    "WithFeatures",
    "centre_crop",
    "check_pair",
    "check_valid_size",
    "fitting_size",
    "initialize_fan_out",
    "initialize_he",
    "predicted_maps",
    "project",
    "score_of",
    "spectral_norm",
    "total_loss",
    "unwrapped",
]
