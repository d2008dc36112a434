"""SHA-256 of files, by which it is known later whether they are the same."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from segadv_monai.protocols import DataError

__all__ = ["digest_of", "file_hashes", "sha256_of"]


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's content, in hexadecimal.

    Args:
        path: the file.

    Raises:
        OSError: it cannot be read.
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(hashes: Mapping[str, str]) -> str:
    """SHA-256 over the hashes of many files, in the form and order of ``sha256sum`` on sorted names.

    Args:
        hashes: SHA-256 of each file by its name.
    """
    lines = (f"{hashes[name]}  {name}\n" for name in sorted(hashes))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def file_hashes(cases: Sequence[Mapping[str, Any]], key: str = "image") -> dict[str, str]:
    """SHA-256 of the files of some cases, by their paths relative to the folder that holds them all.

    Args:
        cases: dictionaries with one path, or a list of them, under ``key``.
        key: where the paths are.

    Raises:
        DataError: a file cannot be read.
    """
    paths = [path for case in cases for path in _as_list(case[key])]
    folder = os.path.commonpath([Path(path).absolute().parent for path in paths]) if paths else ""
    names = [Path(os.path.relpath(path, folder)).as_posix() for path in paths]
    try:
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            return dict(zip(names, pool.map(sha256_of, paths), strict=True))
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read ({error.strerror}): mend or remove it.") from error


def _as_list(paths: str | list[str]) -> list[str]:
    return [paths] if isinstance(paths, str) else paths
