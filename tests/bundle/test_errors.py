"""One line for a user's fault, a traceback for a bug."""

import errno
import os
import sys
from collections.abc import Callable

import pytest

from segadv_monai.bundle import begin
from segadv_monai.layers import ScaledLogistic
from segadv_monai.protocols import DataError

Fault = Callable[[], object]


@pytest.fixture
def stderr_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a run prints that ends in a fault, which MONAI wraps into an error of its own."""

    def run(fault: Fault, **environment: str) -> str:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["monai/bundle/__main__.py", "run"])
        monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
        begin()
        try:
            try:
                fault()
            except Exception as error:
                raise RuntimeError("Failed to evaluate") from error
        except (RuntimeError, KeyboardInterrupt) as error:
            sys.excepthook(type(error), error, error.__traceback__)
        out, err = capsys.readouterr()
        assert out == ""
        return err

    return run


def raising(error: BaseException) -> Fault:
    def fault() -> None:
        raise error

    return fault


def mended() -> None:
    try:
        raise OSError(errno.EACCES, "x")
    except OSError as error:
        raise DataError("a") from error


def test_a_users_fault_gets_one_line(stderr_of: Callable[..., str]) -> None:
    """Keeps B15."""
    assert stderr_of(raising(DataError("a.png is\nbroken: mend it."))) == "error: a.png is broken: mend it.\n"


def test_a_value_that_a_part_of_the_package_refuses_gets_one_line(stderr_of: Callable[..., str]) -> None:
    assert stderr_of(lambda: ScaledLogistic(0)) == "error: k must be greater than 0, got 0.\n"


@pytest.mark.parametrize(
    "bug",
    [lambda: {}[1], lambda: int("x"), lambda: ScaledLogistic("x"), lambda: open("nowhere")],  # noqa: SIM115, PTH123
    ids=["index", "value", "type", "file"],
)
def test_a_bug_keeps_its_traceback(bug: Fault, stderr_of: Callable[..., str]) -> None:
    assert "Traceback" in stderr_of(bug)


def test_the_traceback_can_be_asked_for(stderr_of: Callable[..., str]) -> None:
    assert "Traceback" in stderr_of(raising(DataError("a")), SEGADV_TRACEBACK="1")


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "free space"),
        (errno.EDQUOT, "free space"),
        (errno.EFBIG, "free space"),
        (errno.EROFS, "allow it"),
        (errno.EACCES, "allow it"),
        (errno.EPERM, "allow it"),
    ],
)
def test_a_disk_that_is_full_or_forbidden_gets_one_line(
    code: int, remedy: str, stderr_of: Callable[..., str]
) -> None:
    """Keeps B15."""
    reason = os.strerror(code)
    ending = f"{remedy} or choose another --output_dir; the same command goes on from the last checkpoint.\n"
    assert stderr_of(raising(OSError(code, reason, "runs/last"))) == f"error: runs/last: {reason}: {ending}"
    assert stderr_of(raising(OSError(code, reason))) == f"error: {reason}: {ending}"


def test_a_fault_that_the_system_caused_is_told_in_our_words(stderr_of: Callable[..., str]) -> None:
    assert stderr_of(mended) == "error: a\n"


def test_an_interruption_gets_one_line(stderr_of: Callable[..., str]) -> None:
    line = "interrupted: the same command goes on from the last checkpoint.\n"
    assert stderr_of(raising(KeyboardInterrupt())) == line


def test_a_fault_of_another_process_says_whose_it_is(stderr_of: Callable[..., str]) -> None:
    assert stderr_of(raising(DataError("a")), RANK="3") == "rank 3: error: a\n"


def test_under_another_program_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["own_program.py", "run", "--config_file", "nowhere.json"])
    before = sys.excepthook
    begin()
    assert sys.excepthook is before
