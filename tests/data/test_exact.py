import io
import zlib

import numpy as np
import pytest

from segadv_monai.data.exact import Inflated, read_exactly, skip


def test_the_first_axis_runs_fastest_and_the_byte_order_is_kept() -> None:
    values = np.arange(6, dtype=">i2").reshape(2, 3)
    found = read_exactly(io.BytesIO(values.tobytes(order="F")), (2, 3), ">i2")
    assert np.array_equal(found, values)
    assert found.dtype == ">i2"
    assert found.flags.f_contiguous


def test_too_few_and_too_many_bytes_are_refused() -> None:
    with pytest.raises(EOFError, match="11 of 12 bytes are there"):
        read_exactly(io.BytesIO(bytes(11)), (2, 3), "<i2")
    with pytest.raises(ValueError, match="there are more than the 12 bytes"):
        read_exactly(io.BytesIO(bytes(13)), (2, 3), "<i2")


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_a_zlib_stream_is_inflated_piece_by_piece(size: int) -> None:
    values = np.random.default_rng(0).integers(0, 4, size, dtype=np.uint8)
    stream = io.BufferedReader(Inflated(io.BytesIO(zlib.compress(values.tobytes()))))
    assert np.array_equal(read_exactly(stream, (size,), np.uint8), values)


@pytest.mark.parametrize("end", [slice(-1), slice(-4)], ids=["a byte", "its checksum"])
def test_a_zlib_stream_without_its_end_is_refused(end: slice) -> None:
    stream = io.BufferedReader(Inflated(io.BytesIO(zlib.compress(bytes(1000))[end])))
    with pytest.raises(EOFError, match="the compressed data end too early"):
        read_exactly(stream, (1000,), np.uint8)


def test_bytes_behind_a_zlib_stream_are_refused() -> None:
    stream = io.BufferedReader(Inflated(io.BytesIO(zlib.compress(bytes(1000)) + b"more")))
    with pytest.raises(ValueError, match="there are bytes behind the compressed data"):
        read_exactly(stream, (1000,), np.uint8)


def test_bytes_are_skipped_only_where_there_are_some() -> None:
    stream = io.BytesIO(bytes(5))
    skip(stream, 0)
    skip(stream, 3)
    assert stream.tell() == 3
    with pytest.raises(EOFError, match="1 bytes are missing"):
        skip(stream, 3)
