"""Overlap of classes over all cases together, without ignored positions."""

import math

import pytest
import torch
from torch import Tensor

from segadv_monai.metrics import CLASS_MEASURES, ClassOverlapMetric, joint_histogram
from segadv_monai.protocols import ConfigError, DataError


def one_hot(labels: Tensor, count: int) -> Tensor:
    """Label ``count`` is ignored."""
    return torch.nn.functional.one_hot(labels, count + 1)[..., :count].movedim(-1, 1).float()


def measured(measure: str, prediction: Tensor, reference: Tensor) -> float:
    metric = ClassOverlapMetric(measure)
    metric(prediction, reference)
    return float(metric.aggregate())


def test_by_hand() -> None:
    """Two cases of three pixels; the last of the second is ignored. Class 2 occurs nowhere."""
    reference = one_hot(torch.tensor([[0, 0, 1], [0, 1, 3]]), 3)
    prediction = one_hot(torch.tensor([[0, 1, 1], [0, 0, 2]]), 3)
    assert measured("mean_iou", prediction, reference) == pytest.approx((2 / 4 + 1 / 3) / 2)
    assert measured("mean_accuracy", prediction, reference) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert measured("pixel_accuracy", prediction, reference) == pytest.approx(3 / 5)


def test_it_is_what_the_joint_histogram_without_the_ignored_label_says() -> None:
    torch.manual_seed(0)
    reference, prediction = torch.randint(0, 6, (4, 8, 9)), torch.randint(0, 5, (4, 8, 9))
    table = joint_histogram(prediction, reference, 6).sum(0)[:5, :5].double()
    overlaps = table.diag() / (table.sum(0) + table.sum(1) - table.diag())
    maps = one_hot(prediction, 5), one_hot(reference, 5)
    assert measured("mean_iou", *maps) == pytest.approx(float(overlaps.mean()), abs=1e-15)
    accuracy = float(table.diag().sum() / table.sum())
    assert measured("pixel_accuracy", *maps) == pytest.approx(accuracy, abs=1e-15)


@pytest.mark.parametrize("measure", CLASS_MEASURES)
def test_what_is_predicted_at_ignored_positions_changes_nothing(measure: str) -> None:
    """Keeps N10."""
    torch.manual_seed(0)
    labels = torch.randint(0, 4, (2, 8, 9))
    first, second = (torch.randint(0, 3, (2, 8, 9)) for _ in range(2))
    second = torch.where(labels == 3, second, first)
    assert not torch.equal(first, second)
    values = [measured(measure, one_hot(x, 3), one_hot(labels, 3)) for x in (first, second)]
    assert values[0] == values[1]


@pytest.mark.parametrize("measure", CLASS_MEASURES)
def test_cases_one_by_one_or_together_give_one_value_and_none_gives_nan(measure: str) -> None:
    torch.manual_seed(0)
    prediction, reference = (one_hot(torch.randint(0, 3, (4, 6, 7)), 3) for _ in range(2))
    metric = ClassOverlapMetric(measure)
    assert math.isnan(metric.aggregate())
    for i in range(4):
        metric(prediction[i : i + 1], reference[i : i + 1])
    assert float(metric.aggregate()) == measured(measure, prediction, reference)
    assert math.isnan(measured(measure, prediction, torch.zeros_like(reference)))


def test_what_cannot_be_measured_is_one_line() -> None:
    with pytest.raises(ConfigError, match="must be one of mean_iou, mean_accuracy, pixel_accuracy, got miou"):
        ClassOverlapMetric("miou")
    with pytest.raises(DataError, match="overlap needs a reference"):
        ClassOverlapMetric()(torch.ones(1, 2, 3, 3))
    with pytest.raises(DataError, match="must have one shape"):
        measured("mean_iou", torch.ones(1, 2, 3, 3), torch.ones(1, 2, 4, 3))
