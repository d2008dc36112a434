"""Objects of a prediction against those of a reference, as the Cell Tracking Challenge counts them.

SEG (Maska et al., Bioinformatics 2014): an object of the reference is found by the object of the prediction
that covers more than half of it, of which there is one at most, and has their Jaccard index; an object that
is not found has 0. SEG is the mean over the objects of the reference.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .contingency import Objects, contingency

__all__ = ["InstanceScores", "instance_scores"]


class InstanceScores(NamedTuple):
    """What became of the objects of a reference.

    Args:
        jaccard: of each object of the reference, in the order of their numbers; 0 if it is missed.
        extra: number of objects of the prediction that find none.
    """

    jaccard: NDArray[np.float64]
    extra: int

    @property
    def seg(self) -> float:
        """Mean over the objects of the reference; ``nan`` if there is none."""
        return float(self.jaccard.mean()) if self.jaccard.size else float("nan")

    @property
    def missed(self) -> int:
        """Number of objects of the reference that none of the prediction covers by more than half."""
        return int((self.jaccard == 0).sum())


def instance_scores(prediction: Objects, reference: Objects) -> InstanceScores:
    """Jaccard index of every object of the reference, and how many of the prediction are too many.

    Args:
        prediction: map of objects by number, of any dimensions; 0 is the background.
        reference: map of the same shape.

    Raises:
        DataError: the shapes differ; a number is not whole or less than 0.
    """
    pairs = contingency(prediction, reference)
    said, places = np.unique(pairs.predicted, return_inverse=True)
    true, others = np.unique(pairs.referred, return_inverse=True)
    sizes = np.bincount(places, weights=pairs.common), np.bincount(others, weights=pairs.common)
    both = (pairs.predicted > 0) & (pairs.referred > 0)
    found = both & (2 * pairs.common > sizes[1][others])
    jaccard = np.zeros(true.size)
    union = sizes[0][places] + sizes[1][others] - pairs.common
    jaccard[others[found]] = (pairs.common / union)[found]
    objects = int((said > 0).sum())
    return InstanceScores(jaccard[true > 0], objects - np.unique(pairs.predicted[found]).size)
