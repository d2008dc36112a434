"""The metadata of a bundle: the Model Zoo's schema, and the versions that are installed."""

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jsonschema.validators import validator_for

from .findings import Finding, closest
from .merged import load

__all__ = ["metadata_faults", "version_warnings"]

_TEXT = (
    *("schema", "version", "monai_version", "pytorch_version", "numpy_version"),
    *("task", "description", "authors", "copyright"),
)
_GROUPS = ("changelog", "required_packages_version", "network_data_format")
_OF_A_TENSOR = {
    "type": str,
    "format": str,
    "num_channels": int,
    "spatial_shape": list,
    "dtype": str,
    "value_range": list,
}
_KINDS = {str: "a text", int: "an integer", list: "a list", dict: "an object"}
_PACKAGES = {"monai_version": "monai", "pytorch_version": "torch", "numpy_version": "numpy"}


def metadata_faults(
    content: Mapping[str, Any], file: str, *, schema: str | Path | None = None
) -> Iterator[Finding]:
    """What the Model Zoo would refuse.

    Args:
        content: of the metadata.
        file: where it stands.
        schema: the zoo's schema, if it is at hand; without it, rules of our own for what it requires.
    """
    if schema is None:
        yield from _by_own_rules(content, file)
    else:
        yield from _by_schema(content, file, schema)
    changelog, number = content.get("changelog"), content.get("version")
    if isinstance(changelog, dict) and isinstance(number, str) and number not in changelog:
        last = ", ".join(list(changelog)[:1])
        reason = f"version {number} is not in it" + (f" ({last} is)" if last else "")
        yield Finding(file, "changelog", reason, "add a line for it.")


def version_warnings(content: Mapping[str, Any], file: str) -> Iterator[Finding]:
    """Packages of another release series than those that the bundle was made with, or not there.

    Args:
        content: of the metadata.
        file: where it stands.
    """
    packages = content.get("required_packages_version")
    named = {f"required_packages_version::{name}": (name, number) for name, number in _items(packages)}
    named |= {key: (name, content[key]) for key, name in _PACKAGES.items() if key in content}
    for key, (name, number) in named.items():
        try:
            there = version(name)
        except PackageNotFoundError:
            yield Finding(file, key, f"{name} is not installed", f"install {name}=={number}.", "warning")
            continue
        if _series(there) != _series(str(number)):
            reason = f"{name} {number} is named, {there} is installed"
            yield Finding(file, key, reason, "results may differ.", "warning")


def _by_own_rules(content: Mapping[str, Any], file: str) -> Iterator[Finding]:
    wanted = {**dict.fromkeys(_TEXT, str), **dict.fromkeys(_GROUPS, dict)}
    yield from _entries(content, file, "", wanted=wanted)
    formats = [key for key in content if key.endswith("_data_format")]
    for key in formats:
        ends = content[key]
        if not isinstance(ends, dict):
            continue
        yield from _entries(ends, file, key, wanted={"inputs": dict, "outputs": dict})
        for end, name, tensor in [(e, n, t) for e in ("inputs", "outputs") for n, t in _items(ends.get(e))]:
            if isinstance(tensor, dict):
                yield from _entries(tensor, file, f"{key}::{end}::{name}", wanted=_OF_A_TENSOR)


def _entries(
    content: Mapping[str, Any], file: str, prefix: str, *, wanted: Mapping[str, Any]
) -> Iterator[Finding]:
    for name, kind in wanted.items():
        key = f"{prefix}::{name}" if prefix else name
        if name not in content:
            near = closest(name, [other for other in content if other not in wanted])
            if near:
                written = key.removesuffix(name) + near
                yield Finding(file, written, f"is not known and {name} is missing", f"did you mean {name}?")
            else:
                yield Finding(file, key, "is missing", "add it.")
        elif not isinstance(content[name], kind) or (kind is int and isinstance(content[name], bool)):
            yield Finding(file, key, f"must be {_KINDS[kind]}, got {content[name]!r}")


def _by_schema(content: Mapping[str, Any], file: str, schema: str | Path) -> Iterator[Finding]:
    rules, findings = load(schema)
    yield from findings
    if findings:
        return
    for error in validator_for(rules)(rules).iter_errors(dict(content)):
        yield Finding(file, "::".join(str(part) for part in error.absolute_path), str(error.message))


def _items(group: Any) -> list[tuple[str, Any]]:
    return list(group.items()) if isinstance(group, dict) else []


def _series(number: str) -> list[str]:
    """The first two parts, which say what an interface is; the third mends."""
    return re.findall(r"\d+", number)[:2]
