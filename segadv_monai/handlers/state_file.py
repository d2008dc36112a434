"""A nested state of tensors and plain values in one safetensors file that can tell whether it is whole.

The tensors are the file's tensors; the structure around them is JSON in its metadata, beside a SHA-256 of
both. Nothing in it can run code.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from segadv_monai.data import atomic_write
from segadv_monai.protocols import CheckpointError

__all__ = ["read_state", "write_state"]

_FORMATS = {"channels_last": torch.channels_last, "channels_last_3d": torch.channels_last_3d}


def write_state(path: Path, state: dict[str, Any], *, previous: Path) -> None:
    """Write a state; the file that was there before becomes the previous one once the new one is proven.

    Args:
        path: the file.
        state: dictionaries, lists and tuples of tensors, numbers, strings, booleans and None.
        previous: gets what ``path`` held; never absent while ``path`` is being replaced.

    Raises:
        OSError: the disk is full, or the folder or the file cannot be written; both old files stay.
        TypeError: the state holds something else.
    """
    tensors: dict[str, Tensor] = {}
    structure = json.dumps(_encode(state, "", tensors))
    metadata = {"state": structure, "sha256": _digest(structure, tensors)}
    with atomic_write(path) as draft:
        draft.write_bytes(save(tensors, metadata=metadata))
        read_state(draft)
        if path.exists():
            path.replace(previous)


def read_state(path: Path) -> dict[str, Any]:
    """Read a state and prove that it is what was written.

    Args:
        path: the file.

    Raises:
        CheckpointError: it is damaged, or no state.
        OSError: it cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no dictionary
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged ({error}).") from error
    structure = metadata.get("state", "")
    if metadata.get("sha256") != _digest(structure, tensors):
        raise CheckpointError(f"{path} is damaged (its content does not have its checksum).")
    state: dict[str, Any] = _decode(json.loads(structure), tensors)
    return state


def _digest(structure: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(structure.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _encode(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    """JSON knows neither tuples nor keys that are numbers: every container names its kind."""
    if isinstance(value, Tensor):
        tensors[place] = value.detach().cpu().contiguous().clone()
        return {"tensor": place, "format": _memory_format(value)}
    if isinstance(value, dict):
        return {"dict": [[k, _encode(v, f"{place}/{k}".lstrip("/"), tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_encode(v, f"{place}/{i}", tensors) for i, v in enumerate(value)]}
    # Only the very types: a number of numpy is an int or a float to isinstance, and not to JSON.
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(
        f"a checkpoint holds tensors and plain values, but {place} is a {type(value).__name__}: convert it."
    )


def _decode(value: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        tensor = tensors[value["tensor"]]
        name = value["format"]
        return tensor if name is None else tensor.contiguous(memory_format=_FORMATS[name])
    if "dict" in value:
        return {key: _decode(entry, tensors) for key, entry in value["dict"]}
    kind, content = next(iter(value.items()))
    entries = [_decode(entry, tensors) for entry in content]
    return entries if kind == "list" else tuple(entries)


def _memory_format(tensor: Tensor) -> str | None:
    """An optimiser's moments have their parameter's; with another one its sums could round differently."""
    name = {4: "channels_last", 5: "channels_last_3d"}.get(tensor.ndim)
    if name is None or tensor.is_contiguous():
        return None
    return name if tensor.is_contiguous(memory_format=_FORMATS[name]) else None
