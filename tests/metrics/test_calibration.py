"""Calibration error by hand, against MONAI, and where MONAI's counts stop."""

import math

import pytest
import torch
from monai.data import MetaTensor
from monai.metrics import CalibrationErrorMetric
from torch import Tensor

from segadv_monai.metrics import calibration_error
from segadv_monai.protocols import ConfigError, DataError


def test_values_by_hand() -> None:
    probabilities = torch.tensor([[[0.9, 0.9, 0.9, 0.9, 0.1, 0.1]]])
    reference = torch.tensor([[[1, 1, 1, 0, 0, 0]]])
    # Four voxels in one bin, 0.9 said and 0.75 true; two in another, 0.1 said and 0 true.
    expected = (4 * 0.15 + 2 * 0.1) / 6
    assert calibration_error(probabilities, reference).item() == pytest.approx(expected, abs=1e-7)


def test_it_is_monais_on_small_images() -> None:
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(3, 2, 9, 8, generator=generator)
    reference = (torch.rand(3, 2, 9, 8, generator=generator) < probabilities**2).float()
    expected = CalibrationErrorMetric(num_bins=15)(probabilities, reference)
    ours = calibration_error(MetaTensor(probabilities), reference, num_bins=15)
    assert type(ours) is Tensor
    torch.testing.assert_close(ours.float(), expected, rtol=1e-5, atol=1e-6)


def test_a_probability_of_one_has_a_bin() -> None:
    assert calibration_error(torch.ones(1, 1, 4), torch.ones(1, 1, 4)).item() == 0


def test_a_bin_may_hold_more_voxels_than_float32_counts() -> None:
    """Keeps N7."""
    n = 2**24 + 2**22
    probabilities = torch.full((1, 1, n), 0.75)
    reference = torch.zeros(1, 1, n, dtype=torch.bool)
    reference[..., : n // 2] = True
    assert calibration_error(probabilities, reference).item() == 0.25


def test_empty_masks_follow_the_policy() -> None:
    """A network that sees nothing is not the best calibrated one.

    Keeps N1.
    """
    nothing, lesion = torch.full((1, 1, 100), 0.01), torch.zeros(1, 1, 100)
    lesion[..., 0] = 1
    assert calibration_error(nothing, lesion).item() == 1
    assert calibration_error(1 - nothing, torch.zeros_like(lesion)).item() == 1
    assert math.isnan(calibration_error(nothing, torch.zeros_like(lesion)).item())
    assert calibration_error(nothing, lesion, threshold=0.005).item() < 1e-6


def test_what_is_no_probability_is_an_error() -> None:
    reference = torch.zeros(1, 1, 2)
    for bad in (1.5, -0.1, math.nan):
        with pytest.raises(DataError, match="from 0 to 1, got"):
            calibration_error(torch.tensor([[[0.5, bad]]]), reference)
    with pytest.raises(DataError, match="one shape"):
        calibration_error(torch.zeros(1, 1, 3), reference)
    with pytest.raises(ConfigError, match="num_bins must be 1 or greater, got 0"):
        calibration_error(reference, reference, num_bins=0)
