"""Runs that are killed or asked to stop at random moments, through the command that users type."""

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("minutes", [10.0, 0.0], ids=["saved_after_epochs", "saved_after_every_iteration"])
def test_a_run_that_is_killed_at_random_moments_ends_with_the_same_bits(
    command: Any, folder: Path, undisturbed: Path, kills: int, minutes: float
) -> None:
    """Keeps R1."""
    moments, killed, runs = random.Random(int(minutes)), 0, 0
    settings = {"train#handlers#0#checkpoint_minutes": minutes}
    while killed < kills // 2:
        output = folder / f"killed_{minutes}_{runs}"
        while True:
            process = command.start(output, settings)
            if killed < kills // 2:
                time.sleep(moments.uniform(0.2, 2.0))
                os.kill(process, signal.SIGKILL)
            ended = command.end()
            if ended.code == 0:
                break
            assert ended.code == -signal.SIGKILL, ended.text
            assert "error" not in ended.text
            killed += 1
        command.assert_same(output, undisturbed)
        runs += 1


@pytest.mark.slow
def test_a_run_that_is_asked_to_stop_leaves_with_its_code_and_goes_on_with_the_same_bits(
    command: Any, folder: Path, undisturbed: Path, kills: int
) -> None:
    """Keeps R2."""
    moments, stops, runs = random.Random(1), 0, 0
    while stops < kills:
        output = folder / f"stopped_{runs}"
        while True:
            process = command.start(output)
            if stops < kills:
                command.wait_for("epoch ")
                time.sleep(moments.uniform(0.0, 0.5))
                os.kill(process, signal.SIGTERM)
            ended = command.end()
            if "epochs done" in ended.text:
                break
            assert ended.code == 143, ended.text
            assert [line for line in ended.lines if line.startswith("stopped by SIGTERM")] == ended.lines[-1:]
            stops += 1
        command.assert_same(output, undisturbed)
        runs += 1
