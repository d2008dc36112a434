"""An overlap of an engine, and its state within an epoch."""

import pytest
import torch
from ignite.engine import Engine, Events
from torch import Tensor

from segadv_monai.handlers import Overlap
from segadv_monai.protocols import ConfigError

PAIRS = [(0.0, 1.0), (1.0, 1.0), (0.0, 0.0), (1.0, 1.0)]


def batches() -> list[list[dict[str, Tensor]]]:
    return [[{"pred": torch.full((1, 2), a), "label": torch.full((1, 2), b)}] for a, b in PAIRS]


def engine(metric: Overlap) -> Engine:
    result = Engine(lambda _, batch: batch)
    metric.attach(result, "dice")
    return result


def test_values_go_to_the_state_of_the_engine() -> None:
    run = engine(Overlap("dice"))
    run.run(batches())
    assert run.state.metrics["dice"] == pytest.approx(2 / 3)
    expected = torch.tensor([[0], [1], [torch.nan], [1]], dtype=torch.float64)
    torch.testing.assert_close(run.state.metric_details["dice"], expected, equal_nan=True)


def test_an_epoch_that_goes_on_elsewhere_gives_the_same_value() -> None:
    """Keeps N8."""
    first, second = Overlap("dice"), Overlap("dice")
    run = engine(first)
    states: list[dict[str, Tensor]] = []
    run.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda: states.append(first.state_dict()))
    run.run(batches())
    assert all(type(value) is Tensor for value in states[0].values())
    # The other engine has started its epoch, which resets a metric, and sees the batches that are left.
    other = engine(second)
    other.add_event_handler(Events.EPOCH_STARTED(once=1), lambda: second.load_state_dict(states[0]))
    other.run(batches()[2:], max_epochs=1)
    assert other.state.metrics["dice"] == run.state.metrics["dice"]
    other.run(batches()[2:], max_epochs=2)
    assert other.state.metrics["dice"] == 1


def test_before_the_first_case_there_is_a_state_too() -> None:
    metric, other = Overlap("dice"), Overlap("dice")
    other.load_state_dict(metric.state_dict())
    run = engine(other)
    run.run(batches()[1:2])
    assert run.state.metrics["dice"] == 1


def test_an_unknown_measure_is_refused() -> None:
    with pytest.raises(ConfigError, match="got dize"):
        Overlap("dize")
