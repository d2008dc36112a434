"""Runs that find no room or no permission to write, through the command that users type."""

import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def halfway(command: Any, folder: Path) -> Path:
    """A run that was stopped after some epochs."""
    output = folder / "halfway"
    process = command.start(output)
    command.wait_for("epoch 2/")
    os.kill(process, signal.SIGTERM)
    assert command.end().code == 143
    return output


@pytest.mark.slow
def test_a_full_disk_leaves_the_checkpoint_before_it_and_one_line(
    command: Any, folder: Path, undisturbed: Path, halfway: Path, kills: int
) -> None:
    """No file can grow beyond a random size below the checkpoint's. Keeps R3."""
    sizes = random.Random(2)
    largest = (halfway / "last.safetensors").stat().st_size
    for i in range(kills):
        output = shutil.copytree(halfway, folder / f"full_{i}")
        ended = command.run(output, file_bytes=sizes.randrange(4096, largest))
        command.assert_one_line(ended, "File too large")
        assert (output / "last.safetensors").read_bytes() == (halfway / "last.safetensors").read_bytes()
        if i % 5 == 0:
            assert command.run(output).code == 0
            command.assert_same(output, undisturbed)


@pytest.mark.slow
def test_a_folder_that_becomes_read_only_leaves_the_checkpoint_before_it_and_one_line(
    command: Any, folder: Path, undisturbed: Path, halfway: Path, kills: int
) -> None:
    """Keeps R4."""
    moments = random.Random(3)
    for i in range(kills):
        output = shutil.copytree(halfway, folder / f"read_only_{i}")
        command.start(output, unprivileged=True)
        time.sleep(moments.uniform(0.0, 1.0))
        output.chmod(0o555)
        ended = command.end()
        output.chmod(0o755)
        command.assert_one_line(ended, "Permission denied")
        if i % 5 == 0:
            assert command.run(output).code == 0
            command.assert_same(output, undisturbed)
