"""What a check says: one line each, with the place, the reason and what to do."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "closest", "nearest"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault of a config, or of a command line, as one line.

    Args:
        file: where it stands: a path, or ``command line``.
        key: the id or option in it, or the line of a file that cannot be read; empty for all of the file.
        reason: what is wrong.
        remedy: what to do.
        severity: an error ends a run before it starts; a warning is printed.
    """

    file: str
    key: str
    reason: str
    remedy: str = ""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        place = f"{self.file}: {self.key}" if self.key else self.file
        reason = f"{self.reason}, {self.remedy}" if self.remedy else self.reason
        return " ".join(f"{place}: {reason}".split())


def closest(name: str, names: Iterable[str]) -> str:
    """The most similar other name, or nothing.

    Args:
        name: what was written.
        names: what could have been meant.
    """
    found = difflib.get_close_matches(name, [other for other in names if other != name], n=1)
    return found[0] if found else ""


def nearest(name: str, names: Iterable[str], *, form: str = "{}") -> str:
    """The question whether a similar name was meant, or nothing.

    Args:
        name: what was written.
        names: what could have been meant.
        form: how to write the name found.
    """
    found = closest(name, names)
    return f"did you mean {form.format(found)}?" if found else ""
