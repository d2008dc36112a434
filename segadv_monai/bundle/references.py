"""References and macros of a config: whether what they name is there, and whether they go in circles."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

from monai.bundle import ConfigParser, ReferenceResolver

from .findings import Finding, closest
from .merged import MISSING, Merged, at, load, split, walk

__all__ = ["circles", "closure", "dangling", "expand", "plain_value", "references_in"]

_REFERENCE = ReferenceResolver.id_matcher
_LONGEST_CHAIN = 16


def expand(merged: Merged) -> Iterator[Finding]:
    """Put in place of each macro what it names and make relative ids absolute, as MONAI does before a run.

    Args:
        merged: changed in place.
    """
    yield from _expand(merged, merged.content, "")


def _expand(merged: Merged, group: Any, id_: str) -> Iterator[Finding]:
    items = list(group.items()) if isinstance(group, dict) else list(enumerate(group))
    for key, value in items:
        inner = f"{id_}::{key}" if id_ else str(key)
        if isinstance(value, dict | list):
            yield from _expand(merged, value, inner)
        elif isinstance(value, str):
            try:
                absolute = ConfigParser.resolve_relative_ids(inner, value)
            except ValueError:
                yield Finding(*merged.place(inner), f"{value} goes above the config", "take away a level.")
                continue
            group[key] = absolute
            if absolute.startswith("%"):
                yield from _replace(merged, group, key, inner)


def _replace(merged: Merged, group: Any, key: Any, id_: str) -> Iterator[Finding]:
    macro = group[key]
    path, inside = ConfigParser.split_path_id(macro[1:])
    content: Any = merged.content
    if path:
        content, findings = load(path)
        if findings:
            yield Finding(*merged.place(id_), f"{macro}: {findings[0]}", "")
            return
    found = at(content, split(inside)) if inside else content
    if found is MISSING:
        yield Finding(*merged.place(id_), f"{macro} names nothing", _suggested(content, inside, "%"))
        return
    if not path:
        merged.copies[id_] = "::".join(split(inside))
    group[key] = deepcopy(found)


def dangling(merged: Merged, id_: str, text: str) -> Iterator[Finding]:
    """References of one text that name nothing, and what looks like a reference but is none to MONAI.

    Args:
        merged: the config, with macros expanded.
        id_: of the text.
        text: what stands there.
    """
    for name in references_in(text):
        if at(merged.content, split(name)) is MISSING:
            remedy = _suggested(merged.content, name, "@")
            yield Finding(*merged.place(id_), f"@{_shown(name)} refers to nothing", remedy)
    if not text.startswith("@") or _REFERENCE.fullmatch(text):
        return
    first = _REFERENCE.match(text)
    if first and at(merged.content, split(first.group()[1:])) is not MISSING:
        reason = f"{text} is a text to MONAI, no reference"
        yield Finding(*merged.place(id_), reason, "give the id alone, or begin with $.")


def references_in(text: Any) -> list[str]:
    """Ids that a text refers to; none of what is no text.

    Args:
        text: what stands in a config.
    """
    return list(ReferenceResolver.match_refs_pattern(text)) if isinstance(text, str) else []


def closure(merged: Merged, roots: Sequence[str]) -> dict[str, Any]:
    """The entries of these ids and all that they refer to, by their ids.

    Args:
        merged: the config, with macros expanded.
        roots: ids; those that are not there are left out.
    """
    found: dict[str, Any] = {}
    waiting = list(roots)
    while waiting:
        id_ = waiting.pop()
        entry = at(merged.content, split(id_))
        if id_ in found or entry is MISSING:
            continue
        found[id_] = entry
        texts = [entry, *(value for _, value in walk(entry))]
        waiting += [name for text in texts for name in references_in(text)]
    return found


def plain_value(merged: Merged, id_: str, value: Any) -> tuple[str, Any]:
    """The value at the end of a chain of plain references, and its id.

    Args:
        merged: the config, with macros expanded.
        id_: of the first.
        value: that stands there.
    """
    for _ in range(_LONGEST_CHAIN):
        if not isinstance(value, str) or not _REFERENCE.fullmatch(value):
            break
        id_ = "::".join(split(value[1:]))
        value = at(merged.content, split(id_))
    return id_, value


def circles(merged: Merged) -> Iterator[Finding]:
    """Entries that need themselves before they can be made.

    Args:
        merged: the config, with macros expanded.
    """
    done: set[str] = set()
    found: set[frozenset[str]] = set()

    def follow(id_: str, path: list[str]) -> Iterator[Finding]:
        if id_ in path:
            circle = path[path.index(id_) :]
            if frozenset(circle) not in found:
                found.add(frozenset(circle))
                way = " > ".join(_shown(step) for step in [*circle, id_])
                added = [step for step in circle if merged.place(step)[0] != merged.base]
                place = merged.place(added[0] if added else circle[0])
                yield Finding(*place, f"refers to itself: {way}", "cut one of them.")
            return
        if id_ in done:
            return
        entry = at(merged.content, split(id_))
        for needed in ReferenceResolver.find_refs_in_config(entry, id_):
            yield from follow(needed, [*path, id_])
        done.add(id_)

    for id_ in merged.content:
        yield from follow(id_, [])


def _suggested(content: Any, id_: str, mark: str) -> str:
    """The question whether a similar id was meant, or what is not there."""
    parts = split(id_)
    for depth, part in enumerate(parts):
        group = at(content, parts[:depth])
        if at(group, [part]) is not MISSING:
            continue
        names = [str(n) for n in range(len(group))] if isinstance(group, list) else list(_keys(group))
        guess = closest(part, names)
        if guess:
            return f"did you mean {mark}{'#'.join([*parts[:depth], guess, *parts[depth + 1 :]])}?"
        where = f" in {'#'.join(parts[:depth])}" if depth else ""
        return f"there is no {part or 'name'}{where}."
    return ""


def _keys(group: Any) -> list[str]:
    return [str(key) for key in group] if isinstance(group, dict) else []


def _shown(id_: str) -> str:
    return id_.replace("::", "#")
