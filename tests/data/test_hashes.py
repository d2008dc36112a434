"""Hashes are those of ``sha256sum``."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from dicom_files import write_series

from segadv_monai.data import digest_of, file_hashes, sha256_of
from segadv_monai.protocols import DataError


def test_a_hash_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


def test_cases_are_named_from_their_common_folder(tmp_path: Path) -> None:
    for name in ("x/a.png", "x/y/b.png", "x/z/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    cases = [
        {"image": str(tmp_path / "x/a.png")},
        {"image": [str(tmp_path / "x/y/b.png"), str(tmp_path / "x/z/c.png")]},
    ]
    assert file_hashes(cases) == {
        name: hashlib.sha256(f"x/{name}".encode()).hexdigest() for name in ("a.png", "y/b.png", "z/c.png")
    }
    assert file_hashes([]) == {}


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.png: there is no such file"):
        file_hashes([{"image": str(tmp_path / "a.png")}])
    (tmp_path / "b.png").symlink_to("/proc/self/mem")
    with pytest.raises(DataError, match=r"b\.png cannot be read \(Input/output error\): mend or remove it"):
        file_hashes([{"image": str(tmp_path / "b.png")}])


def test_every_file_of_an_image_is_hashed(tmp_path: Path) -> None:
    slices = write_series(tmp_path / "series", np.zeros((3, 4, 5), np.int16), np.eye(4))
    (tmp_path / "series" / ".hidden").touch()
    image = SimpleITK.GetImageFromArray(np.zeros((3, 4, 5), np.int16))
    SimpleITK.WriteImage(image, tmp_path / "a.mhd")
    cases = [{"image": str(tmp_path / "series")}, {"image": [str(tmp_path / "a.mhd")]}]
    names = [f"series/{file.name}" for file in slices] + ["a.mhd", "a.raw"]
    assert file_hashes(cases) == {name: sha256_of(tmp_path / name) for name in names}


def test_a_digest_does_not_depend_on_the_order() -> None:
    assert digest_of({"b": "2", "a": "1"}) == digest_of({"a": "1", "b": "2"})
    assert digest_of({"a": "1"}) == hashlib.sha256(b"1  a\n").hexdigest()
    assert digest_of({"a": "1"}) != digest_of({"a": "2"})
