"""Overlap of classes of an engine, its state within an epoch, and the table of the classes."""

import csv
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events
from torch import Tensor

from segadv_monai.handlers import ClassOverlap, ClassReport

# Prediction and label of one pixel each; class 2 is ignored.
PIXELS = [(0, 0), (1, 0), (0, 2), (1, 1)]


def one_hot(label: int) -> Tensor:
    return torch.eye(3)[label, :2, None, None]


def batches() -> list[list[dict[str, Tensor]]]:
    return [[{"pred": one_hot(a), "label": one_hot(b)}] for a, b in PIXELS]


def engine(metric: ClassOverlap) -> Engine:
    result = Engine(lambda _, batch: batch)
    metric.attach(result, "mean_iou")
    return result


def test_an_epoch_that_goes_on_elsewhere_gives_the_same_value() -> None:
    """Keeps N8."""
    first, second = ClassOverlap(), ClassOverlap()
    run = engine(first)
    states: list[dict[str, Tensor]] = []
    run.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda: states.append(first.state_dict()))
    run.run(batches())
    assert run.state.metrics["mean_iou"] == pytest.approx(1 / 2)
    assert all(type(value) is Tensor for value in states[0].values())
    other = engine(second)
    other.add_event_handler(Events.EPOCH_STARTED(once=1), lambda: second.load_state_dict(states[0]))
    other.run(batches()[2:], max_epochs=1)
    assert other.state.metrics["mean_iou"] == run.state.metrics["mean_iou"]
    other.run(batches()[2:], max_epochs=2)
    assert other.state.metrics["mean_iou"] == 1


def test_the_table_has_a_row_for_each_class_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "segadv_monai")
    metric = ClassOverlap("pixel_accuracy")
    run = engine(metric)
    ClassReport(metric, tmp_path, regions=[[0, 3], [1]], names={0: "sky", 3: "cloud"}).attach(run)
    run.run(batches())
    rows = list(csv.reader((tmp_path / "classes.csv").read_text().splitlines()))
    expected = [["sky and cloud", "0.5", "0.5", "2"], ["1", "0.5", "1", "1"]]
    assert rows == [["class", "iou", "accuracy", "positions"], *expected]
    assert caplog.messages[-1] == "mean IoU 0.5000  mean accuracy 0.7500  pixel accuracy 0.6667"
