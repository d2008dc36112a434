"""One line for a user's fault, a traceback for a bug."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
sys.argv = ["monai/bundle/__main__.py", "run"]
from segadv_monai.bundle import begin
from segadv_monai.layers import ScaledLogistic
from segadv_monai.protocols import DataError
begin()
def fail():
    {fault}
try:
    fail()
except Exception as error:
    raise RuntimeError("Failed to evaluate") from error
"""


def stderr_of(fault: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(fault=fault)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert result.returncode == 1
    return result.stderr


def test_a_users_fault_gets_one_line() -> None:
    assert stderr_of("raise DataError('a.png is\\nbroken: mend it.')") == "error: a.png is broken: mend it.\n"


def test_a_value_that_a_part_of_the_package_refuses_gets_one_line() -> None:
    assert stderr_of("ScaledLogistic(0)") == "error: k must be greater than 0, got 0.\n"


@pytest.mark.parametrize("bug", ["[][1]", "int('x')", "ScaledLogistic('x')"])
def test_a_bug_keeps_its_traceback(bug: str) -> None:
    assert "Traceback" in stderr_of(bug)


def test_the_traceback_can_be_asked_for() -> None:
    assert "Traceback" in stderr_of("raise DataError('a')", SEGADV_TRACEBACK="1")
