"""The command line of a run, as ``python -m monai.bundle run`` understands it."""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fire.parser import DefaultParseValue, SeparateFlagArgs
from monai.bundle import ConfigWorkflow
from monai.bundle.scripts import create_workflow, run

from .findings import Finding
from .merged import COMMAND_LINE, load

__all__ = ["read_command"]

_POSITIONS = [name for name in inspect.signature(run).parameters if name != "override"]
_OWN_OPTIONS = {
    name
    for part in (run, create_workflow, ConfigWorkflow)
    for name in inspect.signature(part).parameters
    if name not in ("override", "kwargs")
}


@dataclass(frozen=True)
class _RunCommand:
    """What a command line asks for.

    Args:
        config_files: paths, in the order in which they are merged.
        overrides: values by the ids that they are for.
        sources: for each override the file that it comes from, or ``command line``.
        options: what MONAI keeps for itself, such as ``run_id`` and ``meta_file``.
        findings: settings that MONAI would drop or take for something else.
    """

    config_files: tuple[str, ...]
    overrides: dict[str, Any]
    sources: dict[str, str]
    options: dict[str, Any]
    findings: tuple[Finding, ...]


def read_command(arguments: Sequence[str]) -> _RunCommand:
    """Read a command line.

    Args:
        arguments: what follows ``monai.bundle run``.
    """
    given = {key: DefaultParseValue(value) for key, value in _pairs(arguments)}
    stored, findings = load(given["args_file"]) if given.get("args_file") else ({}, [])
    findings += _misleading(given, COMMAND_LINE)
    findings += _misleading({key: 0 for key in stored if key not in given}, str(given.get("args_file")))
    merged = {**stored, **{key: value for key, value in given.items() if value is not None}}
    for key in stored.keys() & given.keys():
        if isinstance(stored[key], dict) and isinstance(given[key], dict):
            merged[key] = {**stored[key], **given[key]}
    options = {key: value for key, value in merged.items() if key in _OWN_OPTIONS}
    overrides = {
        key: value for key, value in merged.items() if key not in _OWN_OPTIONS and not key.startswith("+")
    }
    sources = {
        key: COMMAND_LINE if given.get(key) is not None else str(given.get("args_file")) for key in overrides
    }
    files = tuple(_files(options.get("config_file")))
    return _RunCommand(files, overrides, sources, options, tuple(findings))


def _pairs(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Names and texts of the settings; those without a name take the first places that are left."""
    words, _ = SeparateFlagArgs(list(arguments))
    named: dict[str, str] = {}
    unnamed = []
    is_value = False
    for word, following in zip(words, [*words[1:], "--"], strict=False):
        if is_value:
            is_value = False
        elif _is_option(word):
            key, equals, value = word.lstrip("-").partition("=")
            is_value = not equals and not _is_option(following)
            key, value = _flag(key.replace("-", "_")) if not equals and not is_value else (key, value)
            named[key.replace("-", "_")] = following if is_value else value
        else:
            unnamed.append(word)
    yield from zip((name for name in _POSITIONS if name not in named), unnamed, strict=False)
    yield from named.items()


def _is_option(word: str) -> bool:
    """Whether it is a name; a negative number is a value."""
    return bool(re.match(r"--|-[a-zA-Z]", word))


def _flag(key: str) -> tuple[str, str]:
    """A name without value is true; with ``no`` before it, false."""
    is_negated = key.startswith("no") and key not in _OWN_OPTIONS
    return (key[2:], "False") if is_negated else (key, "True")


def _misleading(given: Mapping[str, Any], source: str) -> Iterator[Finding]:
    for key, value in given.items():
        if key.startswith("+"):
            reason = "as a setting + replaces what is there"
            yield Finding(source, f"--{key}", reason, f'write "{key}" into a config file.')
        elif value is None and key not in _OWN_OPTIONS:
            reason = "MONAI drops a None of the command line"
            yield Finding(source, f"--{key}", reason, f'write "{key}": null into a config file.')


def _files(given: Any) -> list[str]:
    """MONAI takes one path, several with commas between them, or a list."""
    if isinstance(given, str):
        return [name.strip(" '\"") for name in given.strip("[]").split(",")]
    return [str(name) for name in given or ()]
