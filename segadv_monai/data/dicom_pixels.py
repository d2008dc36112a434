"""The values of a series: what its headers declare is checked against the files, then decoded and rescaled.

pydicom decodes. A compressed frame is looked at before: a decoder takes memory for the size that the frame
itself declares.
"""

import re
import struct
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from segadv_monai.protocols import DataError

from .ceiling import check_declared
from .dicom_header import Header, pixel_stream, quotable, unreadable
from .dicom_planes import Plane

__all__ = ["check_pixels", "values_of"]

_NATIVE = re.compile(r"1\.2\.840\.10008\.1\.2(\.1|\.1\.99|\.2)?")
# By the transfer syntax: pydicom's plugin, empty where any will do, and what brings it.
_DECODERS = (
    (re.compile(r"1\.2\.840\.10008\.1\.2\.4\.(9\d|20\d)"), "pylibjpeg", "'segadv-monai[dicom]'"),
    (re.compile(r"1\.2\.840\.10008\.1\.2\.4\.8\d"), "", "pyjpegls"),
    (re.compile(r"1\.2\.840\.10008\.1\.2\.4\.(5|7)\d"), "", "python-gdcm"),
    (re.compile(r"1\.2\.840\.10008\.1\.2\.5"), "", "pydicom"),
)
_RLE = "1.2.840.10008.1.2.5"
_START_OF_J2K = b"\xff\x4f\xff\x51"
# The markers that give the size of a JPEG or JPEG-LS image; C4, C8 and CC are tables.
_SIZES_JPEG = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
# No codec enlarges an image that much, but for the header of a tiny one.
_SLACK = 2**16
_INT16, _INT32 = np.iinfo(np.int16), np.iinfo(np.int32)


def check_pixels(header: Header) -> None:
    """Refuse a file whose pixels are of a kind that is not read, or not as many as its header declares.

    Args:
        header: of the file.

    Raises:
        DataError: the pixels are too few or too many, are in colour, inverted or of an unusual
            layout, or no decoder for them is installed.
    """
    path = header.path
    _check_layout(header)
    rows, columns, bits = (header.integer(word) for word in ("Rows", "Columns", "BitsAllocated"))
    expected = check_declared(path, (columns, rows, header.frames), bits // 8)
    if header.compressed != (_NATIVE.fullmatch(header.syntax) is None):
        raise DataError(
            f"{path} does not hold its pixels as its TransferSyntaxUID says "
            f"({quotable(header.syntax)}): export it again."
        )
    if not header.compressed and header.length != expected + expected % 2:
        raise DataError(
            f"{path} declares {columns} x {rows} x {header.frames} pixels, {expected} bytes, and holds "
            f"{header.length}: fetch or export it again."
        )
    if header.compressed:
        if header.length > 2 * expected + _SLACK * header.frames:
            raise DataError(
                f"{path} holds {header.length} compressed bytes for {expected} of pixels: export it again."
            )
        _plugin(header)


def values_of(place: Path, planes: Sequence[Plane]) -> NDArray[Any]:
    """Decode slices into one volume, after slope and intercept.

    Args:
        place: the folder or file, for messages.
        planes: slices of one size, in the order of ``k``, whose files have passed :func:`check_pixels`.

    Returns:
        ``(X, Y, Z)``, int16 where that is exact, int32 where the numbers are whole and larger, float32
        (computed in float64) where slope or intercept are fractions.

    Raises:
        DataError: the volume is larger than is allowed, or a slice cannot be decoded.
    """
    shape = (planes[0].header.integer("Columns"), planes[0].header.integer("Rows"), len(planes))
    reach = np.array([_reach(plane) for plane in planes])
    whole = all(plane.slope.is_integer() and plane.intercept.is_integer() for plane in planes)
    whole = whole and reach.min() >= _INT32.min and reach.max() <= _INT32.max
    short = whole and reach.min() >= _INT16.min and reach.max() <= _INT16.max
    check_declared(place, shape, 2 if short else 4)
    # As in the files, a slice after the other: each is then written as one piece.
    array: NDArray[Any] = np.empty(shape, dtype=np.int16 if whole else np.float32, order="F")
    for k, stored in _decoded(planes):
        plane = planes[k]
        values: NDArray[Any]
        if whole:
            values = stored.astype(np.int32) * np.int32(plane.slope) + np.int32(plane.intercept)
            if array.dtype == np.int16 and (values.min() < _INT16.min or values.max() > _INT16.max):
                array = array.astype(np.int32, order="F")
        else:
            values = stored * np.float64(plane.slope) + plane.intercept
        array[:, :, k] = values.T
    return array


def _check_layout(header: Header) -> None:
    """Grey values of 8 or 16 bits, in the lowest of them."""
    told = {"SamplesPerPixel": header.integer("SamplesPerPixel")}
    told |= {word: header.integer(word) for word in ("BitsAllocated", "BitsStored", "HighBit")}
    told |= {"PixelRepresentation": header.integer("PixelRepresentation")}
    kind = header.text("PhotometricInterpretation")
    if told["SamplesPerPixel"] != 1 or kind != "MONOCHROME2":
        why = ", whose grey values may be inverted" if kind == "MONOCHROME1" else ""
        raise DataError(
            f"{header.path} has {told['SamplesPerPixel']} sample(s) per pixel of kind {quotable(kind)}"
            f"{why}: only MONOCHROME2 is read; export it as that."
        )
    stored = told["BitsStored"]
    fits = told["BitsAllocated"] in (8, 16) and 1 <= stored <= told["BitsAllocated"]
    if not fits or told["HighBit"] != stored - 1 or told["PixelRepresentation"] not in (0, 1):
        words = ", ".join(f"{word} {value}" for word, value in told.items() if word != "SamplesPerPixel")
        raise DataError(
            f"{header.path} has {words}: 8 or 16 bits are read, with the lowest in use; export it again."
        )


def _plugin(header: Header) -> str:
    """The plugin of pydicom that decodes a file, empty for any."""
    syntax: Any = import_module("pydicom.uid").UID(header.syntax)
    for pattern, plugin, package in _DECODERS:
        if pattern.fullmatch(header.syntax):
            try:
                there = import_module("pydicom.pixels").get_decoder(syntax).available_plugins
            except NotImplementedError:
                break
            if not there or (plugin and plugin not in there):
                raise DataError(
                    f"{header.path} is compressed as {syntax.name}, for which no decoder is installed: "
                    f"pip install {package}"
                )
            return plugin
    name = syntax.name if syntax.name != header.syntax else quotable(header.syntax)
    raise DataError(f"{header.path} is stored as {name}, which is not read: export it uncompressed.")


def _reach(plane: Plane) -> tuple[float, float]:
    """The values that the bits of a slice can mean."""
    bits = plane.header.integer("BitsStored")
    lowest = -(2 ** (bits - 1)) if plane.header.integer("PixelRepresentation") else 0
    ends = [stored * plane.slope + plane.intercept for stored in (lowest, lowest + 2**bits - 1)]
    return min(ends), max(ends)


def _decoded(planes: Sequence[Plane]) -> Iterator[tuple[int, NDArray[Any]]]:
    """The stored values of every slice with its ``k``, file after file."""
    files: dict[Path, list[int]] = {}
    for k, plane in enumerate(planes):
        files.setdefault(plane.header.path, []).append(k)
    for indices in files.values():
        header = planes[indices[0]].header
        try:
            with pixel_stream(header) as stream:
                for k in indices:
                    yield k, _frame(header, stream, planes[k].frame)
        except DataError:
            raise
        except unreadable():
            raise DataError(
                f"{header.path} cannot be decoded: it is damaged, or compressed in a way that the installed "
                "decoder does not know; fetch it again, or export it uncompressed."
            ) from None


def _frame(header: Header, stream: BinaryIO, frame: int) -> NDArray[Any]:
    pixels: Any = import_module("pydicom.pixels")
    rows, columns = header.integer("Rows"), header.integer("Columns")
    plugin = ""
    if header.compressed:
        plugin = _plugin(header)
        coded = import_module("pydicom.encaps").get_frame(stream, frame, number_of_frames=header.frames)
        _check_coded(header, coded, (rows, columns))
        stream.seek(header.offset)
    array: NDArray[Any] = pixels.get_decoder(header.syntax).as_array(
        stream,
        index=frame,
        raw=True,
        decoding_plugin=plugin,
        pixel_keyword="PixelData",
        pixel_vr="OW",
        rows=rows,
        columns=columns,
        number_of_frames=header.frames,
        samples_per_pixel=1,
        photometric_interpretation="MONOCHROME2",
        bits_allocated=header.integer("BitsAllocated"),
        bits_stored=header.integer("BitsStored"),
        pixel_representation=header.integer("PixelRepresentation"),
    )[0]
    return array


def _check_coded(header: Header, coded: bytes, size: tuple[int, int]) -> None:
    """Refuse a compressed frame that declares another size than its header."""
    if header.syntax == _RLE:
        return
    start = coded.find(_START_OF_J2K)
    found = _size_j2k(coded[start:]) if start >= 0 else _size_jpeg(coded)
    if found != size:
        raise DataError(
            f"{header.path} declares {size[1]} x {size[0]} pixels, and its compressed picture {found[1]} x "
            f"{found[0]}: export it again."
        )


def _size_j2k(coded: bytes) -> tuple[int, int]:
    """Rows and columns of a JPEG 2000 codestream: its extent less the offset of the image in it."""
    right, bottom, left, top = struct.unpack(">4I", coded[8:24])
    return bottom - top, right - left


def _size_jpeg(coded: bytes) -> tuple[int, int]:
    at = 2
    while coded[at] == 0xFF:
        if coded[at + 1] in _SIZES_JPEG:
            rows, columns = struct.unpack(">HH", coded[at + 5 : at + 9])
            return rows, columns
        at += 2 + int.from_bytes(coded[at + 2 : at + 4], "big")
    raise ValueError("no marker gives the size")
