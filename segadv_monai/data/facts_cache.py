"""Facts of images from one run to the next, so that what has not changed is not read again."""

import hashlib
import json
import logging
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import nibabel
import PIL

from .atomic import atomic_write
from .cache import cache_dir
from .file_facts import FileFacts
from .files import files_of

__all__ = ["FactsCache", "Stamp", "stamp_of"]

_LOG = logging.getLogger("segadv_monai")
# Raise the number with any change of what the facts are or how they are found.
_READER = f"2, nibabel {nibabel.__version__}, Pillow {PIL.__version__}, SimpleITK {version('SimpleITK')}"

Stamp: TypeAlias = tuple[int, ...]


def stamp_of(path: Path) -> Stamp | None:
    """Sizes and times of an image's files, which change when its content does; None if it cannot be told.

    The time of the inode's last change is among them: a copy may keep the time of the content's. Of a folder
    all that lies in it counts, which is found faster than the slices of its series.

    Args:
        path: a file, or the folder of a DICOM series.
    """
    try:
        stats = [path.stat()]
        if stat.S_ISDIR(stats[0].st_mode):
            stats += [file.stat() for file in sorted(path.iterdir())]
        else:
            stats += [file.stat() for file in files_of(path)[1:]]
    except (OSError, ValueError):
        return None
    return tuple(part for one in stats for part in (one.st_size, one.st_mtime_ns, one.st_ctime_ns))


@dataclass
class FactsCache:
    """Facts by image and role in one JSON file, whose first line has the SHA-256 of the second.

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

    def unchanged(
        self, path: Path, stamp: Stamp, *, is_label: bool
    ) -> tuple[Mapping[str, str], FileFacts] | None:
        """SHA-256 of the files of an image that has not changed, and its facts; None if it has to be read.

        Args:
            path: the image.
            stamp: of the file as it is now.
            is_label: in which role it is used.
        """
        entry = self._entries.get(str(path))
        if entry is None or tuple(entry["stamp"]) != stamp:
            return None
        facts = self._facts(entry, is_label=is_label)
        return None if facts is None else (entry["sha256"], facts)

    def same_content(self, path: Path, sha256: Mapping[str, str], *, is_label: bool) -> FileFacts | None:
        """Facts of an image that was only touched, not changed.

        Args:
            path: the image.
            sha256: of each of its files.
            is_label: in which role it is used.
        """
        entry = self._entries.get(str(path))
        if entry is None or entry["sha256"] != sha256:
            return None
        return self._facts(entry, is_label=is_label)

    def keep(
        self, path: Path, stamp: Stamp, *, sha256: Mapping[str, str], facts: FileFacts, is_label: bool
    ) -> None:
        """Remember what was read.

        Args:
            path: the image.
            stamp: of the image before it was read, so that a change while it was shows next time.
            sha256: of each of its files.
            facts: what was found.
            is_label: in which role it is used.
        """
        entry = self._entries.get(str(path))
        if entry is None or entry["sha256"] != sha256:
            entry = self._entries[str(path)] = {"sha256": dict(sha256)}
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
