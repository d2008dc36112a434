"""What probabilities are worth before a threshold is chosen, and what the best threshold would give.

All numbers come from one exact count, in which equal probabilities are one step. The area under the ROC curve
is that of straight lines between the steps, which is the probability that a true pixel has the higher value,
ties counting half. Average precision is the sum over the steps of precision times gain in recall; straight
lines between the steps of a precision-recall curve would promise more than any threshold gives (Davis and
Goadrich, ICML 2006). MONAI 1.6's ``compute_roc_auc`` agrees with the former and loops over the pixels.

Otsu's threshold is computed from the probabilities alone (Otsu, IEEE Trans. SMC 1979).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from segadv_monai.protocols import DataError

__all__ = ["Ranking", "average_precision", "best_dice", "otsu_threshold", "rank", "roc_auc"]


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """How many pixels have each value or a higher one.

    Args:
        values: the different probabilities, highest first.
        true: how many pixels of the structure have that probability or a higher one, int64.
        false: the same of all other pixels.
    """

    values: Tensor
    true: Tensor
    false: Tensor


def rank(probabilities: Tensor, reference: Tensor) -> Ranking:
    """Count the pixels above every threshold there is.

    Args:
        probabilities: of any shape; other scores will do.
        reference: of the same shape; greater than 0 is the structure.

    Raises:
        DataError: the shapes differ; a probability is not finite; one of the two kinds of pixels is missing.
    """
    if probabilities.shape != reference.shape:
        raise DataError(
            f"probabilities and reference must have one shape, got {tuple(probabilities.shape)} and "
            f"{tuple(reference.shape)}: bring the prediction back to the reference's grid."
        )
    values, order = _finite(probabilities).sort(descending=True)
    true = (reference.as_subclass(Tensor).flatten() > 0)[order].long().cumsum(0)
    if not 0 < int(true[-1]) < len(true):
        raise DataError(
            f"a curve needs pixels inside and outside of the structure, got {int(true[-1])} of {len(true)} "
            "inside: leave this case out."
        )
    # The last of equal values stands for all of them.
    last = torch.cat([values[1:] != values[:-1], values.new_ones(1, dtype=torch.bool)]).nonzero()[:, 0]
    return Ranking(values[last], true[last], last + 1 - true[last])


def roc_auc(ranking: Ranking) -> float:
    """Area under the ROC curve, from 0 to 1; 0.5 of a constant.

    Args:
        ranking: of the pixels.
    """
    true, false = (torch.nn.functional.pad(x, (1, 0)).double() for x in (ranking.true, ranking.false))
    area = (false.diff() * (true[1:] + true[:-1]) / 2).sum()
    return float(area / (true[-1] * false[-1]))


def average_precision(ranking: Ranking) -> float:
    """Area under the precision-recall curve as a sum of steps, from 0 to 1.

    Args:
        ranking: of the pixels.
    """
    true = ranking.true.double()
    precision = true / (true + ranking.false)
    gain = torch.nn.functional.pad(true, (1, 0)).diff()
    return float((precision * gain).sum() / true[-1])


def best_dice(ranking: Ranking) -> tuple[float, float]:
    """Highest Dice coefficient of any threshold, and that threshold: a pixel is inside from it upwards.

    The threshold is chosen by the reference, so this is a bound and no result.

    Args:
        ranking: of the pixels.
    """
    dice = 2 * ranking.true.double() / (ranking.true + ranking.false + ranking.true[-1])
    best = int(dice.argmax())
    return float(dice[best]), float(ranking.values[best])


def otsu_threshold(probabilities: Tensor, *, bins: int = 256) -> float:
    """The border that separates the values into two classes of greatest variance between them.

    Args:
        probabilities: of any shape.
        bins: of the histogram, from the lowest to the highest value; of equally good borders the middle is
            taken.

    Returns:
        the upper end of the lower class: a pixel is inside above it. Of a constant, that constant.

    Raises:
        DataError: there is no value, or one is not finite.
    """
    values = _finite(probabilities).double()
    low, high = float(values.min()), float(values.max())
    if low == high:
        return low
    counts = torch.histc(values, bins, min=low, max=high)
    centres = low + (torch.arange(bins, dtype=torch.double, device=values.device) + 0.5) * (high - low) / bins
    below, moment = counts.cumsum(0)[:-1], (counts * centres).cumsum(0)
    total, mean = len(values), moment[-1] / len(values)
    between = (mean * below - moment[:-1]).square() / (below * (total - below))
    best = (between >= between.max() * (1 - 1e-12)).nonzero()[:, 0]
    return low + (float(best.double().mean()) + 1) * (high - low) / bins


def _finite(probabilities: Tensor) -> Tensor:
    values = probabilities.as_subclass(Tensor).detach().flatten()
    if not len(values) or not bool(values.isfinite().all()):
        raise DataError("probabilities must be finite and at least one: look at the network's output.")
    return values
