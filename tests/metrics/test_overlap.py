"""Overlap by hand, the policy for empty masks, and what holds for all masks."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from torch import Tensor

from segadv_monai.metrics import OverlapMetric, dice_score, overlap, voxel_counts
from segadv_monai.protocols import ConfigError, DataError

VOXELS = 6
masks = st.lists(st.booleans(), min_size=VOXELS, max_size=VOXELS).map(lambda voxels: mask(*voxels))
cases = st.lists(st.tuples(masks, masks), min_size=1, max_size=5)


def mask(*voxels: float) -> Tensor:
    return torch.tensor(voxels, dtype=torch.float32).reshape(1, 1, -1)


def value(measure: str, prediction: Tensor, reference: Tensor) -> Tensor:
    return overlap(measure, voxel_counts(prediction, reference))


def score(measure: str, pairs: list[tuple[Tensor, Tensor]]) -> float:
    metric = OverlapMetric(measure)
    for prediction, reference in pairs:
        metric(prediction, reference)
    return metric.aggregate().item()


def test_values_by_hand() -> None:
    prediction, reference = mask(1, 1, 1, 0), mask(0, 1, 1, 1)
    assert dice_score(prediction, reference).item() == pytest.approx(2 * 2 / (3 + 3))
    assert value("jaccard", prediction, reference).item() == pytest.approx(2 / 4)
    assert value("volume_error", prediction, mask(0, 0, 0, 1)).item() == pytest.approx((3 - 1) / (3 + 1))
    assert value("missed", prediction, reference).item() == 0
    assert value("both_empty", prediction, reference).item() == 0


def test_every_case_and_map_has_a_value_of_its_own() -> None:
    prediction, reference = torch.zeros(2, 3, 4, 5), torch.zeros(2, 3, 4, 5)
    prediction[0, 0, 0, :2] = 1
    reference[0, 0, 0, :4] = 1
    prediction[1, 2] = reference[1, 2] = 1
    reference[1, 0, 3, 3] = 1
    nan = math.nan
    expected = torch.tensor([[2 * 2 / 6, nan, nan], [0, nan, 1]], dtype=torch.float64)
    torch.testing.assert_close(dice_score(prediction, reference), expected, equal_nan=True)
    assert value("missed", prediction, reference).tolist() == [[0, 0, 0], [1, 0, 0]]
    assert value("both_empty", prediction, reference).tolist() == [[0, 1, 1], [0, 1, 0]]


def test_large_masks_are_counted_exactly() -> None:
    prediction = torch.ones(1, 1, 4098, 4098, dtype=torch.bool)
    reference = prediction.clone()
    reference[..., 0, 0] = False
    n = 4098**2
    assert value("jaccard", prediction, reference).item() == (n - 1) / n


NAN = math.nan
MEASURES = (
    *("dice", "jaccard", "volume_error"),
    *("missed", "empty_prediction", "empty_reference", "both_empty"),
)
POLICY = [
    pytest.param(mask(0, 0), mask(0, 0), (NAN, NAN, NAN, 0, 0, 0, 1), id="both empty"),
    pytest.param(mask(0, 0), mask(1, 1), (0, 0, 1, 1, 1, 0, 0), id="prediction empty"),
    pytest.param(mask(1, 1), mask(0, 0), (0, 0, 1, 0, 0, 1, 0), id="reference empty"),
    pytest.param(mask(1, 0), mask(0, 1), (0, 0, 0, 1, 0, 0, 0), id="no common voxel"),
    pytest.param(mask(1, 1), mask(1, 1), (1, 1, 0, 0, 0, 0, 0), id="equal"),
]


@pytest.mark.parametrize(("prediction", "reference", "expected"), POLICY)
def test_the_policy_for_empty_masks(
    prediction: Tensor, reference: Tensor, expected: tuple[float, ...]
) -> None:
    """Keeps N1."""
    values = [value(measure, prediction, reference).item() for measure in MEASURES]
    assert values == pytest.approx(expected, nan_ok=True)


@settings(deadline=None)
@given(masks, masks)
def test_prediction_and_reference_can_change_places(a: Tensor, b: Tensor) -> None:
    for measure in ("dice", "jaccard", "volume_error", "both_empty"):
        torch.testing.assert_close(value(measure, a, b), value(measure, b, a), equal_nan=True)


@settings(deadline=None)
@given(masks, masks)
def test_dice_follows_from_jaccard(a: Tensor, b: Tensor) -> None:
    jaccard = value("jaccard", a, b)
    torch.testing.assert_close(dice_score(a, b), 2 * jaccard / (1 + jaccard), equal_nan=True)


@settings(deadline=None)
@given(masks, masks)
def test_overlaps_lie_between_nothing_and_all(a: Tensor, b: Tensor) -> None:
    dice, jaccard = dice_score(a, b).item(), value("jaccard", a, b).item()
    if math.isnan(dice):
        assert value("both_empty", a, b).item() == 1
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


def test_what_was_collected_can_be_taken_over() -> None:
    first, second = OverlapMetric("dice"), OverlapMetric("dice")
    first(mask(1, 0), mask(1, 1))
    second.collected = first.collected
    for metric in (first, second):
        metric(mask(1, 1), mask(1, 1))
    assert second.aggregate() == first.aggregate()
    second.collected = torch.empty(0)
    assert len(second.collected) == 0


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
    with pytest.raises(ConfigError, match="measure must be one of dice, jaccard"):
        OverlapMetric("hausdorff")
    with pytest.raises(ConfigError, match="measure must be one of dice, jaccard"):
        value("hausdorff", mask(1), mask(1))


def test_other_grids_are_an_error_even_where_they_would_broadcast() -> None:
    with pytest.raises(DataError, match="bring the prediction back to the reference's grid"):
        dice_score(torch.ones(1, 1, 4), torch.ones(1, 2, 4))


def test_a_missing_reference_is_an_error() -> None:
    with pytest.raises(DataError, match="needs a reference"):
        OverlapMetric("dice")(mask(1, 0))
