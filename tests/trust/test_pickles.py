"""Pickles that run code when they are loaded: none of them does here, asked for or not."""

import io
import os
import pickle
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from segadv_monai.handlers import LoadModel
from segadv_monai.protocols import CheckpointError


class Payload:
    """Calls something when it is loaded."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def payloads(canary: Path) -> dict[str, Payload]:
    command = f"touch {canary}"
    return {
        "system": Payload(os.system, command),
        "mkdir": Payload(os.mkdir, str(canary)),
        "exec": Payload(exec, f"open({str(canary)!r}, 'w')"),
        "eval": Payload(eval, f"__import__('os').system({command!r})"),
        "process": Payload(subprocess.run, ["touch", str(canary)]),
    }


def plain(payload: Payload) -> bytes:
    return pickle.dumps(payload)


def old_protocol(payload: Payload) -> bytes:
    return pickle.dumps({"weight": payload}, protocol=0)


def saved(payload: Payload) -> bytes:
    buffer = io.BytesIO()
    torch.save(OrderedDict(weight=torch.ones(1, 2), bias=payload), buffer)
    return buffer.getvalue()


def saved_in_the_old_format(payload: Payload) -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": [payload]}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


WRAPPERS = (plain, old_protocol, saved, saved_in_the_old_format)


@pytest.mark.parametrize("allow_pt", [False, True])
@pytest.mark.parametrize("name", list(payloads(Path())))
@pytest.mark.parametrize("wrap", WRAPPERS, ids=lambda wrap: wrap.__name__)
def test_no_pickle_runs_its_code(
    tmp_path: Path, wrap: Callable[[Payload], bytes], name: str, allow_pt: bool
) -> None:
    """Keeps S3."""
    canary, file = tmp_path / "canary", tmp_path / "model.pt"
    file.write_bytes(wrap(payloads(canary)[name]))
    network = nn.Linear(2, 1)
    before = network.weight.clone()
    reason = "holds more than weights" if allow_pt else "is a pickle"
    with pytest.raises(CheckpointError, match=reason):
        LoadModel(network, file, allow_pt=allow_pt)(None)  # type: ignore[arg-type]
    assert not canary.exists()
    assert torch.equal(network.weight, before)


@pytest.mark.parametrize("name", list(payloads(Path())))
def test_the_same_pickles_run_their_code_where_they_are_trusted(tmp_path: Path, name: str) -> None:
    """Otherwise the test above would prove nothing."""
    canary = tmp_path / "canary"
    (tmp_path / "file").write_bytes(plain(payloads(canary)[name]))
    code = f"import pickle; pickle.load(open({str(tmp_path / 'file')!r}, 'rb'))"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert canary.exists()
