"""SHA-256 of files, by which it is known later whether they are the same."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from segadv_monai.protocols import DataError

from .files import files_of

__all__ = ["digest_of", "file_hashes", "image_digest", "image_hashes", "sha256_of"]


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


def image_hashes(path: str | Path) -> dict[str, str]:
    """SHA-256 of each file of one image, by its path.

    Args:
        path: a file, or the folder of a DICOM series.

    Raises:
        DataError: one of them is missing or cannot be read.
    """
    return _hashed([str(file) for file in files_of(path)])


def image_digest(hashes: Mapping[str, str]) -> str:
    """One SHA-256 of an image, whatever its files are called and wherever they lie.

    Args:
        hashes: SHA-256 of each of its files.
    """
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    return hashlib.sha256("\n".join(sorted(hashes.values())).encode()).hexdigest()


def file_hashes(cases: Sequence[Mapping[str, Any]], key: str = "image") -> dict[str, str]:
    """SHA-256 of the files of some cases, by their paths relative to the folder that holds them all.

    Args:
        cases: dictionaries with one path, or a list of them, under ``key``; a DICOM series has many files.
        key: where the paths are.

    Raises:
        DataError: a file cannot be read.
    """
    paths = [str(file) for case in cases for path in _as_list(case[key]) for file in files_of(path)]
    folder = os.path.commonpath([Path(path).absolute().parent for path in paths]) if paths else ""
    return {Path(os.path.relpath(path, folder)).as_posix(): value for path, value in _hashed(paths).items()}


def _hashed(paths: Sequence[str]) -> dict[str, str]:
    if len(paths) == 1:
        return {paths[0]: _told(paths[0])}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return dict(zip(paths, pool.map(_told, paths), strict=True))


def _told(path: str) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): mend or remove it.") from error


def _as_list(paths: str | list[str]) -> list[str]:
    return [paths] if isinstance(paths, str) else paths
