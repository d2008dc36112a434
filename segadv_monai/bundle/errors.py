"""A user's fault ends a command with one line, a bug with everything that helps to find it."""

import dis
import errno
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from segadv_monai.protocols import SegAdvError

from .check import check
from .overrides import read_command
from .surroundings import process_rank

__all__ = ["begin"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


def begin() -> None:
    """First step of a run: check it, and give the user's faults one line from here on.

    Under any other program than ``python -m monai.bundle run`` it does nothing. With ``SEGADV_TRACEBACK`` set
    in the environment every fault that is raised keeps its traceback.

    Raises:
        SystemExit: with code 1, if the check finds an error. All findings have been printed then, by the
            first process of a distributed run.
    """
    if Path(sys.argv[0]).parts[-3:] != ("monai", "bundle", "__main__.py") or sys.argv[1:2] != ["run"]:
        return
    if not os.environ.get("SEGADV_TRACEBACK"):
        sys.excepthook = _one_line
    _quieten_idle_readers()
    command = read_command(sys.argv[2:])
    ids = {name: command.options[name] for name in ("init_id", "final_id") if command.options.get(name)}
    meta_file = command.options.get("meta_file")
    findings = [*command.findings]
    if command.config_files:
        findings += check(
            command.config_files,
            command.overrides,
            run_id=command.options.get("run_id", "run"),
            meta_file=meta_file if isinstance(meta_file, str) else None,
            sources=command.sources,
            **ids,
        )
    if process_rank() == 0:
        sys.stderr.writelines(f"{finding.severity}: {finding}\n" for finding in findings)
    if any(finding.severity == "error" for finding in findings):
        raise SystemExit(1)


def _quieten_idle_readers() -> None:
    """MONAI's LoadImage makes all its readers, and one of them misses nvImageCodec wherever pydicom is."""
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader")


def _one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    line = _interruption(kind) or _fault(error) or _refused_by_the_system(error)
    if not line:
        sys.__excepthook__(kind, error, trace)
        return
    process = f"rank {process_rank()}: " if process_rank() else ""
    sys.stderr.write(f"{process}{' '.join(line.split())}\n")


def _interruption(kind: type[BaseException]) -> str:
    if not issubclass(kind, KeyboardInterrupt):
        return ""
    return "interrupted: the same command goes on from the last checkpoint."


def _fault(error: BaseException) -> str:
    faults = [link for link in _chain(error) if isinstance(link, SegAdvError) or _is_refusal(link)]
    return f"error: {faults[-1]}" if faults else ""


def _refused_by_the_system(error: BaseException) -> str:
    """What a full disk or a place that may not be written says."""
    for link in _chain(error):
        if not isinstance(link, OSError) or link.errno not in (*_FULL, *_FORBIDDEN):
            continue
        place = f"{os.fsdecode(link.filename)}: " if isinstance(link.filename, str | bytes) else ""
        remedy = "free space" if link.errno in _FULL else "allow it"
        return (
            f"error: {place}{link.strerror}: {remedy} or choose another --output_dir; the same command "
            "goes on from the last checkpoint."
        )
    return ""


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
