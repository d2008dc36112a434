import io
import struct
from pathlib import Path

import numpy as np
import pytest
from dicom_files import PRIVATE, refusal, write_series

from segadv_monai.data import dicom_stream
from segadv_monai.data.dicom_series import read_series, series_files
from segadv_monai.protocols import DataError

AFFINE = np.diag([-0.7, -0.9, 2.5, 1.0])
ARRAY = np.random.default_rng(3).integers(-900, 900, (4, 3, 3)).astype(np.int16)
PIXELS = b"\xe0\x7f\x10\x00OW"
ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
OPEN_ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
SEQUENCE = struct.pack("<HH2sHI", 0x0028, 0x9999, b"SQ", 0, 0xFFFFFFFF)
END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def with_elements(path: Path, elements: bytes) -> None:
    content = path.read_bytes()
    at = content.index(PIXELS)
    path.write_bytes(content[:at] + elements + content[at:])


def outcome(folder: Path) -> str:
    """The one line of a refusal, empty where the series is read."""
    try:
        shape = read_series(folder).array.shape
    except DataError as error:
        return str(error)
    return "" if shape == ARRAY.shape else f"read as {shape}"


def test_a_file_that_was_cut_anywhere_is_refused(tmp_path: Path) -> None:
    files = write_series(tmp_path, ARRAY, AFFINE)
    content = files[1].read_bytes()
    for length in [*range(0, len(content), 41), len(content) - 1]:
        files[1].write_bytes(content[:length])
        assert "0001.dcm" in refusal(tmp_path)


def test_pixels_that_are_cut_short_are_found_without_decoding(tmp_path: Path) -> None:
    files = write_series(tmp_path, ARRAY, AFFINE)
    files[1].write_bytes(files[1].read_bytes()[:-1])
    with pytest.raises(DataError, match=r"0001\.dcm is truncated or damaged"):
        series_files(tmp_path)


def test_a_reader_stops_at_the_end_of_what_it_may_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_stream, "_MOST_READ", 100)
    with dicom_stream.BoundedReader(io.BytesIO(bytes(1000)), 1000) as file:
        assert file.read(90) == bytes(90)
        assert file.read(20) == b""
        assert file.read(2**40) == b""
        with pytest.raises(DataError, match=r"a\.dcm has a header of more"):
            file.check(Path("a.dcm"))


def test_a_damaged_file_ends_in_one_line_or_is_read(tmp_path: Path) -> None:
    """A flipped bit in a name or a value cannot be seen; nothing else than the one error may come of it."""
    files = write_series(tmp_path, ARRAY, AFFINE)
    content = bytearray(files[1].read_bytes())
    random = np.random.default_rng(5)
    refused = 0
    for _ in range(150):
        damaged = content.copy()
        for at in random.integers(128, len(content), 3):
            damaged[at] = random.integers(256)
        files[1].write_bytes(damaged)
        told = outcome(tmp_path)
        refused += bool(told)
        assert "\n" not in told
        assert not any(value in told for value in PRIVATE.values())
    assert refused > 20


def test_an_element_that_declares_more_than_the_file_holds_takes_no_memory(tmp_path: Path) -> None:
    files = write_series(tmp_path, ARRAY, AFFINE)
    with_elements(files[1], struct.pack("<HH2sHI", 0x0029, 0x1010, b"OB", 0, 0xFFFFFFF0))
    assert "0001.dcm is truncated or has no PixelData" in refusal(tmp_path)


def test_a_large_element_before_the_pixels_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicom_stream, "_MOST_READ", 2**14)
    files = write_series(tmp_path, ARRAY, AFFINE)
    with_elements(files[1], struct.pack("<HH2sHI", 0x0029, 0x1010, b"OB", 0, 2**16) + bytes(2**16))
    np.testing.assert_array_equal(read_series(tmp_path).array, ARRAY)


@pytest.mark.parametrize(
    "elements",
    [
        SEQUENCE + ITEM * 2**12 + END,
        b"".join(struct.pack("<HH2sH", 0x0029, number, b"LO", 0) for number in range(2**12)),
        struct.pack("<HH2sHI", 0x0029, 0x1010, b"OB", 0, 0xFFFFFFFF) + bytes(2**15) + END,
    ],
    ids=["items", "elements", "unending"],
)
def test_a_header_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elements: bytes
) -> None:
    monkeypatch.setattr(dicom_stream, "_MOST_READ", 2**14)
    files = write_series(tmp_path, ARRAY, AFFINE)
    with_elements(files[1], elements)
    assert "0001.dcm has a header of more than 0 MiB" in refusal(tmp_path)


def test_sequences_that_nest_without_end_are_refused(tmp_path: Path) -> None:
    files = write_series(tmp_path, ARRAY, AFFINE)
    with_elements(files[1], (SEQUENCE + OPEN_ITEM) * 5000)
    assert "0001.dcm is truncated or damaged" in refusal(tmp_path)


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    files = write_series(tmp_path, ARRAY, AFFINE)
    content = files[1].read_bytes()
    files[1].write_bytes(content.replace(PIXELS, b"\xe0\x7f\x08\x00OF"))
    assert "0001.dcm is truncated or has no PixelData" in refusal(tmp_path)
