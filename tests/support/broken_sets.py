"""Broken pictures, DICOM series, places and descriptions: each function makes one and returns its path."""

import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import nibabel
import numpy as np
from broken_volumes import JUNK, nifti
from dicom_files import write_series
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate

__all__ = [
    "BROKEN_DESCRIPTIONS",
    "BROKEN_PAIRS",
    "BROKEN_PICTURES",
    "BROKEN_PLACES",
    "BROKEN_SERIES",
    "Maker",
]

Maker: TypeAlias = Callable[[Path], Path]

_AFFINE = np.diag([1.5, 1.5, 2, 1])


# --- pictures


def picture(name: str, change: Callable[[bytes], bytes] = bytes, **saved: Any) -> Maker:
    """A whole picture of 30 x 20, then changed."""

    def make(folder: Path) -> Path:
        noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / name, **saved)
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(change(content))
        return folder / name

    return make


def saved(name: str, values: Any, mode: str | None = None) -> Maker:
    def make(folder: Path) -> Path:
        image = Image.fromarray(values)
        (image.convert(mode) if mode else image).save(folder / name)
        return folder / name

    return make


def sized(width: int, height: int) -> Callable[[bytes], bytes]:
    """A PNG whose header declares another size, with the checksum of that."""

    def change(content: bytes) -> bytes:
        head = b"IHDR" + struct.pack(">II", width, height) + content[24:29]
        return content[:12] + head + struct.pack(">I", zlib.crc32(head)) + content[33:]

    return change


def two_pages(folder: Path) -> Path:
    pages = [Image.new("L", (30, 20), level) for level in (1, 2)]
    pages[0].save(folder / "a.tif", save_all=True, append_images=pages[1:])
    return folder / "a.tif"


BROKEN_PICTURES: dict[str, Maker] = {
    "png, empty": picture("a.png", lambda _: b""),
    "png, signature alone": picture("a.png", lambda content: content[:8]),
    "png, cut in the header": picture("a.png", lambda content: content[:20]),
    "png, cut": picture("a.png", lambda content: content[: len(content) // 2]),
    "png, end missing": picture("a.png", lambda content: content[:-30]),
    "png, junk": picture("a.png", lambda _: JUNK),
    "png, a text": picture("a.png", lambda _: b"This file was moved.\n"),
    "png, a page of an error": picture("a.png", lambda _: b"<!DOCTYPE html><html></html>"),
    "png, 100000 squared": picture("a.png", sized(100_000, 100_000)),
    "png, larger than allowed": picture("a.png", sized(6000, 5000)),
    "png, less than declared": picture("a.png", sized(3000, 2000)),
    "png, no width": picture("a.png", sized(0, 20)),
    "png, transparent": saved("a.png", np.zeros((20, 30, 4), np.uint8)),
    "jpeg, cut": picture("a.jpg", lambda content: content[: len(content) // 2]),
    "jpeg, junk": picture("a.jpg", lambda _: b"\xff\xd8\xff" + JUNK),
    "bmp, cut": picture("a.bmp", lambda content: content[:500]),
    "tiff, cut": picture("a.tif", lambda content: content[:300]),
    "tiff, junk": picture("a.tif", lambda _: b"II*\0" + JUNK),
    "tiff, two pages": two_pages,
    "tiff, values NaN": saved("a.tif", np.full((20, 30), np.nan, np.float32)),
}


# --- series


def series(change: Callable[[list[Path]], object] = list, **changes: Any) -> Maker:
    """A whole series of 8 x 9 x 10 voxels in the folder ``a``, then changed."""

    def make(folder: Path) -> Path:
        values = np.random.default_rng(1).integers(-500, 500, (8, 9, 10)).astype(np.int16)
        change(write_series(folder / "a", values, _AFFINE, **changes))
        return folder / "a"

    return make


def only(number: int, change: Callable[[bytes], bytes]) -> Callable[[list[Path]], object]:
    """Other bytes in one of the slices."""
    return lambda files: files[number].write_bytes(change(files[number].read_bytes()))


def tags(**values: Any) -> Callable[[list[Path]], object]:
    """Other values in the fifth slice; those of the pixels are not checked by pydicom."""

    def change(files: list[Path]) -> None:
        one = dcmread(files[4])
        for keyword, value in values.items():
            setattr(one, keyword, value)
        one.save_as(files[4])

    return change


def another_series(files: list[Path]) -> None:
    write_series(files[0].parent / "more", np.zeros((8, 9, 4), np.int16), _AFFINE)
    for file in (files[0].parent / "more").iterdir():
        file.rename(files[0].parent / f"more{file.name}")
    (files[0].parent / "more").rmdir()


def contours_alone(files: list[Path]) -> None:
    """Of the planning of a radiotherapy: no image."""
    one = dcmread(files[0])
    one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    one.Modality = "RTSTRUCT"
    del one.PixelData
    for file in files:
        file.unlink()
    one.save_as(files[0])


def transfer_syntax(uid: str, *, compressed: bool = False) -> Callable[[list[Path]], object]:
    def change(files: list[Path]) -> None:
        for file in files:
            one = dcmread(file)
            one.file_meta.TransferSyntaxUID = uid
            if compressed:
                one.PixelData = encapsulate([JUNK[:144]])
                one["PixelData"].is_undefined_length = True
            with file.open("wb") as stream:
                one.save_as(stream, implicit_vr=False, little_endian=True)

    return change


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda content: content.replace(old, new)


def rows(count: int) -> tuple[bytes, bytes]:
    """The bytes of Rows, as they are and with another number."""
    head = b"\x28\x00\x10\x00US\x02\x00"
    return head + struct.pack("<H", 9), head + struct.pack("<H", count)


BROKEN_SERIES: dict[str, Maker] = {
    "series, no file": series(lambda files: [file.unlink() for file in files]),
    "series, a text alone": series(lambda files: [file.write_text("moved") for file in files]),
    "series, junk": series(lambda files: [file.write_bytes(bytes(128) + b"DICM" + JUNK) for file in files]),
    "series, slice missing": series(lambda files: files[4].unlink()),
    "series, slice twice": series(
        lambda files: (files[0].parent / "b.dcm").write_bytes(files[4].read_bytes())
    ),
    "series, two in one folder": series(another_series),
    "series, one slice": series(lambda files: [file.unlink() for file in files[1:]]),
    "series, contours alone": series(contours_alone),
    "series, slice empty": series(only(4, lambda _: b"")),
    "series, slice cut in the header": series(only(4, lambda content: content[:400])),
    "series, slice cut": series(only(4, lambda content: content[:-20])),
    "series, slice of another size": series(tags(Rows=8, PixelData=bytes(2 * 8 * 8))),
    "series, slice turned": series(tags(ImageOrientationPatient=[0, 1, 0, 1, 0, 0])),
    "series, 65535 rows declared": series(only(4, replaced(*rows(65535)))),
    "series, positions missing": series(ImagePositionPatient=None),
    "series, a position missing": series(ImagePositionPatient={4: None}),
    "series, orientation missing": series(ImageOrientationPatient=None),
    "series, spacing missing": series(PixelSpacing=None),
    "series, spacing zero": series(PixelSpacing=[0, 1.5]),
    "series, spacing negative": series(PixelSpacing=[-1.5, 1.5]),
    "series, orientation of nothing": series(ImageOrientationPatient=[0, 0, 0, 0, 0, 0]),
    "series, orientation askew": series(ImageOrientationPatient=[1, 0, 0, 0.7, 0.7, 0]),
    "series, gantry tilt": series(ImagePositionPatient=lambda k: [0, 0.7 * k, 2.0 * k]),
    "series, all in one place": series(ImagePositionPatient=[0, 0, 0]),
    "series, uneven": series(ImagePositionPatient=lambda k: [0, 0, 2.0 * k + (k > 4)]),
    "series, slope of zero": series(RescaleSlope=0),
    "series, intercept missing": series(RescaleIntercept=None),
    "series, syntax unknown": series(transfer_syntax("1.2.3.4.5")),
    "series, syntax not that of the pixels": series(
        transfer_syntax("1.2.840.10008.1.2.4.90", compressed=True)
    ),
    "series, bits that cannot be": series(tags(BitsAllocated=12)),
    "series, colours": series(SamplesPerPixel=3, PhotometricInterpretation="RGB"),
}


# --- places


def linked(target: str) -> Maker:
    def make(folder: Path) -> Path:
        (folder / "a.nii").symlink_to(target)
        return folder / "a.nii"

    return make


def folder_named(name: str) -> Maker:
    def make(folder: Path) -> Path:
        (folder / name).mkdir()
        return folder / name

    return make


def folder_in_itself(folder: Path) -> Path:
    (folder / "a").mkdir()
    (folder / "a" / "again").symlink_to(folder / "a")
    return folder / "a"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "a.nii")
    return folder / "a.nii"


def forbidden(folder: Path) -> Path:
    (folder / "a.nii").write_bytes(nifti())
    (folder / "a.nii").chmod(0)
    return folder / "a.nii"


BROKEN_PLACES: dict[str, Maker] = {
    "place, no file": lambda folder: folder / "a.nii",
    "place, a name too long": lambda folder: folder / ("a" * 300 + ".nii"),
    "place, a link to nowhere": linked("nowhere.nii"),
    "place, a link to itself": linked("a.nii"),
    "place, a file that cannot be read": linked("/proc/self/mem"),
    "place, a file that may not be read": forbidden,
    "place, a folder named .nii.gz": folder_named("a.nii.gz"),
    "place, a folder named .png": folder_named("a.png"),
    "place, an empty folder": folder_named("a"),
    "place, a folder in itself": folder_in_itself,
    "place, a pipe": pipe,
    "place, of another kind": lambda folder: _text(folder / "a.docx", "x"),
}


# --- labels that do not go with a whole image of 8 x 9 x 10 voxels


def label(values: Any, affine: Any = _AFFINE) -> Maker:
    def make(folder: Path) -> Path:
        nibabel.save(nibabel.Nifti1Image(values, affine), folder / "label.nii.gz")
        return folder / "label.nii.gz"

    return make


_LABELS = np.eye(8, 9, dtype=np.uint8)[..., None].repeat(10, -1)
BROKEN_PAIRS: dict[str, Maker] = {
    "label, of another size": label(_LABELS[..., :-1]),
    "label, turned over": label(_LABELS, np.diag([-1.5, 1.5, 2, 1])),
    "label, elsewhere": label(_LABELS, _AFFINE + np.eye(4, k=3) * 30),
    "label, of another spacing": label(_LABELS, np.diag([1.5, 1.5, 3, 1])),
    "label, fractions": label(_LABELS.astype(np.float32) / 2),
    "label, values without a name": label(_LABELS * 7),
    "label, negative": label(-_LABELS.astype(np.int16)),
    "label, NaN": label(np.full((8, 9, 10), np.nan, np.float32)),
    "label, channels": label(np.stack([_LABELS, _LABELS], -1)),
}


# --- descriptions: the content of dataset.json


def _text(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def _described(**changes: Any) -> str:
    whole = {"labels": {"0": "a", "1": "b"}, "training": [{"image": "x.nii", "label": "y.nii"}]}
    return json.dumps({**whole, **changes})


BROKEN_DESCRIPTIONS: dict[str, str | None] = {
    "description, missing": None,
    "description, empty": "",
    "description, cut": '{"training": [',
    "description, a page of an error": "<!DOCTYPE html><html></html>",
    "description, too deep": "[" * 100_000,
    "description, a list": "[]",
    "description, no cases": _described(training=[]),
    "description, cases that are none": _described(training={"image": "x"}),
    "description, a case that is none": _described(training=[7]),
    "description, no image": _described(training=[{"label": "y.nii"}]),
    "description, no label": _described(training=[{"image": "x.nii"}]),
    "description, an image that is a number": _described(training=[{"image": 3, "label": "y.nii"}]),
    "description, a name that is none": _described(training=[{"image": "x\0.nii", "label": "y.nii"}]),
    "description, no labels": _described(labels={}),
    "description, labels without values": _described(labels={"skin": "a"}),
    "description, nnU-Net without images": _described(channel_names={"0": "CT"}, labels={"a": 0}),
    "description, nnU-Net without channels": _described(file_ending=".nii.gz"),
    "description, nnU-Net's labels": _described(channel_names={"0": "CT"}, dataset={}, labels={"a": "b"}),
}
