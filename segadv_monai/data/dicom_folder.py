"""Which files of a folder are DICOM, and which of these are the one series that is to be read.

What is no DICOM file by its name and its content is left alone: pictures, texts, archives, hidden files, the
DICOMDIR. What may have been one, and is not, ends in an error: a slice is not lost in silence.
"""

import re
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from segadv_monai.protocols import DataError

from .dicom_header import Header, quotable, read_header

__all__ = ["VOLUME_CLASSES", "chosen", "class_of", "headers_in", "may_be_dicom"]

_SUFFIXES = (".dcm", ".dicom", ".dic", ".ima")
# Names that end in a UID seem to have a suffix.
_NO_SUFFIX = re.compile(r"\.?\d*")
_MAGIC = slice(128, 132)
_LOOKED_AT = 1024
_DIRECTORY = "1.2.840.10008.1.3.10"
_STORAGE = "1.2.840.10008.5.1.4.1.1"
VOLUME_CLASSES = {
    f"{_STORAGE}.2": "CT",
    f"{_STORAGE}.2.1": "CT",
    f"{_STORAGE}.2.2": "CT",
    f"{_STORAGE}.4": "MR",
    f"{_STORAGE}.4.1": "MR",
    f"{_STORAGE}.4.4": "MR",
    f"{_STORAGE}.128": "PT",
    f"{_STORAGE}.130": "PT",
    f"{_STORAGE}.128.1": "PT",
}
_MOST_LISTED = 6


def may_be_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its first bytes or its name; nothing more of it is read.

    Args:
        path: a file.
    """
    head = _head(path)
    return head[_MAGIC] == b"DICM" or path.suffix.lower() in _SUFFIXES or (_bare(path) and _starts_bare(head))


def headers_in(place: Path) -> list[Header]:
    """The headers of all DICOM files of a folder, in the order of their names, or that of one file.

    Args:
        place: the folder, or one file; folders inside it are not looked into.

    Raises:
        DataError: the folder is missing or holds no DICOM file, or one that is damaged.
    """
    try:
        everything = [place] if place.is_file() else sorted(place.iterdir())
    except OSError as error:
        raise DataError(
            f"{place} cannot be read ({error.strerror}): give the folder of a DICOM series."
        ) from None
    # A link that leads nowhere may have been a slice.
    visible = [path for path in everything if path.is_file() or not path.exists()]
    visible = [path for path in visible if not path.name.startswith(".")]
    found = [header for path in visible if (header := _header(path)) is not None]
    if not found and place.is_file():
        raise DataError(f"{place} is no DICOM image: give a multi-frame file or the folder of a series.")
    if not found:
        inside = any(path.is_dir() for path in everything)
        remedy = "give the one inside it that holds the slices" if inside else "give the folder of a series"
        raise DataError(f"{place} holds no DICOM files: {remedy}.")
    return found


def chosen(place: Path, headers: Sequence[Header], series_uid: str | None) -> list[Header]:
    """The headers of one series, which is the only one there or the one that is named.

    Args:
        place: the folder or file, for messages.
        headers: of all files.
        series_uid: its SeriesInstanceUID; None if it has to be the only one.

    Raises:
        DataError: there is no such series, there are several, it mixes kinds, or it is no volume.
    """
    series: dict[str, list[Header]] = {}
    for header in headers:
        series.setdefault(header.text("SeriesInstanceUID"), []).append(header)
    if series_uid is None and len(series) > 1:
        raise DataError(
            f"{place} holds {len(series)} series, {_listing(series)}: give series_uid, or a folder to each."
        )
    if series_uid is not None and series_uid not in series:
        raise DataError(f"{place} holds no series {series_uid}, but {_listing(series)}: give one of these.")
    members = series[series_uid] if series_uid is not None else next(iter(series.values()))
    for header in members:
        _check_kind(header)
    for keyword in ("Modality", "FrameOfReferenceUID"):
        _check_one(place, members, keyword)
    if len(members) > 1 and (many := [header for header in members if header.frames > 1]):
        raise DataError(
            f"{place} holds {many[0].path.name} of {many[0].frames} frames among other files of its series: "
            "give it a folder of its own."
        )
    return members


def _header(path: Path) -> Header | None:
    """None of a file that has nothing to do with DICOM, and of a DICOMDIR."""
    head = _head(path)
    if head[_MAGIC] == b"DICM":
        header = read_header(path)
        return None if class_of(header) == _DIRECTORY else _with_pixels(header)
    if not _bare(path):
        return None
    if _starts_bare(head):
        header = read_header(path, bare=True)
        if header.text("SOPClassUID"):
            return _with_pixels(header)
    elif path.suffix.lower() not in _SUFFIXES and _is_text(head):
        return None
    raise DataError(
        f"{path} is named as a DICOM file may be and is none, or is damaged: take it out, or fetch it again."
    )


def _with_pixels(header: Header) -> Header:
    """Refuse an image that ends before its pixels, and what ends before it says what it is."""
    other = class_of(header) not in ("", *VOLUME_CLASSES) and header.text("SeriesInstanceUID")
    if header.length < 0 and not other:
        raise DataError(f"{header.path} is truncated or has no PixelData: fetch or export it again.")
    return header


def _bare(path: Path) -> bool:
    """Whether, by its name, a file may be DICOM without the preamble."""
    return path.suffix.lower() in _SUFFIXES or _NO_SUFFIX.fullmatch(path.suffix) is not None


def _starts_bare(head: bytes) -> bool:
    """Whether the first element is of a group that a data set starts with, in either byte order."""
    return head[:2] in (b"\x02\x00", b"\x08\x00", b"\x00\x08")


def _is_text(head: bytes) -> bool:
    return bool(head) and min(head) >= ord("\t")


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LOOKED_AT)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}): mend its permissions, or the link that it is."
        ) from None


def class_of(header: Header) -> str:
    """The UID of what the object is; anonymised files have it at the start of the file only.

    Args:
        header: of the file.
    """
    told = header.text("SOPClassUID")
    if not told and (meta := getattr(header.dataset, "file_meta", None)):
        told = str(meta.get("MediaStorageSOPClassUID") or "").strip()
    return told


def _check_kind(header: Header) -> None:
    kind, modality = class_of(header), header.text("Modality")
    if VOLUME_CLASSES.get(kind) != modality or not modality:
        uid: Any = import_module("pydicom.uid").UID
        name = uid(kind).name if uid(kind).name != kind else f"an object of the class {quotable(kind)}"
        raise DataError(
            f"{header.path} is {name}, modality {quotable(modality)}: only CT, MR and PET images are "
            "read; take it out of the folder, or name the images' series_uid."
        )


def _check_one(place: Path, members: Sequence[Header], keyword: str) -> None:
    first = members[0]
    for other in members[1:]:
        if other.text(keyword) != first.text(keyword):
            raise DataError(
                f"{place}: {first.path.name} and {other.path.name} are of one series and differ in "
                f"{keyword}: they have no common grid; split the folder."
            )


def _listing(series: dict[str, list[Header]]) -> str:
    """What there is, without a word that may name the patient."""
    parts = []
    for uid, headers in sorted(series.items())[:_MOST_LISTED]:
        kinds = "/".join(sorted(Counter(quotable(header.text("Modality")) for header in headers)))
        frames = sum(header.frames for header in headers)
        parts.append(f"{kinds} of {frames} slices ({quotable(uid) if uid else 'no SeriesInstanceUID'})")
    return ", ".join(parts) + (", ..." if len(series) > _MOST_LISTED else "")
