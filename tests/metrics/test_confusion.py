"""The joint histogram of two label maps, and overlaps of classes and regions from it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from torch import Tensor

from segadv_monai.metrics import OVERLAPS, joint_histogram, overlap, region_counts, voxel_counts
from segadv_monai.protocols import ConfigError, DataError

LABELS = 5
maps = st.lists(st.integers(0, LABELS - 1), min_size=12, max_size=12).map(
    lambda values: torch.tensor(values, dtype=torch.uint8).reshape(2, 2, 3)
)
regions = st.lists(st.sets(st.integers(0, LABELS - 1), min_size=1).map(list), min_size=1, max_size=4)


def test_every_pair_of_labels_is_counted() -> None:
    prediction, reference = torch.tensor([[0, 1, 2, 2]]), torch.tensor([[0, 2, 2, 1]])
    histogram = joint_histogram(prediction, reference, 3)
    assert histogram.tolist() == [[[1, 0, 0], [0, 0, 1], [0, 1, 1]]]


@settings(deadline=None)
@given(maps, maps, regions)
def test_overlaps_from_the_histogram_are_those_of_the_masks(
    prediction: Tensor, reference: Tensor, sets: list[list[int]]
) -> None:
    """Keeps N3."""
    counts = region_counts(joint_histogram(prediction, reference, LABELS), sets)
    masks = [
        torch.stack([torch.isin(labels, torch.tensor(region)) for region in sets], dim=1)
        for labels in (prediction, reference)
    ]
    for name in OVERLAPS:
        torch.testing.assert_close(
            overlap(name, counts), overlap(name, voxel_counts(*masks)), equal_nan=True, rtol=0, atol=0
        )


def test_nested_regions_are_sums_over_the_histogram() -> None:
    prediction = torch.tensor([[1, 2, 3, 4, 0, 4]])
    reference = torch.tensor([[2, 2, 4, 4, 1, 0]])
    counts = region_counts(joint_histogram(prediction, reference, 5), [[1, 2, 3, 4], [1, 3, 4], [4]])
    assert counts.common.tolist() == [[4, 2, 1]]
    assert counts.predicted.tolist() == [[5, 4, 2]]
    assert counts.referred.tolist() == [[5, 3, 2]]


def test_a_class_that_the_prediction_lacks_is_a_miss() -> None:
    """Keeps N1."""
    prediction, reference = torch.tensor([[0, 1, 1]]), torch.tensor([[2, 1, 1]])
    counts = region_counts(joint_histogram(prediction, reference, 4))
    assert overlap("dice", counts).nan_to_num(-1).tolist() == [[1, 0, -1]]
    assert overlap("volume_error", counts).nan_to_num(-1).tolist() == [[0, 1, -1]]
    assert overlap("missed", counts).tolist() == [[0, 1, 0]]
    assert overlap("both_empty", counts).tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("labels", [2, 16, 17, 181, 182, 500])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.uint16, torch.int64, torch.float32])
def test_every_type_and_number_of_labels_counts_the_same(labels: int, dtype: torch.dtype) -> None:
    highest = min(labels - 1, 255)
    prediction = torch.tensor([[highest, 0, highest]]).to(dtype)
    reference = torch.tensor([[highest, highest, 0]]).to(dtype)
    histogram = joint_histogram(prediction, reference, labels)
    assert histogram.sum() == 3
    assert [histogram[0, a, b].item() for a, b in ((highest, highest), (0, highest), (highest, 0))] == [
        1,
        1,
        1,
    ]


def test_large_counts_are_exact() -> None:
    prediction = torch.ones(1, 4098, 4098, dtype=torch.uint8)
    reference = prediction.clone()
    reference[..., 0, 0] = 0
    assert joint_histogram(prediction, reference, 2).tolist() == [[[0, 0], [1, 4098**2 - 1]]]


def test_meta_tensors_with_a_channel_are_taken() -> None:
    labels = MetaTensor(torch.ones(2, 1, 3, 3))
    assert type(joint_histogram(labels, labels, 2)) is Tensor


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.tensor([[0, 3]]), "labels of the prediction must be from 0 to 2, got 0 to 3"),
        (torch.tensor([[-1, 2]]), "from 0 to 2, got -1 to 2"),
        (torch.tensor([[0, 0.5]]), "whole numbers"),
        (torch.tensor([[0, torch.nan]]), "from 0 to 2, got nan"),
        (torch.tensor([[0, 1, 2]]), "one shape"),
    ],
)
def test_labels_out_of_range_are_an_error_of_one_line(bad: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        joint_histogram(bad, torch.tensor([[0, 0]]), 3)
    assert "\n" not in str(caught.value)


def test_regions_and_numbers_that_cannot_be_are_errors() -> None:
    histogram = torch.zeros(1, 3, 3, dtype=torch.int64)
    for region in ([], [3], [-1]):
        with pytest.raises(ConfigError, match="labels from 0 to 2"):
            region_counts(histogram, [region])
    with pytest.raises(ConfigError, match="num_labels must be between"):
        joint_histogram(torch.zeros(1, 2), torch.zeros(1, 2), 0)
