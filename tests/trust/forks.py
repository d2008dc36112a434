"""Run MONAI's bundle command again and again without importing everything each time: ``python forks.py``.

Each line of the input is JSON: ``arguments`` of the command, ``log`` (where its output goes), and on request
``file_bytes`` (no file may grow beyond) and ``unprivileged`` (root may write anywhere, but not without its
capabilities). For each, two lines are written: the process and, when it has ended, its exit code, negative
for a signal.
"""

import ctypes
import json
import os
import resource
import runpy
import sys

import itk  # noqa: F401
import torch
from monai.bundle import scripts  # noqa: F401

import segadv_monai.bundle
import segadv_monai.handlers
import segadv_monai.trainers  # noqa: F401


def tasks() -> dict[str, object] | None:
    """The task of a child; None for the parent, when there are no more."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            task: dict[str, object] = json.loads(line)
            return task
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
    return None


def prepare(task: dict[str, object]) -> None:
    log = os.open(str(task["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    limit = task.get("file_bytes")
    if isinstance(limit, int):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if task.get("unprivileged"):
        version_3, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        if ctypes.CDLL(None).capset(version_3, none):
            raise OSError("the capabilities cannot be given up")


torch.set_num_threads(1)
mine = tasks()
if mine is not None:
    # From here on the child is the command itself, to the end of its interpreter.
    prepare(mine)
    sys.argv = ["monai.bundle", *map(str, mine["arguments"])]  # type: ignore[call-overload]
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
