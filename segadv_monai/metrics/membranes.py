"""What the EM segmentation challenge says of one section: objects after thinning, warping, pixels.

Arganda-Carreras et al. (Frontiers in Neuroanatomy 2015): borders of the prediction are thinned to one pixel,
so that their width does not count, and the objects that hang together by edges are compared with those of the
reference inside the reference's cells. The thinning is ours, see :mod:`segadv_monai.metrics.simple_points`.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from .clustering import ClusteringScores, clustering_scores
from .simple_points import Mask, thinned_borders

__all__ = ["membrane_scores", "pixel_error"]


def membrane_scores(prediction: Mask, reference: Mask) -> ClusteringScores:
    """Rand and information scores of cells that borders part.

    Args:
        prediction: ``(H, W)``, greater than 0 inside a cell, 0 on a border.
        reference: mask of the same shape.

    Raises:
        DataError: the reference has no cell; a mask has not two dimensions; the shapes differ.
    """
    said = ndimage.label(thinned_borders(prediction))[0]
    true = ndimage.label(_inside(reference))[0]
    return clustering_scores(said, true)


def pixel_error(prediction: Mask, reference: Mask) -> float:
    """Part of the pixels in which two masks differ, borders as they are.

    Args:
        prediction: of any dimensions, greater than 0 inside a cell.
        reference: mask of the same shape.
    """
    return float((_inside(prediction) != _inside(reference)).mean())


def _inside(mask: Mask) -> NDArray[np.bool_]:
    return np.asarray(mask.cpu() if isinstance(mask, Tensor) else mask) > 0
