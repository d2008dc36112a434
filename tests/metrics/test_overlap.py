"""Overlap by hand, the policy for empty masks, and what holds for all masks."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from torch import Tensor

from segadv_monai.metrics import OverlapMetric, both_empty, dice_score, jaccard_index, missed

VOXELS = 6
masks = st.lists(st.booleans(), min_size=VOXELS, max_size=VOXELS).map(lambda voxels: mask(*voxels))
cases = st.lists(st.tuples(masks, masks), min_size=1, max_size=5)


def mask(*voxels: float) -> Tensor:
    return torch.tensor(voxels, dtype=torch.float32).reshape(1, 1, -1)


def score(measure: str, pairs: list[tuple[Tensor, Tensor]]) -> float:
    metric = OverlapMetric(measure)
    for prediction, reference in pairs:
        metric(prediction, reference)
    return metric.aggregate().item()


def test_values_by_hand() -> None:
    prediction, reference = mask(1, 1, 1, 0), mask(0, 1, 1, 1)
    assert dice_score(prediction, reference).item() == pytest.approx(2 * 2 / (3 + 3))
    assert jaccard_index(prediction, reference).item() == pytest.approx(2 / 4)
    assert missed(prediction, reference).item() == 0
    assert both_empty(prediction, reference).item() == 0


def test_every_case_and_map_has_a_value_of_its_own() -> None:
    prediction, reference = torch.zeros(2, 3, 4, 5), torch.zeros(2, 3, 4, 5)
    prediction[0, 0, 0, :2] = 1
    reference[0, 0, 0, :4] = 1
    prediction[1, 2] = reference[1, 2] = 1
    reference[1, 0, 3, 3] = 1
    nan = math.nan
    expected = torch.tensor([[2 * 2 / 6, nan, nan], [0, nan, 1]], dtype=torch.float64)
    torch.testing.assert_close(dice_score(prediction, reference), expected, equal_nan=True)
    expected = torch.tensor([[0, nan, nan], [1, nan, 0]], dtype=torch.float64)
    torch.testing.assert_close(missed(prediction, reference), expected, equal_nan=True)
    assert both_empty(prediction, reference).tolist() == [[0, 1, 1], [0, 1, 0]]


def test_large_masks_are_counted_exactly() -> None:
    prediction = torch.ones(1, 1, 4098, 4098, dtype=torch.bool)
    reference = prediction.clone()
    reference[..., 0, 0] = False
    n = 4098**2
    assert jaccard_index(prediction, reference).item() == (n - 1) / n


NAN = math.nan
POLICY = [  # prediction, reference, dice, jaccard, missed, both_empty
    pytest.param(mask(0, 0), mask(0, 0), (NAN, NAN, NAN, 1), id="both empty"),
    pytest.param(mask(0, 0), mask(1, 1), (0, 0, 1, 0), id="prediction empty"),
    pytest.param(mask(1, 1), mask(0, 0), (0, 0, 0, 0), id="reference empty"),
    pytest.param(mask(1, 0), mask(0, 1), (0, 0, 1, 0), id="no common voxel"),
    pytest.param(mask(1, 1), mask(1, 1), (1, 1, 0, 0), id="equal"),
]


@pytest.mark.parametrize(("prediction", "reference", "expected"), POLICY)
def test_the_policy_for_empty_masks(
    prediction: Tensor, reference: Tensor, expected: tuple[float, ...]
) -> None:
    measures = (dice_score, jaccard_index, missed, both_empty)
    values = [measure(prediction, reference).item() for measure in measures]
    assert values == pytest.approx(expected, nan_ok=True)


@settings(deadline=None)
@given(masks, masks)
def test_prediction_and_reference_can_change_places(a: Tensor, b: Tensor) -> None:
    for measure in (dice_score, jaccard_index, both_empty):
        torch.testing.assert_close(measure(a, b), measure(b, a), equal_nan=True)


@settings(deadline=None)
@given(masks, masks)
def test_dice_follows_from_jaccard(a: Tensor, b: Tensor) -> None:
    jaccard = jaccard_index(a, b)
    torch.testing.assert_close(dice_score(a, b), 2 * jaccard / (1 + jaccard), equal_nan=True)


@settings(deadline=None)
@given(masks, masks)
def test_overlaps_lie_between_nothing_and_all(a: Tensor, b: Tensor) -> None:
    dice, jaccard = dice_score(a, b).item(), jaccard_index(a, b).item()
    if math.isnan(dice):
        assert both_empty(a, b).item() == 1
    else:
        assert 0 <= jaccard <= dice <= 1
        assert (dice == 1) == torch.equal(a, b)


@settings(deadline=None)
@given(cases, masks.filter(lambda reference: bool(reference.any())))
def test_a_miss_never_improves_the_mean(pairs: list[tuple[Tensor, Tensor]], reference: Tensor) -> None:
    with_miss = [*pairs, (torch.zeros_like(reference), reference)]
    for measure in ("dice", "jaccard"):
        before, after = score(measure, pairs), score(measure, with_miss)
        assert math.isnan(before) or after <= before
        assert not math.isnan(after)
    assert score("missed", with_miss) == score("missed", pairs) + 1


@settings(deadline=None)
@given(cases)
def test_a_pair_of_empty_masks_changes_only_its_own_count(pairs: list[tuple[Tensor, Tensor]]) -> None:
    more = [*pairs, (mask(*[0] * VOXELS), mask(*[0] * VOXELS))]
    for measure in ("dice", "jaccard", "missed"):
        assert score(measure, more) == pytest.approx(score(measure, pairs), nan_ok=True)
    assert score("both_empty", more) == score("both_empty", pairs) + 1


def test_the_mean_and_the_counts_are_over_all_cases() -> None:
    pairs = [
        (mask(1, 0), mask(1, 1)),
        (mask(0, 0), mask(1, 1)),
        (mask(0, 0), mask(0, 0)),
        (mask(1, 1), mask(1, 1)),
    ]
    assert score("dice", pairs) == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert score("jaccard", pairs) == pytest.approx((1 / 2 + 0 + 1) / 3)
    assert score("missed", pairs) == 1
    assert score("both_empty", pairs) == 1


def test_a_mean_over_excluded_cases_alone_is_no_number() -> None:
    assert math.isnan(score("dice", [(mask(0, 0), mask(0, 0))]))
    assert score("missed", [(mask(0, 0), mask(0, 0))]) == 0


def test_reset_forgets() -> None:
    metric = OverlapMetric("dice")
    metric(mask(0, 1), mask(1, 0))
    metric.reset()
    metric(mask(0, 1), mask(0, 1))
    assert metric.aggregate().item() == 1


def test_cases_may_come_as_a_list_and_with_meta_data() -> None:
    metric = OverlapMetric("dice")
    prediction, reference = mask(1, 1, 0, 0), mask(0, 1, 1, 0)
    metric([MetaTensor(prediction[0])], [MetaTensor(reference[0])])
    assert metric.aggregate().item() == 0.5
    assert type(dice_score(MetaTensor(prediction), MetaTensor(reference))) is Tensor


def test_a_measure_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(ValueError, match="one of dice, jaccard, missed, both_empty, got hausdorff"):
        OverlapMetric("hausdorff")


def test_other_grids_are_an_error_even_where_they_would_broadcast() -> None:
    with pytest.raises(ValueError, match="bring the prediction back to the reference's grid"):
        dice_score(torch.ones(1, 1, 4), torch.ones(1, 2, 4))


def test_a_missing_reference_is_an_error() -> None:
    with pytest.raises(ValueError, match="needs a reference"):
        OverlapMetric("dice")(mask(1, 0))
