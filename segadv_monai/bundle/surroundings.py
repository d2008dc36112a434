"""Under what a run runs: config, versions, device, processes, memory. Nothing that names the machine."""

import importlib.metadata
import inspect
import os
import platform
import sys
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.utils.module import optional_import

__all__ = ["building_parser", "peak_memory", "process_rank", "surroundings"]

_PACKAGES = ("segadv-monai", "monai", "torch", "pytorch-ignite", "numpy", "nibabel", "Pillow")
# Not there on Windows.
_resource, _has_resource = optional_import("resource")


def process_rank() -> int:
    """Number of this process in a distributed run, known before the processes speak; 0 of a single one."""
    return int(os.environ.get("RANK", "0"))


def building_parser() -> tuple[ConfigParser | None, list[str]]:
    """The parser that is just building an object of its config, and the files that a command gave it.

    No id of a config stands for the config itself, so that it could be an argument: the parser is found among
    the callers.
    """
    parser, files = None, []
    frame = inspect.currentframe()
    while frame is not None:
        caller = frame.f_locals.get("self")
        if parser is None and isinstance(caller, ConfigParser):
            parser = caller
        if frame.f_code.co_name == "create_workflow" and (given := frame.f_locals.get("config_file")):
            files = given.split(",") if isinstance(given, str) else [str(file) for file in given]
        frame = frame.f_back
    return parser, files


def surroundings(device: torch.device) -> dict[str, Any]:
    """What two runs have to share to give the same bits, besides config and data.

    Args:
        device: where the run runs.
    """
    is_cuda = device.type == "cuda"
    return {
        "device": {
            "name": str(device),
            "model": torch.cuda.get_device_name(device) if is_cuda else platform.machine(),
        },
        "threads": torch.get_num_threads(),
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        "platform": platform.platform(),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
            "cuda": torch.version.cuda,
        },
    }


def peak_memory(device: torch.device) -> dict[str, float | None]:
    """Most memory in MB that this process and its tensors on the device have had; None where it is not known.

    Args:
        device: where the run runs.
    """
    peak: dict[str, float | None] = {"process": None, "device": None}
    if _has_resource:
        # The unit is the platform's: kilobytes, but bytes on macOS.
        unit = 1 if sys.platform == "darwin" else 1024
        peak["process"] = round(_resource.getrusage(_resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)
    if device.type == "cuda":
        peak["device"] = round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    return peak
