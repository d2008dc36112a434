import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import refusal, write_series
from numpy.typing import NDArray
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import get_decoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from segadv_monai.data.dicom_series import read_series

AFFINE = np.diag([-0.7, -0.9, 2.5, 1.0])
ARRAY = np.random.default_rng(1).integers(-900, 900, (16, 12, 3)).astype(np.int16)
# Too small an image has no JPEG 2000.
LARGE = np.random.default_rng(1).integers(-900, 900, (64, 48, 2)).astype(np.int16)


def written(folder: Path, **changes: Any) -> list[Path]:
    return write_series(folder, ARRAY, AFFINE, **changes)


def rewritten(path: Path, pixels: bytes, syntax: UID) -> None:
    """With other pixels, which are marked as the transfer syntax wants it."""
    one = pydicom.dcmread(path)
    one.PixelData = pixels
    one["PixelData"].is_undefined_length = syntax != DeflatedExplicitVRLittleEndian
    one.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(path, one, implicit_vr=False, little_endian=True)


def written_compressed(folder: Path, syntax: UID) -> list[Path]:
    files = write_series(folder, LARGE, AFFINE)
    for path in files:
        one = pydicom.dcmread(path)
        one.compress(syntax, generate_instance_uid=False)
        one.save_as(path)
    return files


def test_slope_and_intercept_may_differ_between_slices(tmp_path: Path) -> None:
    written(tmp_path, RescaleSlope=lambda k: [0.5, 1.25, 2][k], RescaleIntercept=lambda k: 10.5 * k)
    stored = ARRAY.astype(np.float64) + 1024
    expected = stored * [0.5, 1.25, 2] + [0, 10.5, 21]
    series = read_series(tmp_path)
    assert series.array.dtype == np.float32
    np.testing.assert_array_equal(series.array, expected.astype(np.float32))


def test_fractions_are_computed_in_double_precision(tmp_path: Path) -> None:
    written(tmp_path, RescaleSlope="1.2345678", RescaleIntercept="-987.654321")
    expected = ((ARRAY.astype(np.float64) + 1024) * 1.2345678 - 987.654321).astype(np.float32)
    np.testing.assert_array_equal(read_series(tmp_path).array, expected)


@pytest.mark.parametrize(
    ("slope", "intercept", "kind"),
    [(1, -1024, np.int16), (-1, 5, np.int16), (100, 7, np.int32), (10**6, 0, np.float32)],
)
def test_whole_numbers_stay_whole(tmp_path: Path, slope: int, intercept: int, kind: type) -> None:
    written(tmp_path, RescaleSlope=slope, RescaleIntercept=intercept)
    series = read_series(tmp_path)
    assert series.array.dtype == kind
    expected = (ARRAY.astype(np.int64) + 1024) * slope + intercept
    np.testing.assert_array_equal(series.array, expected.astype(kind))


def test_unsigned_values_beyond_int16_are_kept(tmp_path: Path) -> None:
    written(tmp_path, PixelRepresentation=0, PixelData={2: np.full((12, 16), 65535, "<u2").tobytes()})
    array = read_series(tmp_path).array
    assert array.dtype == np.int32
    assert (array[..., 2] == 65535 - 1024).all()
    np.testing.assert_array_equal(array[..., :2], ARRAY[..., :2])


def test_mr_without_slope_is_read_as_stored(tmp_path: Path) -> None:
    write_series(tmp_path, ARRAY, AFFINE, modality="MR")
    series = read_series(tmp_path)
    assert series.modality == "MR"
    np.testing.assert_array_equal(series.array, ARRAY)


def test_pet_is_scaled_slice_by_slice(tmp_path: Path) -> None:
    uid = "1.2.840.10008.5.1.4.1.1.128"
    written(tmp_path, SOPClassUID=uid, Modality="PT", RescaleSlope=lambda k: k + 0.5, RescaleIntercept=0)
    np.testing.assert_allclose(read_series(tmp_path).array, (ARRAY + 1024.0) * [0.5, 1.5, 2.5])


def test_padding_values_are_left_as_they_are(tmp_path: Path) -> None:
    written(tmp_path, PixelPaddingValue=int(ARRAY[0, 0, 0]) + 1024)
    np.testing.assert_array_equal(read_series(tmp_path).array, ARRAY)


@pytest.mark.parametrize("signed", [0, 1])
def test_bits_that_are_not_in_use_are_not_read(tmp_path: Path, signed: int) -> None:
    """Old files have overlays there; and the sign stands in the highest bit in use."""
    values = np.random.default_rng(2).integers(-2048 * signed, 2048, ARRAY.shape).astype(np.int16)
    stored = ((values.astype(np.int32) & 0xFFF) | 0x5000).astype("<u2")
    bits = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": signed}
    written(tmp_path, PixelData=lambda k: stored[:, :, k].T.tobytes(), RescaleIntercept=0, **bits)
    np.testing.assert_array_equal(read_series(tmp_path).array, values)


def test_eight_bits_and_an_odd_number_of_pixels_are_read(tmp_path: Path) -> None:
    values = np.random.default_rng(2).integers(0, 256, (3, 5, 2)).astype(np.uint8)
    bits = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0}
    data = {"PixelData": lambda k: values[:, :, k].T.tobytes() + b"\0", "RescaleIntercept": 0}
    write_series(tmp_path, values.astype(np.int16), AFFINE, **bits, **data)
    np.testing.assert_array_equal(read_series(tmp_path).array, values)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless], ids=lambda uid: uid.name)
def test_compressed_series_equal_plain_ones(tmp_path: Path, syntax: UID) -> None:
    written_compressed(tmp_path, syntax)
    np.testing.assert_array_equal(read_series(tmp_path).array, LARGE)


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
    ids=lambda u: u.name,
)
def test_every_plain_transfer_syntax_is_read(tmp_path: Path, syntax: UID) -> None:
    for path in written(tmp_path):
        one = pydicom.dcmread(path)
        if syntax == ExplicitVRBigEndian:
            one.PixelData = np.frombuffer(one.PixelData, "<i2").astype(">i2").tobytes()
            one["PixelData"].VR = "OW"
        one.file_meta.TransferSyntaxUID = syntax
        changed = pydicom.Dataset()
        changed.update(one)
        changed.file_meta = one.file_meta
        changed.save_as(path, enforce_file_format=True)
    np.testing.assert_array_equal(read_series(tmp_path).array, ARRAY)


def test_a_deflated_file_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    files = written(tmp_path)
    rewritten(files[0], bytes(384), DeflatedExplicitVRLittleEndian)
    files[0].write_bytes(files[0].read_bytes()[:-9])
    assert "0000.dcm is truncated or damaged" in refusal(tmp_path)


def test_a_deflated_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rewritten(written(tmp_path)[0], bytes(2**20), DeflatedExplicitVRLittleEndian)
    monkeypatch.setenv("SEGADV_MAX_IMAGE_GIB", str(2**-10))
    assert "0000.dcm inflates to more than 0.000488281 GiB" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("syntax", "package"),
    [
        (JPEG2000Lossless, r"JPEG 2000.*pip install 'segadv-monai\[dicom\]'"),
        (JPEGLSLossless, "JPEG-LS.*pip install pyjpegls"),
        (JPEGLosslessSV1, "JPEG Lossless.*pip install python-gdcm"),
        (UID("1.2.840.10008.1.2.4.102"), "MPEG-4.*which is not read: export it uncompressed"),
        (UID("1.2.3.4"), "stored as 1.2.3.4, which is not read"),
    ],
)
def test_a_missing_decoder_is_told_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: UID, package: str
) -> None:
    rewritten(written(tmp_path)[1], encapsulate([b"\xff\xd8\xff\xd9"]), syntax)
    if syntax in (JPEG2000Lossless, JPEGLSLossless):
        monkeypatch.setattr(get_decoder(syntax), "_available", {})
    told = refusal(tmp_path)
    assert "0001.dcm" in told
    assert re.search(package, told)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"PhotometricInterpretation": "MONOCHROME1"},
            "MONOCHROME1, whose grey values may be inverted: only",
        ),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "has 3 sample.s. per pixel of kind RGB"),
        ({"PhotometricInterpretation": None}, "of kind nothing"),
        ({"SamplesPerPixel": None}, "lacks SamplesPerPixel"),
        ({"Rows": None}, "lacks Rows"),
        (
            {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31},
            "BitsAllocated 32, .*: 8 or 16 bits are read",
        ),
        ({"BitsStored": 17}, "BitsStored 17"),
        ({"BitsStored": 12, "HighBit": 15}, "HighBit 15"),
        ({"PixelRepresentation": 2}, "PixelRepresentation 2"),
        ({"PixelData": None}, "is truncated or has no PixelData"),
        ({"PixelData": bytes(382)}, "16 x 12 x 1 pixels, 384 bytes, and holds 382"),
        ({"PixelData": bytes(386)}, "384 bytes, and holds 386"),
        ({"Rows": 65535, "Columns": 65535}, "declares 65535 x 65535 x 1 values, 8 GiB"),
        ({"Rows": 0}, "declares the size 16 x 0 x 1"),
        ({"NumberOfFrames": 0}, "declares the size 16 x 12 x 0"),
        ({"NumberOfFrames": -3}, "declares the size 16 x 12 x -3"),
    ],
)
def test_pixels_that_cannot_be_trusted_are_refused(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    written(tmp_path, **{keyword: {1: value} for keyword, value in changes.items()})
    message = refusal(tmp_path)
    assert "0001.dcm" in message
    assert re.search(told, message)


def test_the_whole_series_is_held_against_the_ceiling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path)
    monkeypatch.setenv("SEGADV_MAX_IMAGE_GIB", str(1000 / 2**30))
    assert f"{tmp_path} declares 16 x 12 x 3 values" in refusal(tmp_path)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless], ids=lambda uid: uid.name)
def test_a_compressed_slice_that_is_cut_short_is_refused(tmp_path: Path, syntax: UID) -> None:
    files = written_compressed(tmp_path, syntax)
    whole = files[1].read_bytes()
    files[1].write_bytes(whole[:-40])
    assert "0001.dcm is truncated or damaged" in refusal(tmp_path)
    files[1].write_bytes(whole)
    frame = next(generate_frames(pydicom.dcmread(files[0]).PixelData, number_of_frames=1))
    rewritten(files[0], encapsulate([frame[: len(frame) // 2]]), syntax)
    assert "0000.dcm cannot be decoded" in refusal(tmp_path)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless], ids=lambda uid: uid.name)
def test_a_compressed_slice_of_another_size_is_refused_before_it_is_decoded(
    tmp_path: Path, syntax: UID
) -> None:
    files = written_compressed(tmp_path, syntax)
    content = files[1].read_bytes()
    if syntax == JPEG2000Lossless:
        old, new = struct.pack(">II", 64, 48), struct.pack(">II", 60000, 60000)
    else:
        old, new = struct.pack(">HH", 48, 64), struct.pack(">HH", 60000, 60000)
    at = content.index(old, content.index(b"\xff\x4f" if syntax == JPEG2000Lossless else b"\xff\xf7"))
    files[1].write_bytes(content[:at] + new + content[at + len(old) :])
    assert "declares 64 x 48 pixels, and its compressed picture 60000 x 60000" in refusal(tmp_path)


def test_more_compressed_bytes_than_pixels_are_refused(tmp_path: Path) -> None:
    rewritten(written(tmp_path)[1], encapsulate([bytes(2**17)]), RLELossless)
    assert "compressed bytes for 384 of pixels" in refusal(tmp_path)


def test_pixels_that_are_not_as_the_syntax_says_are_refused(tmp_path: Path) -> None:
    files = written(tmp_path)
    content = files[2].read_bytes()
    files[2].write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"))
    assert "0002.dcm does not hold its pixels as its TransferSyntaxUID says" in refusal(tmp_path)


def test_a_slice_reads_as_pydicom_reads_it(tmp_path: Path) -> None:
    files = written(tmp_path)
    expected: NDArray[np.int16] = np.stack([pydicom.dcmread(path).pixel_array.T for path in files], axis=-1)
    np.testing.assert_array_equal(read_series(tmp_path).array, expected - 1024)
