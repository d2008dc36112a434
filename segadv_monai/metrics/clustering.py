"""Scores of the EM segmentation challenge (Arganda-Carreras et al., Frontiers in Neuroanatomy 2015).

With ``p_ij`` the part of the reference's foreground that object i of the prediction shares with object j of
the reference, ``s_i`` and ``t_j`` its sums over j and i:

- ``rand``: ``sum p_ij^2 / (sum s_i^2 + sum t_j^2) * 2``; ``rand_split`` divides by ``sum t_j^2`` and falls
  where objects are split, ``rand_merge`` by ``sum s_i^2`` and falls where they are merged.
- ``info``: ``2 I / (H(s) + H(t))`` with the mutual information of the two; ``info_split`` is ``I / H(s)``,
  ``info_merge`` is ``I / H(t)``.

The mixing parameter of the paper is 1/2. By our reading, background of the prediction inside the foreground
of the reference counts as objects of one position each. Information over no entropy is 1: who has one object
can neither split nor merge it.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segadv_monai.protocols import DataError

from .contingency import Objects, contingency

__all__ = ["ClusteringScores", "clustering_scores"]


class ClusteringScores(NamedTuple):
    """How well the objects of a prediction are those of its reference; 1 is perfect, 0 the other end.

    Args:
        rand: V_rand, the foreground-restricted Rand score.
        rand_split: its part that splits lower.
        rand_merge: its part that mergers lower.
        info: V_info, the information theoretic score.
        info_split: its part that splits lower.
        info_merge: its part that mergers lower.
    """

    rand: float
    rand_split: float
    rand_merge: float
    info: float
    info_split: float
    info_merge: float


def clustering_scores(prediction: Objects, reference: Objects) -> ClusteringScores:
    """Rand and information scores over the positions that the reference has in an object.

    Args:
        prediction: map of objects by number, of any dimensions; 0 is the border between them.
        reference: map of the same shape; its positions of 0 count nowhere.

    Raises:
        DataError: the reference has no object; the shapes differ; a number is not whole or less than 0.
    """
    pairs = contingency(prediction, reference)
    inside = pairs.referred > 0
    common = pairs.common[inside].astype(float)
    total = common.sum()
    if not total > 0:
        raise DataError("the reference has no object, so there is nothing to compare: leave the case out.")
    predicted, referred = pairs.predicted[inside], pairs.referred[inside]
    alone = common[predicted == 0].sum()
    joint = common[predicted > 0]
    said = _sums(predicted[predicted > 0], joint)
    true = _sums(referred, common)
    squares = [(x**2).sum() for x in (joint, said, true)]
    # Each position alone is an object of size 1.
    agreed, in_said, in_true = squares[0] + alone, squares[1] + alone, squares[2]
    entropy = [_entropy(x, total) for x in (joint, said, true)]
    shared = max(0.0, entropy[1] + entropy[2] - entropy[0])
    return ClusteringScores(
        rand=float(2 * agreed / (in_said + in_true)),
        rand_split=float(agreed / in_true),
        rand_merge=float(agreed / in_said),
        info=_ratio(2 * shared, entropy[1] + entropy[2]),
        info_split=_ratio(shared, entropy[1]),
        info_merge=_ratio(shared, entropy[2]),
    )


def _sums(numbers: NDArray[np.int64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Size of each object."""
    places = np.unique(numbers, return_inverse=True)[1]
    return np.bincount(places, weights=sizes).astype(float)


def _entropy(sizes: NDArray[np.float64], total: float) -> float:
    """Of a partition in objects of these sizes; what is missing of the total are objects of size 1."""
    return float(np.log(total) - (sizes * np.log(sizes)).sum() / total)


def _ratio(information: float, entropy: float) -> float:
    # Below rounding there is one object alone.
    return min(1.0, information / entropy) if entropy > 1e-12 else 1.0
