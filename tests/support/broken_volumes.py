"""Broken NIfTI, MetaImage and NRRD files: each function writes one and returns its path."""

import gzip
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import nibabel
import numpy as np
import SimpleITK
from numpy.typing import NDArray

__all__ = ["BROKEN_VOLUMES", "CEILING", "JUNK", "Maker", "nifti"]

Maker: TypeAlias = Callable[[Path], Path]

# Bytes: what the reader is allowed while these files are read.
CEILING = 64 << 20
# Almost as large as that.
_LARGE = (250, 250, 250)
_SITK: Any = SimpleITK

HTML = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body>no such case</body></html>\n"
TEXT = b"This file was moved; see the new address.\n"
JUNK = np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8).tobytes()


def nifti(values: NDArray[Any] | None = None) -> bytearray:
    """A whole file of 8 x 9 x 10 voxels."""
    if values is None:
        values = np.random.default_rng(1).normal(0, 99, (8, 9, 10)).astype(np.float32)
    return bytearray(nibabel.Nifti1Image(values, np.diag([1.5, 1.5, 2, 1])).to_bytes())


def with_fields(**fields: tuple[int, str, Any]) -> bytes:
    """A whole file with other values at these bytes of its header."""
    content = nifti()
    for start, code, values in fields.values():
        struct.pack_into(code, content, start, *values)
    return bytes(content)


def written(name: str, content: Callable[[], bytes]) -> Maker:
    """A file with this content."""

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content())
        return folder / name

    return make


def packed(content: bytes) -> bytes:
    return gzip.compress(content, 1)


def packed_bomb() -> bytes:
    """1 GiB of zeros behind the values that the header declares, in 70 kB."""
    return packed(bytes(nifti())) + 64 * packed(bytes(16 << 20))


def large_nan() -> bytes:
    """A volume of almost the allowed size, whose last value is none."""
    values = np.zeros(_LARGE, np.float32)
    values[-1, -1, -1] = np.nan
    return bytes(nifti(values))


def large_cut() -> bytes:
    return packed(bytes(nifti(np.zeros(_LARGE, np.float32))[:-4]))


DIM = 40
HUGE = (DIM, "<8h", (3, 32767, 32767, 32767, 1, 1, 1, 1))
ALLOWED = (DIM, "<8h", (3, 250, 250, 250, 1, 1, 1, 1))
NIFTI: dict[str, Maker] = {
    "nifti, empty": written("a.nii", lambda: b""),
    "nifti, empty and compressed": written("a.nii.gz", lambda: b""),
    "nifti, nothing compressed": written("a.nii.gz", lambda: packed(b"")),
    "nifti, one byte": written("a.nii", lambda: b"\x5c"),
    "nifti, cut in the header": written("a.nii", lambda: bytes(nifti()[:100])),
    "nifti, header alone": written("a.nii", lambda: bytes(nifti()[:352])),
    "nifti, cut in the middle": written("a.nii", lambda: bytes(nifti()[:1500])),
    "nifti, last byte missing": written("a.nii", lambda: bytes(nifti()[:-1])),
    "nifti, cut in gzip's header": written("a.nii.gz", lambda: packed(bytes(nifti()))[:5]),
    "nifti, compressed and cut": written("a.nii.gz", lambda: packed(bytes(nifti()))[:1000]),
    "nifti, checksum missing": written("a.nii.gz", lambda: packed(bytes(nifti()))[:-8]),
    "nifti, wrong checksum": written("a.nii.gz", lambda: packed(bytes(nifti()))[:-8] + bytes(8)),
    "nifti, large and cut": written("a.nii.gz", large_cut),
    "nifti, bytes behind the values": written("a.nii", lambda: bytes(nifti()) + b"more"),
    "nifti, bomb": written("a.nii.gz", packed_bomb),
    "nifti, bomb that says so": written(
        "a.nii.gz", lambda: packed(with_fields(dim=HUGE)) + packed(bytes(9**8))
    ),
    "nifti, 32767 cubed": written("a.nii", lambda: with_fields(dim=HUGE)),
    "nifti, less than declared": written("a.nii", lambda: with_fields(dim=ALLOWED)),
    "nifti, less than declared, compressed": written("a.nii.gz", lambda: packed(with_fields(dim=ALLOWED))),
    "nifti, negative length": written("a.nii", lambda: with_fields(dim=(DIM, "<4h", (3, 8, -9, 10)))),
    "nifti, length of nothing": written("a.nii", lambda: with_fields(dim=(DIM, "<4h", (3, 8, 0, 10)))),
    "nifti, no axes": written("a.nii", lambda: with_fields(dim=(DIM, "<h", (0,)))),
    "nifti, eight axes": written("a.nii", lambda: with_fields(dim=(DIM, "<h", (8,)))),
    "nifti, five axes": written("a.nii", lambda: bytes(nifti(np.zeros((2, 3, 4, 5, 6), np.uint8)))),
    "nifti, spacing zero": written("a.nii", lambda: with_fields(pixdim=(80, "<f", (0.0,)))),
    "nifti, spacing negative": written("a.nii", lambda: with_fields(pixdim=(84, "<f", (-1.5,)))),
    "nifti, spacing NaN": written("a.nii", lambda: with_fields(pixdim=(80, "<f", (np.nan,)))),
    "nifti, spacing infinite": written("a.nii", lambda: with_fields(pixdim=(88, "<f", (np.inf,)))),
    "nifti, affine NaN": written("a.nii", lambda: with_fields(srow=(280, "<4f", (np.nan, 0, 0, 0)))),
    "nifti, affine infinite": written("a.nii", lambda: with_fields(srow=(280, "<4f", (1, 0, 0, np.inf)))),
    "nifti, affine singular": written("a.nii", lambda: with_fields(srow=(280, "<4f", (0, 1.5, 0, 0)))),
    "nifti, slope infinite": written("a.nii", lambda: with_fields(slope=(112, "<f", (np.inf,)))),
    "nifti, offset beyond the end": written("a.nii", lambda: with_fields(offset=(108, "<f", (1e9,)))),
    "nifti, offset beyond, compressed": written(
        "a.nii.gz", lambda: packed(with_fields(o=(108, "<f", (1e9,))))
    ),
    "nifti, offset negative": written("a.nii", lambda: with_fields(offset=(108, "<f", (-352.0,)))),
    "nifti, offset NaN": written("a.nii", lambda: with_fields(offset=(108, "<f", (np.nan,)))),
    "nifti, type unknown": written("a.nii", lambda: with_fields(datatype=(70, "<h", (9999,)))),
    "nifti, wrong magic": written("a.nii", lambda: with_fields(magic=(344, "4s", (b"abc\0",)))),
    "nifti, complex values": written("a.nii", lambda: bytes(nifti(np.zeros((8, 9, 10), np.complex64)))),
    "nifti, values NaN": written("a.nii", lambda: bytes(nifti(np.full((8, 9, 10), np.nan, np.float32)))),
    "nifti, values infinite": written("a.nii", lambda: bytes(nifti(np.full((8, 9, 10), np.inf, np.float32)))),
    "nifti, large with a NaN": written("a.nii", large_nan),
    "nifti, large with a NaN, compressed": written("a.nii.gz", lambda: packed(large_nan())),
    "nifti, junk": written("a.nii", lambda: JUNK),
    "nifti, junk compressed": written("a.nii.gz", lambda: packed(JUNK)),
    "nifti, junk named compressed": written("a.nii.gz", lambda: JUNK),
    "nifti, a text": written("a.nii.gz", lambda: TEXT),
    "nifti, a page of an error": written("a.nii.gz", lambda: HTML),
    "nifti, a page of an error, compressed": written("a.nii.gz", lambda: packed(HTML)),
}


def itk(name: str, change: Callable[[bytes], bytes] = bytes, *, compressed: bool = False) -> Maker:
    """A whole file of 8 x 9 x 10 voxels, or of a header and values, then changed."""

    def make(folder: Path) -> Path:
        values = np.random.default_rng(1).normal(0, 99, (10, 9, 8)).astype(np.float32)
        image = _SITK.GetImageFromArray(values)
        image.SetSpacing((1.5, 1.5, 2.0))
        _SITK.WriteImage(image, os.fspath(folder / name), compressed)
        path = folder / name
        path.write_bytes(change(path.read_bytes()))
        return path

    return make


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        if old not in content:
            raise ValueError(f"{old!r} is not in the header.")
        return content.replace(old, new, 1)

    return change


def with_values(head_end: bytes, values: Callable[[], bytes]) -> Callable[[bytes], bytes]:
    """Other bytes behind the header."""
    return lambda content: content[: content.index(head_end) + len(head_end)] + values()


def nan_values() -> bytes:
    return np.full(720, np.nan, np.float32).tobytes()


def without_values(name: str, raw: str, change: Callable[[Path], object]) -> Maker:
    """A header whose file of values is gone, or changed."""

    def make(folder: Path) -> Path:
        path = itk(name)(folder)
        change(folder / raw)
        return path

    return make


def outside(name: str, old: bytes, new: bytes) -> Maker:
    """A header in a folder of its own, whose values are there, but not in it."""

    def make(folder: Path) -> Path:
        (folder / "inside").mkdir()
        path = itk(f"inside/{name}", replaced(old, new))(folder)
        (folder / "inside" / "a.raw").rename(folder / "a.raw")
        return path

    return make


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])


def lengthened(path: Path) -> None:
    path.write_bytes(path.read_bytes() + bytes(4))


LOCAL, BLANK = b"ElementDataFile = LOCAL\n", b"\n\n"
SIZE, DIRECTIONS = b"DimSize = 8 9 10", b"(1.5,0,0) (0,1.5,0) (0,0,2)"
META: dict[str, Maker] = {
    "mha, empty": written("a.mha", lambda: b""),
    "mha, junk": written("a.mha", lambda: JUNK),
    "mha, a text": written("a.mha", lambda: TEXT),
    "mha, a page of an error": written("a.mha", lambda: HTML),
    "mha, cut in the header": itk("a.mha", lambda content: content[:150]),
    "mha, cut": itk("a.mha", lambda content: content[:1500]),
    "mha, last byte missing": itk("a.mha", lambda content: content[:-1]),
    "mha, bytes behind the values": itk("a.mha", lambda content: content + b"more"),
    "mha, compressed and cut": itk("a.mha", lambda content: content[:1500], compressed=True),
    "mha, wrong checksum": itk("a.mha", lambda content: content[:-4] + bytes(4), compressed=True),
    "mha, bomb": itk("a.mha", with_values(LOCAL, lambda: zlib.compress(bytes(9**8), 1)), compressed=True),
    "mha, 32767 cubed": itk("a.mha", replaced(SIZE, b"DimSize = 32767 32767 32767")),
    "mha, less than declared": itk("a.mha", replaced(SIZE, b"DimSize = 250 250 250")),
    "mha, less than declared, compressed": itk(
        "a.mha", replaced(SIZE, b"DimSize = 250 250 250"), compressed=True
    ),
    "mha, negative length": itk("a.mha", replaced(SIZE, b"DimSize = 8 -9 10")),
    "mha, length of nothing": itk("a.mha", replaced(SIZE, b"DimSize = 8 0 10")),
    "mha, a length missing": itk("a.mha", replaced(SIZE, b"DimSize = 8 9")),
    "mha, four axes": itk("a.mha", replaced(b"NDims = 3\n", b"NDims = 4\n")),
    "mha, spacing zero": itk("a.mha", replaced(b"= 1.5 1.5 2", b"= 1.5 0 2")),
    "mha, spacing negative": itk("a.mha", replaced(b"= 1.5 1.5 2", b"= 1.5 -1 2")),
    "mha, spacing NaN": itk("a.mha", replaced(b"= 1.5 1.5 2", b"= 1.5 nan 2")),
    "mha, spacing infinite": itk("a.mha", replaced(b"= 1.5 1.5 2", b"= 1.5 inf 2")),
    "mha, matrix singular": itk("a.mha", replaced(b"1 0 0 0 1 0 0 0 1", b"1 0 0 1 0 0 0 0 1")),
    "mha, offset NaN": itk("a.mha", replaced(b"Offset = 0 0 0", b"Offset = 0 nan 0")),
    "mha, type unknown": itk("a.mha", replaced(b"MET_FLOAT", b"MET_STRING")),
    "mha, values as text": itk("a.mha", replaced(b"BinaryData = True", b"BinaryData = False")),
    "mha, values NaN": itk("a.mha", with_values(LOCAL, nan_values)),
    "mhd, values in several files": itk("a.mhd", replaced(b"= a.raw", b"= LIST")),
    "mhd, without its values": without_values("a.mhd", "a.raw", Path.unlink),
    "mhd, values cut": without_values("a.mhd", "a.raw", cut),
    "mhd, values too long": without_values("a.mhd", "a.raw", lengthened),
    "mhd, values outside": outside("a.mhd", b"= a.raw", b"= ../a.raw"),
    "mhd, values anywhere": itk("a.mhd", replaced(b"= a.raw", b"= /etc/hostname")),
}
NRRD: dict[str, Maker] = {
    "nrrd, empty": written("a.nrrd", lambda: b""),
    "nrrd, junk": written("a.nrrd", lambda: JUNK),
    "nrrd, a page of an error": written("a.nrrd", lambda: HTML),
    "nrrd, cut in the header": itk("a.nrrd", lambda content: content[:200]),
    "nrrd, cut": itk("a.nrrd", lambda content: content[:1500]),
    "nrrd, bytes behind the values": itk("a.nrrd", lambda content: content + b"more"),
    "nrrd, compressed and cut": itk("a.nrrd", lambda content: content[:1500], compressed=True),
    "nrrd, bomb": itk("a.nrrd", with_values(BLANK, lambda: packed(bytes(9**8))), compressed=True),
    "nrrd, 32767 cubed": itk("a.nrrd", replaced(b"sizes: 8 9 10", b"sizes: 32767 32767 32767")),
    "nrrd, negative length": itk("a.nrrd", replaced(b"sizes: 8 9 10", b"sizes: 8 -9 10")),
    "nrrd, a length missing": itk("a.nrrd", replaced(b"sizes: 8 9 10", b"sizes: 8 9")),
    "nrrd, directions singular": itk("a.nrrd", replaced(DIRECTIONS, b"(1.5,0,0) (1.5,0,0) (0,0,2)")),
    "nrrd, directions NaN": itk("a.nrrd", replaced(DIRECTIONS, b"(nan,0,0) (0,1.5,0) (0,0,2)")),
    "nrrd, origin infinite": itk("a.nrrd", replaced(b"origin: (0,0,0)", b"origin: (0,inf,0)")),
    "nrrd, packed by bzip2": itk("a.nrrd", replaced(b"encoding: raw", b"encoding: bzip2")),
    "nrrd, type unknown": itk("a.nrrd", replaced(b"type: float", b"type: block")),
    "nrrd, values NaN": itk("a.nrrd", with_values(BLANK, nan_values)),
    "nhdr, without its values": without_values("a.nhdr", "a.raw", Path.unlink),
    "nhdr, values cut": without_values("a.nhdr", "a.raw", cut),
    "nhdr, values outside": outside("a.nhdr", b"file: a.raw", b"file: ../a.raw"),
}


BROKEN_VOLUMES = {**NIFTI, **META, **NRRD}
