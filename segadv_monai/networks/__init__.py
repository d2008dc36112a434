from .noise_generator import NoiseGenerator
from .segan import SegAN

__all__ = [
    "NoiseGenerator",
    "SegAN",
]
