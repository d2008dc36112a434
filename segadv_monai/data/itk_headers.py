"""What the headers of MetaImage and NRRD files declare, read before any library takes memory for it.

Of both formats everything is taken that ITK writes; what is rare (text values, values in several files) is
refused by name.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segadv_monai.protocols import DataError

__all__ = ["ITK_SUFFIXES", "StoredValues", "declared"]

ITK_SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr")

_LONGEST_HEADER = 1 << 20
_META_TYPES = {
    "MET_UCHAR": "u1",
    "MET_CHAR": "i1",
    "MET_USHORT": "u2",
    "MET_SHORT": "i2",
    "MET_UINT": "u4",
    "MET_INT": "i4",
    "MET_ULONG": "u4",
    "MET_LONG": "i4",
    "MET_ULONG_LONG": "u8",
    "MET_LONG_LONG": "i8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_LONG = ("longlong", "long long", "long long int", "signed long long", "signed long long int")
_NRRD_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": (*_LONG, "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_PLACES = ("domain", "space", "time", "???", "none")


@dataclass(frozen=True, slots=True)
class StoredValues:
    """Where the values of a file are and how many.

    Args:
        shape: as they are stored, the first axis fastest.
        dtype: of a value, with its byte order.
        channel_axis: which of the axes holds the channels; None if there is one channel.
        file: that holds the values: the header's own or another in its folder.
        offset: of their first byte; negative if they end the file.
        packing: ``raw``, ``zlib`` or ``gzip``.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    channel_axis: int | None
    file: Path
    offset: int
    packing: str


def declared(path: str | Path) -> StoredValues:
    """Read a header.

    Args:
        path: a file that ends in one of the suffixes.

    Raises:
        DataError: it declares something that cannot be: a spacing of 0, values outside its folder.
        OSError, ValueError: it cannot be read, or is no such header.
    """
    path = Path(path)
    with path.open("rb") as file:
        content = file.read(_LONGEST_HEADER)
    is_meta = path.suffix.lower() in (".mha", ".mhd")
    return _of_meta(path, content) if is_meta else _of_nrrd(path, content)


def _of_meta(path: Path, content: bytes) -> StoredValues:
    fields: dict[str, str] = {}
    at = 0
    while "ElementDataFile" not in fields:
        line, end, _ = content[at:].partition(b"\n")
        key, equals, value = line.decode("latin-1").partition("=")
        if not equals or not (end or key.strip() == "ElementDataFile"):
            raise ValueError("it does not begin with the header of a MetaImage")
        at += len(line) + len(end)
        fields[key.strip()] = value.strip()
    _check_meta(path, fields)
    sizes = tuple(int(length) for length in fields["DimSize"].split())
    if len(sizes) != int(fields["NDims"]):
        raise ValueError(f"it has {fields['NDims']} axes and {len(sizes)} lengths")
    channels = int(fields.get("ElementNumberOfChannels", 1))
    is_big = _is_set(fields, "BinaryDataByteOrderMSB") or _is_set(fields, "ElementByteOrderMSB")
    file = path if fields["ElementDataFile"] == "LOCAL" else _beside(path, fields["ElementDataFile"])
    return StoredValues(
        shape=sizes if channels == 1 else (channels, *sizes),
        dtype=np.dtype(_META_TYPES[fields["ElementType"]]).newbyteorder(">" if is_big else "<"),
        channel_axis=None if channels == 1 else 0,
        file=file,
        offset=at if file == path else int(fields.get("HeaderSize", 0)),
        packing="zlib" if _is_set(fields, "CompressedData") else "raw",
    )


def _check_meta(path: Path, fields: Mapping[str, str]) -> None:
    if missing := [key for key in ("NDims", "DimSize", "ElementType") if key not in fields]:
        raise ValueError(f"its header has no {missing[0]}")
    if fields["ElementType"] not in _META_TYPES or not _is_set(fields, "BinaryData", "True"):
        raise _unusual(path, f"{fields['ElementType']}, binary {fields.get('BinaryData', True)}")
    for key in ("ElementSpacing", "ElementSize"):
        _check_spacing(path, fields.get(key, "").split())
    for key in ("TransformMatrix", "Rotation", "Orientation", "Offset", "Origin", "Position"):
        _check_finite(path, fields.get(key, "").split())


def _is_set(fields: Mapping[str, str], key: str, otherwise: str = "False") -> bool:
    return fields.get(key, otherwise).lower() in ("true", "t", "1")


def _of_nrrd(path: Path, content: bytes) -> StoredValues:
    head, blank, _ = content.partition(b"\n\n")
    if b"\r\n\r\n" in head:
        head, blank, _ = content.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").splitlines()
    if not lines or not re.fullmatch(r"NRRD000[1-5]", lines[0]):
        raise ValueError("it does not begin as a NRRD file does")
    pairs = [line.split(": ", 1) for line in lines[1:] if not line.startswith("#") and ": " in line]
    fields = {key.strip().lower(): value.strip() for key, value in pairs}
    _check_nrrd(path, fields)
    sizes = tuple(int(length) for length in fields["sizes"].split())
    if len(sizes) != int(fields["dimension"]):
        raise ValueError(f"it has {fields['dimension']} axes and {len(sizes)} lengths")
    name = fields.get("data file", fields.get("datafile"))
    if name is None and not blank:
        raise ValueError("its header does not end")
    kind = next(kind for kind, names in _NRRD_TYPES.items() if fields["type"].lower() in names)
    gzipped = fields["encoding"].lower() in ("gzip", "gz")
    return StoredValues(
        shape=sizes,
        dtype=np.dtype(kind).newbyteorder(">" if fields.get("endian", "").lower() == "big" else "<"),
        channel_axis=_channel_axis(path, fields, len(sizes)),
        file=path if name is None else _beside(path, name),
        offset=(len(head) + len(blank) if name is None else 0) + int(fields.get("byte skip", 0)),
        packing="gzip" if gzipped else "raw",
    )


def _check_nrrd(path: Path, fields: Mapping[str, str]) -> None:
    if missing := [key for key in ("type", "dimension", "sizes", "encoding") if key not in fields]:
        raise ValueError(f"its header has no {missing[0]}")
    known = any(fields["type"].lower() in names for names in _NRRD_TYPES.values())
    is_plain = fields["encoding"].lower() in ("raw", "gzip", "gz")
    skips = [fields.get(key, "0") for key in ("line skip", "lineskip", "byte skip", "byteskip")]
    if not known or not is_plain or any(skip != "0" for skip in skips):
        raise _unusual(path, f"{fields['type']}, {fields['encoding']}, skipping {', '.join(skips)}")
    _check_spacing(path, [length for length in fields.get("spacings", "").split() if length != "none"])
    for key in ("space directions", "space origin"):
        _check_finite(path, re.findall(r"[^\s(),]+", fields.get(key, "").replace("none", "")))


def _channel_axis(path: Path, fields: Mapping[str, str], axes: int) -> int | None:
    """The axis that leads nowhere in space."""
    directions = re.findall(r"none|\([^)]*\)", fields.get("space directions", ""))
    kinds = fields.get("kinds", "").split()
    found = [
        axis
        for axis in range(axes)
        if directions[axis : axis + 1] == ["none"]
        or kinds[axis : axis + 1] not in [[], *([p] for p in _PLACES)]
    ]
    if len(found) > 1:
        raise _unusual(path, f"{len(found)} axes that lead nowhere in space")
    return found[0] if found else None


def _beside(path: Path, name: str) -> Path:
    """The file of the values, which lies in the folder of its header or below."""
    if name.startswith("LIST") or "%" in name:
        raise _unusual(path, "values in several files")
    # By the name alone: a link that lies in the folder may lead where its owner wants.
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise DataError(
            f"{path} says that its values lie outside its folder: put both files into one folder and write "
            "the name alone into the header."
        )
    file = path.parent / name
    if not file.is_file():
        raise DataError(f"{path} says that its values are in {name}, which is not there: put it beside it.")
    return file


def _unusual(path: Path, what: str) -> DataError:
    return DataError(f"{path} is stored in a form that is not read here ({what}): convert it to .nii.gz.")


def _check_spacing(path: Path, lengths: Iterable[str]) -> None:
    if not all(0 < _number(length) < math.inf for length in lengths):
        told = " x ".join(lengths)
        raise DataError(f"{path} has the spacing {told} mm: each must be greater than 0; mend its header.")


def _check_finite(path: Path, numbers: Iterable[str]) -> None:
    if not all(math.isfinite(_number(number)) for number in numbers):
        raise DataError(f"{path} has an affine that places its voxels nowhere: mend its header.")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
