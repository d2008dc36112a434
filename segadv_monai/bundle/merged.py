"""Config files and settings of a command line, merged as MONAI merges them, each value with its source."""

import json
from collections.abc import Container, Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from .findings import Finding, nearest

__all__ = ["COMMAND_LINE", "MISSING", "Merged", "at", "load", "split", "walk"]

COMMAND_LINE = "command line"
MISSING = object()
_SEPARATOR = "::"


class Merged:
    """One config out of several files and settings.

    A key that MONAI could not place is left out and found; one that it would add is noted in ``added``.
    ``copies`` has the entries that macros fill, with the ids that they are copied from.

    Args:
        files: contents by the names of their files, in the order in which they are merged.
    """

    def __init__(self, files: Sequence[tuple[str, Mapping[str, Any]]] = ()) -> None:
        self.base = files[0][0] if files else ""
        self.content: dict[str, Any] = {}
        self.findings: list[Finding] = []
        self.added: list[str] = []
        self.copies: dict[str, str] = {}
        self._sources: dict[str, str] = {}
        for number, (file, content) in enumerate(files):
            for key, value in content.items():
                self.put(str(key), value, file, is_base=number == 0)

    def put(self, key: str, value: Any, source: str, *, is_base: bool = False) -> None:
        """Set or extend one entry.

        Args:
            key: an id, with ``::`` or ``#`` between its parts; ``+`` before it extends what is there.
            value: its new content, or what is added to it.
            source: the file, or ``command line``.
            is_base: it is of the first file, which may say anything.
        """
        extends = key.startswith("+")
        parts = split(key[extends:])
        shown = f"--{key}" if source == COMMAND_LINE else key
        refusal = self._refusal(parts)
        if refusal:
            self.findings.append(Finding(source, shown, *refusal))
            return
        before, id_ = at(self.content, parts), _SEPARATOR.join(parts)
        if extends:
            problem = self._extend(before, deepcopy(value), id_, source)
            if problem:
                self.findings.append(Finding(source, shown, *problem))
            return
        parent = at(self.content, parts[:-1])
        parent[int(parts[-1]) if isinstance(parent, list) else parts[-1]] = deepcopy(value)
        self._forget(id_)
        self._sources[id_] = source
        if before is MISSING and not is_base:
            self.added.append(id_)

    def place(self, id_: str) -> tuple[str, str]:
        """File and key of an entry, or the option that set it.

        Args:
            id_: its id.
        """
        owner = id_
        while owner and owner not in self._sources:
            owner = owner.rpartition(_SEPARATOR)[0]
        source = self._sources.get(owner, "")
        return source, ("--" + id_.replace(_SEPARATOR, "#") if source == COMMAND_LINE else id_)

    def nodes(self) -> Iterator[tuple[str, Any]]:
        """Every entry and its id, without what macros copied from elsewhere in the config."""
        return walk(self.content, skip=self.copies)

    def from_command_line(self) -> list[str]:
        """Ids that the command line sets."""
        return [id_ for id_, source in self._sources.items() if source == COMMAND_LINE]

    def _refusal(self, parts: list[str]) -> tuple[str, str] | None:
        """Why MONAI would find no place for this id; a new last part has one in what is a group."""
        for depth, part in enumerate(parts):
            group = at(self.content, parts[:depth])
            is_last = depth == len(parts) - 1
            if isinstance(group, dict) and (part in group or is_last):
                continue
            if isinstance(group, list) and part.isdigit() and int(part) < len(group):
                continue
            names = _names(group)
            where = f" in {'#'.join(parts[:depth])}" if depth else ""
            remedy = nearest(part, names, form="#".join([*parts[:depth], "{}", *parts[depth + 1 :]]))
            return f"there is no {part}{where}", remedy or _list_of(names)
        return None

    def _extend(self, before: Any, value: Any, id_: str, source: str) -> tuple[str, str] | None:
        if before is MISSING:
            names = list(_names(self.content))
            return f"there is no {id_} to extend", nearest(id_, names, form="+{}") or "leave out the +."
        if isinstance(before, list) and isinstance(value, list):
            for number, entry in enumerate(value, len(before)):
                before.append(entry)
                self._sources[f"{id_}{_SEPARATOR}{number}"] = source
            return None
        if isinstance(before, dict) and isinstance(value, dict):
            for name, entry in value.items():
                before[name] = entry
                self._sources[f"{id_}{_SEPARATOR}{name}"] = source
            return None
        return "+ joins two lists or two groups", "leave out the + to replace what is there."

    def _forget(self, id_: str) -> None:
        below = id_ + _SEPARATOR
        self._sources = {key: file for key, file in self._sources.items() if not key.startswith(below)}


def split(id_: str) -> list[str]:
    """Parts of an id.

    Args:
        id_: with ``::`` or ``#`` between its parts.
    """
    return id_.replace("#", _SEPARATOR).split(_SEPARATOR)


def at(content: Any, parts: Sequence[str]) -> Any:
    """The entry there, or ``MISSING``.

    Args:
        content: a config or a part of it.
        parts: of the id.
    """
    for part in parts:
        if isinstance(content, dict) and part in content:
            content = content[part]
        elif isinstance(content, list) and part.isdigit() and int(part) < len(content):
            content = content[int(part)]
        else:
            return MISSING
    return content


def walk(content: Any, id_: str = "", *, skip: Container[str] = ()) -> Iterator[tuple[str, Any]]:
    """Every entry below and its id.

    Args:
        content: a config or a part of it.
        id_: of it.
        skip: ids of what to leave out.
    """
    if not isinstance(content, dict | list):
        return
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        inner = f"{id_}{_SEPARATOR}{key}" if id_ else str(key)
        if inner in skip:
            continue
        yield inner, value
        yield from walk(value, inner, skip=skip)


def load(path: str | Path) -> tuple[dict[str, Any], list[Finding]]:
    """Content of a config file, empty if it cannot be read, and what is wrong with the file.

    Args:
        path: JSON or YAML.
    """
    file, twice = str(path), list[str]()

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        twice.extend(key for number, key in enumerate(keys) if key in keys[:number])
        return dict(pairs)

    try:
        text = Path(path).read_text(encoding="utf-8")
        is_yaml = file.lower().endswith((".yaml", ".yml"))
        content = yaml.safe_load(text) if is_yaml else json.loads(text, object_pairs_hook=collect)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        return {}, [Finding(file, place, f"is not valid JSON ({error.msg})", "mend it there.")]
    except yaml.YAMLError as error:
        return {}, [Finding(file, "", f"is not valid YAML ({error})", "mend it there.")]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        return {}, [Finding(file, "", f"cannot be read ({reason})", "look at the path.")]
    if not isinstance(content, dict):
        return {}, [Finding(file, "", f"holds a {type(content).__name__}", "a config is an object of ids.")]
    findings = [Finding(file, key, "stands there twice, the last one counts", "remove one.") for key in twice]
    return content, findings


def _names(group: Any) -> list[str]:
    if isinstance(group, list):
        return [str(number) for number in range(len(group))]
    return [str(name) for name in group] if isinstance(group, dict) else []


def _list_of(names: Sequence[str]) -> str:
    if not names:
        return "it is no group of entries."
    return "look into the config." if len(names) > 12 else f"there are {', '.join(names)}."
