"""What ran, on what, with what, and what came of it: ``run.json`` and ``config.json`` of every run."""

import atexit
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

import torch

from segadv_monai.data import DataReport, atomic_write, digest_of, sha256_of
from segadv_monai.protocols import ConfigError, SegAdvError

from .surroundings import building_parser, peak_memory, process_rank, surroundings

__all__ = ["Manifest"]

_LOG = logging.getLogger("segadv_monai")
_MOST_FILES = 2000
_MOST_EARLIER = 20
# Long lists: of an earlier run only their digests are kept.
_LISTS = ("outputs", "earlier")


@final
class Manifest:
    """Write ``run.json`` when a run begins, and again when it ends, however that is.

    Its ``status`` is ``running``, ``completed``, ``stopped`` (by a signal, a time limit, the keyboard) or
    ``failed: `` with the reason; a process that is killed leaves ``running``. The config that runs, merged
    from files and command line, is kept beside it as ``config.json``. Earlier runs into the same folder stand
    under ``earlier``. In a distributed run the first process alone writes.

    Args:
        output_dir: the folder of the run.
        data: what :func:`preflight` found, or SHA-256 of files by their names.
        inputs: other files that the run starts from, such as weights.
        seed: of the run.
        device: of the run.
        config: what runs; by default that of the ``ConfigParser`` that builds this object.

    Raises:
        ConfigError: the folder cannot be written.
    """

    def __init__(
        self,
        output_dir: str | Path,
        *,
        data: DataReport | Mapping[str, str] | None = None,
        inputs: Sequence[str | Path] = (),
        seed: int | None = None,
        device: str | torch.device = "cpu",
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(output_dir).absolute() / "run.json"
        self._device = torch.device(device)
        self._clock = time.monotonic()
        self._process = os.getpid()
        self._ended = process_rank() != 0
        if self._ended:
            return
        parser, files = building_parser()
        if config is None and parser is not None:
            config = parser.get()
        last = self._last()
        self._record: dict[str, Any] = {
            "status": "running",
            "command": [Path(sys.orig_argv[0]).name, *sys.orig_argv[1:]],
            "directory": str(Path.cwd()),
            "started": _now(),
            "ended": None,
            "seconds": None,
            "seed": seed,
            **surroundings(self._device),
            "peak_memory_mb": None,
            "config": {"files": files, "merged": None, "sha256": None},
            "inputs": {str(path): _hash_if_there(Path(path)) for path in inputs},
            "files_since_ns": last.get("files_since_ns"),
            "outputs": {},
            "data": _data(data),
            "earlier": _earlier(last),
        }
        self._begin(config)

    def complete(self) -> None:
        """The run has reached its end: the last step of a config's ``run``."""
        self._end("completed")

    def _begin(self, config: Mapping[str, Any] | None) -> None:
        try:
            if config is not None:
                place = self.path.with_name("config.json")
                # What JSON has no word for, an object that a program put there, is told by its text.
                self._write(place, lambda: json.dumps(config, indent=1, default=str))
                self._record["config"].update(merged=place.name, sha256=sha256_of(place))
            self._write(self.path, self._told)
        except OSError as error:
            raise ConfigError(
                f"output_dir {self.path.parent} cannot be written ({error.strerror or error}): "
                "set --output_dir to a folder that can."
            ) from error
        atexit.register(self._leave)

    def _told(self) -> str:
        return json.dumps(self._record, indent=1)

    def _write(self, path: Path, told: Callable[[], str]) -> None:
        with atomic_write(path) as draft:
            draft.touch()
            # By the clock of the file system, with which the outputs are compared.
            self._record["files_since_ns"] = self._record["files_since_ns"] or draft.stat().st_mtime_ns
            draft.write_text(told() + "\n", encoding="utf-8")

    def _leave(self) -> None:
        """At the end of the process: it has not completed, so a fault or a stop ended it."""
        if not self._ended and os.getpid() == self._process and self.path.is_file():
            # Set by Python for an exception that nobody caught; not for SystemExit.
            error = getattr(sys, "last_value", None)
            self._end(f"failed: {_reason(error)}" if isinstance(error, Exception) else "stopped")

    def _end(self, status: str) -> None:
        if self._ended:
            return
        self._ended = True
        atexit.unregister(self._leave)
        self._record |= {
            "status": status,
            "ended": _now(),
            "seconds": round(time.monotonic() - self._clock, 3),
            "peak_memory_mb": peak_memory(self._device),
        }
        try:
            self._record["outputs"] = dict(self._outputs())
            self._write(self.path, self._told)
        except OSError as error:
            _LOG.warning("%s cannot be written (%s): it still says running.", self.path, error)

    def _outputs(self) -> Iterator[tuple[str, str]]:
        """Files written since the first run into this folder; a folder in it may have runs of its own."""
        for folder, folders, names in os.walk(self.path.parent):
            folders[:] = sorted(name for name in folders if not Path(folder, name, "run.json").is_file())
            for name in sorted(names):
                path = Path(folder, name)
                is_ours = path == self.path or name.startswith(".draft-")
                if not is_ours and path.stat().st_mtime_ns >= self._record["files_since_ns"]:
                    yield path.relative_to(self.path.parent).as_posix(), sha256_of(path)

    def _last(self) -> dict[str, Any]:
        """The record of the run before."""
        try:
            last = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            last = error
        if not isinstance(last, dict):
            _LOG.warning("%s is damaged: what it said of earlier runs is lost.", self.path)
            return {}
        return last


def _data(data: DataReport | Mapping[str, str] | None) -> dict[str, Any] | None:
    if data is None:
        return None
    hashes = data.hashes if isinstance(data, DataReport) else data
    told = {"count": len(hashes), "sha256": digest_of(hashes)}
    return told | ({"files": dict(hashes)} if len(hashes) < _MOST_FILES else {})


def _earlier(last: dict[str, Any]) -> list[dict[str, Any]]:
    if not last:
        return []
    kept = {key: value for key, value in last.items() if key not in _LISTS}
    if isinstance(kept.get("data"), dict):
        kept["data"] = {key: value for key, value in kept["data"].items() if key != "files"}
    before = last.get("earlier")
    return [*(before if isinstance(before, list) else []), kept][-_MOST_EARLIER:]


def _reason(error: BaseException) -> str:
    """In one line: what the user can mend, or else the first cause."""
    chain = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(before)
    faults = [link for link in chain if isinstance(link, SegAdvError)]
    first = faults[-1] if faults else chain[-1]
    return " ".join(str(first if faults else f"{type(first).__name__}: {first}").split())


def _hash_if_there(path: Path) -> str | None:
    return sha256_of(path) if path.is_file() else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
