"""Thinning and warping move borders and keep what they separate."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import label

from segadv_monai.metrics import membrane_scores, pixel_error, thinned_borders, warping_error
from segadv_monai.protocols import DataError

Mask = NDArray[np.bool_]
masks = arrays.arrays(bool, (7, 8), elements=st.booleans())


def pieces(cells: Mask) -> tuple[int, int]:
    """Numbers of cells and of pieces of border, the outside included."""
    return label(cells)[1], label(~np.pad(cells, 1), np.ones((3, 3)))[1]


def two_cells(border: int = 1, at: int = 10) -> Mask:
    cells = np.ones((20, 24), bool)
    cells[:, at : at + border] = False
    return cells


@given(cells=masks)
def test_thinning_only_grows_cells_and_neither_joins_nor_parts_any(cells: Mask) -> None:
    thin = thinned_borders(cells)
    assert not (cells & ~thin).any()
    assert pieces(thin) == pieces(cells)
    # Each cell is in one grown cell, and each grown cell has one.
    pairs = set(zip(label(cells)[0][cells], label(thin)[0][cells], strict=True))
    assert len(pairs) == label(cells)[1]
    assert np.array_equal(thinned_borders(thin), thin)


@pytest.mark.parametrize("border", [1, 2, 5, 6])
def test_a_straight_border_becomes_one_pixel_wide(border: int) -> None:
    thin = thinned_borders(two_cells(border))
    assert ((~thin).sum(axis=1) == 1).all()
    assert abs(np.argwhere(~thin)[:, 1].mean() - (10 + (border - 1) / 2)) <= 1


def test_a_dead_end_of_a_border_vanishes_and_a_closed_one_stays() -> None:
    cells = np.ones((12, 12), bool)
    cells[3:9, 5] = False
    assert (~thinned_borders(cells)).sum() == 1
    ring = np.ones((12, 12), bool)
    ring[2:10, 2:10], ring[4:8, 4:8] = False, True
    thin = thinned_borders(ring)
    assert label(thin)[1] == 2
    assert thin[5:7, 5:7].all()


@given(prediction=masks, reference=masks)
def test_the_warping_error_is_no_more_than_the_pixel_error(prediction: Mask, reference: Mask) -> None:
    error = warping_error(prediction, reference)
    assert 0 <= error <= pixel_error(prediction, reference)
    if pieces(prediction) != pieces(reference):
        assert error > 0


@given(mask=masks)
def test_a_mask_is_without_error_against_itself_and_its_thinned_one(mask: Mask) -> None:
    assert warping_error(mask, mask) == pixel_error(mask, mask) == 0
    assert warping_error(thinned_borders(mask), mask) == 0


def test_a_shifted_or_wider_border_is_no_warping_error_and_one_of_pixels() -> None:
    reference = two_cells(border=3)
    for prediction in (two_cells(border=3, at=12), two_cells(border=7), two_cells(border=1)):
        assert warping_error(prediction, reference) == 0
        assert pixel_error(prediction, reference) > 0.05
    # Thinned, all but the one that was shifted are the same border.
    assert membrane_scores(two_cells(border=1, at=11), reference).rand == 1
    assert membrane_scores(two_cells(border=5, at=9), reference).rand == 1
    assert 0.8 < membrane_scores(two_cells(border=3, at=13), reference).rand < 0.95


def test_a_border_that_was_shifted_past_its_width_is_an_error() -> None:
    reference, prediction = two_cells(), two_cells(at=14)
    # All of the old border and, of the new one, the pixel that would part a cell.
    assert warping_error(prediction, reference) == 21 / reference.size


def test_a_gap_in_a_border_and_a_border_too_many_are_errors_of_a_few_pixels() -> None:
    reference = two_cells()
    gap = reference.copy()
    gap[8, 10] = True
    assert warping_error(gap, reference) == 1 / reference.size
    split = reference.copy()
    split[6, :10] = False
    assert warping_error(split, reference) == 1 / reference.size
    assert membrane_scores(gap, reference).rand_merge < 0.6
    assert membrane_scores(split, reference).rand_split < 0.85
    missing, found = np.ones_like(reference), reference.copy()
    found[4:6, 4:6] = False
    assert warping_error(missing, reference) > 0
    # No pixel of an island is next to a border that could grow.
    assert warping_error(found, reference) == 4 / reference.size


def test_an_empty_prediction_has_the_lowest_scores_and_no_crash() -> None:
    reference = two_cells()
    nothing = np.zeros_like(reference)
    assert not thinned_borders(nothing).any()
    assert membrane_scores(nothing, reference).rand < 0.02
    assert warping_error(nothing, reference) > 0
    assert thinned_borders(~nothing).all()


def test_tensors_are_taken_and_volumes_are_one_line() -> None:
    reference = torch.from_numpy(two_cells())[None]
    assert membrane_scores(reference[0], reference[0]).rand == 1
    for call in (thinned_borders, lambda x: warping_error(x, x)):
        with pytest.raises(DataError, match="two dimensions, got 3: give sections"):
            call(reference)
    with pytest.raises(DataError, match="bring the prediction back"):
        warping_error(reference[0], reference[0, 1:])
    with pytest.raises(DataError, match="the reference has no object"):
        membrane_scores(reference[0], 0 * reference[0])


def test_a_real_section_keeps_its_cells(shared_data: Path) -> None:
    with Image.open(min((shared_data / "em_membranes" / "labelsTr").glob("*.png"))) as image:
        cells = np.array(image) > 0
    thin = thinned_borders(cells)
    assert pieces(thin) == pieces(cells)
    assert (~thin).mean() < 0.25 * (~cells).mean()
    assert tuple(membrane_scores(cells, cells)) == pytest.approx((1,) * 6)
    assert warping_error(np.roll(cells, 2, 0), cells) < 0.05 * pixel_error(np.roll(cells, 2, 0), cells)
