"""The network of a config, built and run without memory or arithmetic, against the sizes that are named."""

import ast
import inspect
from collections.abc import Collection, Iterator, Mapping
from copy import deepcopy
from typing import Any, TypeGuard

import torch
from monai.bundle import ConfigParser
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .findings import Finding
from .merged import Merged, at, split, walk
from .references import closure, plain_value
from .signatures import locate
from .syntax import is_import, parsed

__all__ = ["network_faults"]

_ID = "network_def"
_FILLING = ("normal_", "uniform_")
_TRUSTED = ("monai.networks.", "segadv_monai.", "torch.nn.")
# A name can be a reference only: a module alone is no value, and nothing is taken from it or called.
_ARITHMETIC = (
    *(ast.Expression, ast.Constant, ast.Name, ast.Load),
    *(ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop),
)
# What decides the size that the network sees.
_SIZES = {
    "RandSpatialCropd": "roi_size",
    "SlidingWindowInferer": "roi_size",
    "StreamingSlidingWindow": "roi_size",
}


def network_faults(
    merged: Merged, base: Merged, read: Collection[str], *, metadata: Mapping[str, Any], file: str
) -> Iterator[Finding]:
    """Why the network cannot be made or run at the sizes that the config and the metadata name.

    Only a network that is made of modules of MONAI, torch and this package is looked at, and only what a
    device without memory can tell.

    Args:
        merged: the config, with macros expanded.
        base: its first file alone; the metadata describe the network of that.
        read: ids of what the run reads.
        metadata: of the bundle, empty if there are none.
        file: where they stand.
    """
    if not _can_be_built(merged):
        return
    name = str(merged.content[_ID]["_target_"]).rpartition(".")[2]
    try:
        network = _built(merged)
    except Exception as error:  # whatever a constructor refuses with
        if _is_verdict(error):
            yield Finding(*merged.place(_ID), f"{name} cannot be built: {_cause(error)}")
        return
    yield from _against_sizes(merged, network, read)
    if closure(merged, [_ID]) == closure(base, [_ID]):
        yield from _against_metadata(network, name, metadata, file=file)


class _WithoutFilling(TorchFunctionMode):
    """Random filling of tensors without memory does nothing, and takes a second to find that out."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if getattr(func, "__name__", "").endswith(_FILLING):
            return args[0] if args else named["tensor"]
        return func(*args, **named)


def _can_be_built(merged: Merged) -> bool:
    parts = closure(merged, [_ID])
    entry = at(merged.content, [_ID])
    if not isinstance(entry, dict) or "_target_" not in entry:
        return False
    for value in (inner for part in parts.values() for inner in [part, *(v for _, v in walk(part))]):
        if isinstance(value, str) and value.startswith("$") and not _is_arithmetic(value):
            return False
        if isinstance(value, dict) and any(value[key] for key in value if str(key).startswith("pretrained")):
            return False
        if isinstance(value, dict) and "_target_" in value and not _is_trusted(value["_target_"]):
            return False
    return True


def _is_arithmetic(text: str) -> bool:
    try:
        nodes = list(ast.walk(parsed(text)))
    except SyntaxError:
        return False
    return all(isinstance(node, _ARITHMETIC) for node in nodes)


def _is_trusted(target: Any) -> bool:
    component = locate(target)[0] if isinstance(target, str) and target[:1] not in ("$", "@") else None
    is_module = inspect.isclass(component) and issubclass(component, nn.Module)
    return is_module and f"{component.__module__}.".startswith(_TRUSTED)


def _built(merged: Merged) -> nn.Module:
    content = deepcopy(merged.content)
    for id_, text in walk(merged.content):
        if isinstance(text, str) and text.startswith("$") and is_import(text):
            *group, last = split(id_)
            parent = at(content, group)
            parent[int(last) if isinstance(parent, list) else last] = None
    with torch.random.fork_rng(devices=[]), torch.device("meta"), _WithoutFilling():
        network: nn.Module = ConfigParser(content).get_parsed_content(_ID)
    return network.eval()


def _against_sizes(merged: Merged, network: nn.Module, read: Collection[str]) -> Iterator[Finding]:
    entry = merged.content[_ID]
    name = type(network).__name__
    dims, channels = (plain_value(merged, _ID, entry.get(key))[1] for key in ("spatial_dims", "in_channels"))
    if type(dims) is not int or type(channels) is not int:
        return
    seen: dict[tuple[int, ...], str] = {}
    for id_, component in merged.nodes():
        target = component.get("_target_") if isinstance(component, dict) and id_ in read else None
        key = _SIZES.get(str(target).rpartition(".")[2])
        origin, size = plain_value(merged, f"{id_}::{key}", component.get(key)) if key else ("", None)
        if _is_size(size, dims) and tuple(size) not in seen:
            seen[tuple(size)] = origin
    for size, origin in seen.items():
        _, refusal = _run(network, (1, channels, *size))
        if refusal:
            yield Finding(*merged.place(origin), f"{name} cannot take {list(size)}: {refusal}")


def _against_metadata(
    network: nn.Module, name: str, metadata: Mapping[str, Any], *, file: str
) -> Iterator[Finding]:
    prefix = "network_data_format"
    image, pred = (at(metadata, [prefix, *end]) for end in (("inputs", "image"), ("outputs", "pred")))
    if not isinstance(image, dict) or not isinstance(pred, dict):
        return
    shape = image.get("spatial_shape")
    if not _is_size(shape, None) or type(image.get("num_channels")) is not int:
        return
    output, refusal = _run(network, (1, image["num_channels"], *shape))
    if refusal:
        key = f"{prefix}::inputs::image"
        given = f"{image['num_channels']} channels of {shape}"
        yield Finding(file, key, f"{name} cannot take {given}: {refusal}", "mend one of them.")
    if output is None:
        return
    found = {
        "num_channels": output.shape[1],
        "spatial_shape": list(output.shape[2:]),
        "dtype": str(output.dtype).removeprefix("torch."),
    }
    for key, value in found.items():
        is_open = key == "spatial_shape" and not _is_size(pred.get(key), None)
        if key in pred and not is_open and pred[key] != value:
            reason = f"is {pred[key]}, but {name} makes {value}"
            yield Finding(file, f"{prefix}::outputs::pred::{key}", reason, "mend one of them.")


def _run(network: nn.Module, shape: tuple[int, ...]) -> tuple[Tensor | None, str]:
    """The output, or why there is none; neither, if a device without memory cannot tell."""
    try:
        with torch.no_grad(), torch.device("meta"):
            output = network(torch.empty(shape))
    except Exception as error:  # whatever a network refuses with
        return None, _cause(error) if _is_verdict(error) else ""
    return (output if isinstance(output, Tensor) else None), ""


def _is_verdict(error: BaseException) -> bool:
    """Whether it says something about the network, not about the device without memory."""
    root = _root(error)
    return isinstance(root, ValueError | TypeError | RuntimeError) and not (
        isinstance(root, NotImplementedError) or "meta" in str(root).lower()
    )


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _cause(error: BaseException) -> str:
    return " ".join(str(_root(error)).split()).removesuffix(".")


def _is_size(value: Any, dims: int | None) -> TypeGuard[list[int]]:
    """Whether every axis is given as a number."""
    if not isinstance(value, list) or not value or len(value) != (dims or len(value)):
        return False
    return all(type(n) is int and n > 0 for n in value)
