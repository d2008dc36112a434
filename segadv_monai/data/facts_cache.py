"""Facts of files from one run to the next, so that what has not changed is not read again."""

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import PIL

from .atomic import atomic_write
from .cache import cache_dir
from .file_facts import FileFacts

__all__ = ["FactsCache", "Stamp", "stamp_of"]

_LOG = logging.getLogger("segadv_monai")
# Raise the number with any change of what the facts are or how they are found.
_READER = f"1, nibabel {nibabel.__version__}, Pillow {PIL.__version__}"

Stamp = tuple[int, int, int]


def stamp_of(path: Path) -> Stamp | None:
    """Size and times of a file, which change when its content does; None if it is not there.

    The time of the inode's last change is among them: a copy may keep the time of the content's.

    Args:
        path: the file.
    """
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


@dataclass
class FactsCache:
    """Facts by file and role in one JSON file, whose first line has the SHA-256 of the second.

    A cache that is damaged, of another version, or cannot be written is as good as an empty one.

    Args:
        root: the data set's folder, which has a cache of its own.
    """

    root: Path
    _entries: dict[str, dict[str, Any]] = field(default_factory=dict, init=False)
    _changed: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        name = hashlib.sha256(str(self.root).encode()).hexdigest()[:16]
        self.path = cache_dir() / "checks" / f"{self.root.name}-{name}.json"
        try:
            head, _, body = self.path.read_bytes().partition(b"\n")
            told = json.loads(head)
            if told["reader"] == _READER and told["sha256"] == hashlib.sha256(body).hexdigest():
                self._entries = json.loads(body)
            else:
                _LOG.debug("%s is of another version or damaged: every case is read anew", self.path)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError) as error:
            _LOG.debug("%s cannot be used (%s): every case is read anew", self.path, error)

    def unchanged(self, path: Path, stamp: Stamp, *, is_label: bool) -> tuple[str, FileFacts] | None:
        """SHA-256 and facts of a file that has not changed; None if it has to be read.

        Args:
            path: the file.
            stamp: of the file as it is now.
            is_label: in which role it is used.
        """
        entry = self._entries.get(str(path))
        if entry is None or tuple(entry["stamp"]) != stamp:
            return None
        facts = self._facts(entry, is_label=is_label)
        return None if facts is None else (entry["sha256"], facts)

    def same_content(self, path: Path, sha256: str, *, is_label: bool) -> FileFacts | None:
        """Facts of a file that was only touched, not changed.

        Args:
            path: the file.
            sha256: of its content.
            is_label: in which role it is used.
        """
        entry = self._entries.get(str(path))
        if entry is None or entry["sha256"] != sha256:
            return None
        return self._facts(entry, is_label=is_label)

    def keep(self, path: Path, stamp: Stamp, *, sha256: str, facts: FileFacts, is_label: bool) -> None:
        """Remember what was read.

        Args:
            path: the file.
            stamp: of the file before it was read, so that a change while it was shows next time.
            sha256: of its content.
            facts: what was found.
            is_label: in which role it is used.
        """
        entry = self._entries.get(str(path))
        if entry is None or entry["sha256"] != sha256:
            entry = self._entries[str(path)] = {"sha256": sha256}
        entry["stamp"] = list(stamp)
        entry["label" if is_label else "image"] = asdict(facts)
        self._changed = True

    def write(self) -> None:
        """Write what is new, and drop the files that are no longer there."""
        if not self._changed:
            return
        kept = {name: entry for name, entry in self._entries.items() if Path(name).exists()}
        body = json.dumps(kept, separators=(",", ":")).encode()
        head = {"reader": _READER, "sha256": hashlib.sha256(body).hexdigest()}
        try:
            with atomic_write(self.path) as draft:
                draft.write_bytes(json.dumps(head).encode() + b"\n" + body)
        except OSError as error:
            _LOG.warning(
                "%s cannot be written (%s): the next run reads every case again; set SEGADV_CACHE to a "
                "folder that can be written.",
                self.path,
                error.strerror or error,
            )

    @staticmethod
    def _facts(entry: dict[str, Any], *, is_label: bool) -> FileFacts | None:
        found = entry.get("label" if is_label else "image")
        if found is None:
            return None
        return FileFacts(
            shape=tuple(found["shape"]),
            not_finite=found["not_finite"],
            constant=tuple(found["constant"]),
            values=tuple(found["values"]),
            affine=tuple(tuple(row) for row in found["affine"]),
        )
