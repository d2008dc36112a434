from .asdnet import ASDNet
from .genseg import GenSeg
from .luc import Luc
from .projective import Projective
from .segan import SegAN
from .textbook import Hinge, LeastSquares, Minimax, NonSaturating, Wasserstein

__all__ = [
    "ASDNet",
    "GenSeg",
    "Hinge",
    "LeastSquares",
    "Luc",
    "Minimax",
    "NonSaturating",
    "Projective",
    "SegAN",
    "Wasserstein",
]
