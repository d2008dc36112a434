"""What of a config a run reads: an entry that nothing reads changes nothing, silently."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from .findings import Finding, nearest
from .merged import COMMAND_LINE, Merged, at, split, walk
from .references import closure, references_in

__all__ = ["idle", "read_ids", "unread"]


def unread(merged: Merged, roots: Sequence[str]) -> Iterator[Finding]:
    """Entries that an overlay or the command line adds and that nothing reads.

    Args:
        merged: the config, with macros expanded.
        roots: ids that MONAI itself asks for.
    """
    mentioned = {name for _, text in merged.nodes() for name in references_in(text)}
    mentioned.update(merged.copies.values(), roots)
    for id_ in merged.added:
        entry = at(merged.content, split(id_))
        if _is_read(id_, mentioned) or _is_steps(entry) or _is_argument(merged, id_):
            continue
        group, _, name = id_.rpartition("::")
        names = [str(key) for key in at(merged.content, split(group) if group else [])]
        source, _ = place = merged.place(id_)
        mark = "--" if source == COMMAND_LINE else ""
        form = mark + (group.replace("::", "#" if mark else "::") + ("#" if mark else "::") if group else "")
        remedy = nearest(name, names, form=form + "{}") or "take it away, or refer to it."
        yield Finding(*place, f"nothing reads {name}", remedy)


def read_ids(merged: Merged, roots: Sequence[str]) -> set[str]:
    """What a run comes to, from where it starts.

    Args:
        merged: the config, with macros expanded.
        roots: ids that this run starts from.
    """
    reached = closure(merged, roots)
    inner = {f"{id_}::{name}" for id_, entry in reached.items() for name, _ in walk(entry)}
    return set(reached) | inner


def idle(merged: Merged, read: Collection[str]) -> Iterator[Finding]:
    """Settings of the command line that are there but that this run does not come to.

    Args:
        merged: the config, with macros expanded.
        read: ids of what the run reads.
    """
    for id_ in merged.from_command_line():
        if id_ not in merged.added and not _is_read(id_, read):
            yield Finding(*merged.place(id_), "this run does not read it", severity="warning")


def _is_read(id_: str, references: Collection[str]) -> bool:
    return any(_is_within(id_, name) or _is_within(name, id_) for name in references)


def _is_within(inner: str, outer: str) -> bool:
    return inner == outer or inner.startswith(outer + "::")


def _is_steps(entry: Any) -> bool:
    """Whether it is a list of expressions, which can be the id of a run."""
    if not isinstance(entry, list) or not entry:
        return False
    return all(isinstance(step, str) and step.startswith("$") for step in entry)


def _is_argument(merged: Merged, id_: str) -> bool:
    """Whether it belongs to a component, whose signature says what it takes."""
    parts = split(id_)
    groups = (at(merged.content, parts[:depth]) for depth in range(len(parts)))
    return parts[-1].startswith("_") or any(isinstance(g, dict) and "_target_" in g for g in groups)
