"""What a person who watches a run sees."""

import logging
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from segadv_monai.handlers import BestModel, History, Progress


def watch(directory: Path, *, terminal: bool) -> None:
    evaluator = Engine(lambda *_: None)
    network = nn.Linear(1, 1)
    history, best = History(evaluator), BestModel(network, directory)
    evaluator.state.key_metric_name = "dice"

    def step(engine: Engine, _: int) -> None:
        engine.state.losses = {"loss": torch.tensor(0.25)}

    def validate(engine: Engine) -> None:
        evaluator.state.epoch = engine.state.epoch
        evaluator.state.metrics = {"dice": 0.5 / engine.state.epoch}
        evaluator.fire_event(Events.COMPLETED)

    trainer = Engine(step)
    trainer.optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    best.attach(evaluator)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, validate)
    for handler in (history, Progress(history, best, places="pictures there", terminal=terminal)):
        handler.attach(trainer)
    trainer.run([0, 1, 2], max_epochs=2)


def test_elsewhere_there_is_a_line_for_every_epoch_and_a_last_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, "segadv_monai"):
        watch(tmp_path, terminal=False)
    first, second, last = caplog.messages
    assert first.startswith("epoch 1/2  loss 0.25  validation/dice 0.5  0:00:0")
    assert second.startswith("epoch 2/2  loss 0.25  validation/dice 0.25  0:00:00 left")
    assert last == "2 epochs done: best validation dice 0.5000 in epoch 1; pictures there"
    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_bar_with_the_time_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    watch(tmp_path, terminal=True)
    shown = capsys.readouterr().err
    assert "epoch 2/2" in shown
    assert "6/6 [00:0" in shown
    assert "validation/dice 0.25" in shown
