from .overlap_tile import OverlapTileInferer
from .receptive_field import ReceptiveField, receptive_field
from .streaming import StreamingSlidingWindow
from .symmetries import SymmetryInferer

__all__ = [
    "OverlapTileInferer",
    "ReceptiveField",
    "StreamingSlidingWindow",
    "SymmetryInferer",
    "receptive_field",
]
