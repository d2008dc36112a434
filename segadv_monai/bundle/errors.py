"""A user's fault ends a command with one line, a bug with everything that helps to find it."""

import dis
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from segadv_monai.protocols import SegAdvError

from .overrides import check_overrides

__all__ = ["begin"]


def begin() -> None:
    """First step of a run: check the settings of the command line and give faults one line from here on.

    Under any other program than ``python -m monai.bundle run`` it does nothing. With ``SEGADV_TRACEBACK`` set
    in the environment every fault keeps its traceback.

    Raises:
        ConfigError: the command line has a setting that the config has no place for.
    """
    if Path(sys.argv[0]).parts[-3:] != ("monai", "bundle", "__main__.py") or sys.argv[1:2] != ["run"]:
        return
    if not os.environ.get("SEGADV_TRACEBACK"):
        sys.excepthook = _one_line
    check_overrides(sys.argv[2:])


def _one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("interrupted: the same command goes on after the last finished epoch.\n")
        return
    faults = [link for link in _chain(error) if isinstance(link, SegAdvError) or _is_refusal(link)]
    if not faults:
        sys.__excepthook__(kind, error, trace)
        return
    message = " ".join(str(faults[-1]).split())
    sys.stderr.write(f"error: {message}\n")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_refusal(error: BaseException) -> bool:
    """Whether a ``raise`` of this package refused a value; an error that befell it is a bug."""
    trace = error.__traceback__
    if trace is None or not isinstance(error, ValueError | TypeError):
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    frame = trace.tb_frame
    is_ours = str(frame.f_globals.get("__name__", "")).startswith("segadv_monai.")
    return is_ours and dis.opname[frame.f_code.co_code[trace.tb_lasti]] == "RAISE_VARARGS"
