"""Calibration of probability maps: expected calibration error (Guo et al., ICML 2017, arXiv 1706.04599).

Written here because MONAI 1.6's ``CalibrationErrorMetric`` counts in float32, where a count stops at 2 to the
power of 24: of a volume with more voxels in one bin it returns a wrong number (0.97 for 0.48 with 40 million
voxels). On smaller images the two agree. Empty masks follow :mod:`segadv_monai.metrics.policy`: otherwise a
network that sees nothing would be the best calibrated one.
"""

import itertools

import torch
from torch import Tensor

from segadv_monai.protocols import ConfigError, DataError

from .policy import empty_value

__all__ = ["calibration_error"]

# Voxels at a time: float64 copies of a whole volume would be large.
_CHUNK = 2**20


def calibration_error(
    probabilities: Tensor, reference: Tensor, *, num_bins: int = 20, threshold: float = 0.5
) -> Tensor:
    """Expected calibration error per case and region, float64 ``(B, K)``.

    The voxels of a map are put into bins of equal width by their probability; the error is the mean over all
    voxels of the difference between the mean probability and the rate of true voxels in their bin.

    Args:
        probabilities: ``(B, K, *S)``, from 0 to 1.
        reference: binary maps of the same shape.
        num_bins: number of bins; a probability on the border of two belongs to the upper one.
        threshold: a map without a probability above it is an empty prediction.

    Raises:
        DataError: the shapes differ; a probability is not from 0 to 1.
        ConfigError: ``num_bins`` is less than 1.
    """
    if num_bins < 1:
        raise ConfigError(f"num_bins must be 1 or greater, got {num_bins}.")
    if probabilities.shape != reference.shape:
        raise DataError(
            f"probabilities and reference must have one shape, got {tuple(probabilities.shape)} and "
            f"{tuple(reference.shape)}: bring the prediction back to the reference's grid."
        )
    p = probabilities.as_subclass(Tensor).flatten(2)
    true = reference.as_subclass(Tensor).flatten(2) > 0
    if not bool(((p >= 0) & (p <= 1)).all()):
        raise DataError(
            f"probabilities must be from 0 to 1, got {p.min():g} to {p.max():g}: apply the activation first."
        )
    result = torch.zeros(p.shape[:2], dtype=torch.double, device=p.device)
    for b, k in itertools.product(*map(range, p.shape[:2])):
        result[b, k] = _error(p[b, k], true[b, k], num_bins, threshold)
    return result


def _error(p: Tensor, true: Tensor, num_bins: int, threshold: float) -> float:
    empty = (not bool((p > threshold).any()), not bool(true.any()))
    if any(empty):
        return empty_value("calibration_error", prediction_empty=empty[0], reference_empty=empty[1])
    borders = torch.linspace(0, 1, num_bins + 1, dtype=torch.double, device=p.device)[1:-1]
    excess = borders.new_zeros(num_bins)
    for said, there in zip(torch.split(p, _CHUNK), torch.split(true, _CHUNK), strict=True):
        bins = torch.bucketize(said.double(), borders, right=True)
        excess += torch.bincount(bins, weights=said.double() - there.double(), minlength=num_bins)
    return float(excess.abs().sum() / p.numel())
