"""What was read is not read again, and what has changed is; a cache that is broken changes no verdict."""

import json
import logging
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segadv_monai.data import DataReport, check, check_dataset
from segadv_monai.protocols import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEGADV_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "checks"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Uncompressed pictures: each other content has the same size."""
    root = tmp_path / "set"
    root.mkdir()
    for i in range(3):
        Image.fromarray(np.arange(i, i + 20, dtype=np.uint8).reshape(5, 4)).save(root / f"{i}.bmp")
        Image.fromarray(np.eye(5, 4, dtype=np.uint8)).save(root / f"label_{i}.bmp")
    entries = [{"image": f"{i}.bmp", "label": f"label_{i}.bmp"} for i in range(3)]
    content = {"labels": {"0": "a", "1": "b"}, "training": entries[:2], "validation": entries[2:]}
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def looked_at(dataset: Path, **arguments: object) -> DataReport:
    return check_dataset(str(dataset), spatial_dims=2, in_channels=1, **arguments)


def spoil(path: Path) -> None:
    """Another content of the same size and with the same times of its content."""
    before = path.stat()
    Image.fromarray(np.full((5, 4), 7, np.uint8)).save(path)
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def file_of(cache: Path) -> Path:
    (found,) = cache.iterdir()
    return found


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are decoded from here on."""
    names: list[str] = []
    real = check.facts_of

    def noted(path: Path, *, is_label: bool) -> object:
        names.append(path.name)
        return real(path, is_label=is_label)

    monkeypatch.setattr(check, "facts_of", noted)
    return names


def test_what_has_not_changed_is_not_read_again(dataset: Path, decoded: list[str]) -> None:
    """Keeps D4."""
    first = looked_at(dataset)
    assert sorted(decoded) == [f"{i}.bmp" for i in range(3)] + [f"label_{i}.bmp" for i in range(3)]
    assert first.known == 0
    decoded.clear()
    second = looked_at(dataset)
    assert decoded == []
    assert second.known == 3
    assert (second.hashes, second.findings) == (first.hashes, first.findings)


def test_what_has_changed_is_read_again_although_size_and_time_are_the_same(
    dataset: Path, decoded: list[str]
) -> None:
    """Keeps D4."""
    looked_at(dataset)
    decoded.clear()
    spoil(dataset / "label_1.bmp")
    with pytest.raises(DataError, match=r"label_1\.bmp holds the label values 7"):
        looked_at(dataset)
    assert decoded == ["label_1.bmp"]


def test_a_file_that_was_only_touched_is_hashed_and_not_decoded(dataset: Path, decoded: list[str]) -> None:
    looked_at(dataset)
    decoded.clear()
    (dataset / "1.bmp").touch()
    assert looked_at(dataset).known == 2
    assert decoded == []
    assert looked_at(dataset).known == 3


def test_a_file_that_is_gone_is_missed(dataset: Path) -> None:
    looked_at(dataset)
    (dataset / "1.bmp").unlink()
    with pytest.raises(DataError, match=r"1\.bmp: there is no such file"):
        looked_at(dataset)


def test_a_fault_is_found_again(dataset: Path) -> None:
    spoil(dataset / "label_1.bmp")
    (dataset / "0.bmp").write_bytes(b"BM")
    for _ in range(2):
        with pytest.raises(DataError, match=r"0\.bmp is truncated .* \(and 1 more case with faults\)"):
            looked_at(dataset)


def test_what_is_asked_for_may_change_while_the_facts_stay(dataset: Path, decoded: list[str]) -> None:
    looked_at(dataset)
    decoded.clear()
    with pytest.raises(DataError, match="the network expects 2D images with 3 channels"):
        check_dataset(str(dataset), spatial_dims=2, in_channels=3)
    assert decoded == []


def test_a_section_does_not_forget_the_others(dataset: Path, decoded: list[str]) -> None:
    looked_at(dataset)
    (dataset / "2.bmp").touch()
    looked_at(dataset, sections=["validation"])
    decoded.clear()
    assert looked_at(dataset).known == 3
    assert decoded == []


def test_an_image_that_is_a_label_elsewhere_is_looked_at_in_both_roles(
    dataset: Path, decoded: list[str]
) -> None:
    content = json.loads((dataset / "dataset.json").read_text())
    content["training"][1] = {"image": "label_0.bmp", "label": "label_0.bmp"}
    (dataset / "dataset.json").write_text(json.dumps(content))
    looked_at(dataset)
    assert sorted(decoded).count("label_0.bmp") == 2
    decoded.clear()
    assert looked_at(dataset).known == 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda _: b"",
        lambda _: b"[]\n[]",
        lambda _: b"{}",
        lambda content: b"\xff\xfe" + content,
        lambda content: content.replace(b'"values":[0.0,1.0]', b'"values":[0.0,9.0]'),
        lambda content: content.replace(b'"reader": "', b'"reader": "0'),
    ],
    ids=["half", "empty", "another", "an object", "no text", "a flipped value", "another version"],
)
def test_a_damaged_cache_is_read_anew_and_replaced(dataset: Path, cache: Path, damage: object) -> None:
    """Keeps D4."""
    expected = looked_at(dataset)
    whole = file_of(cache).read_bytes()
    file_of(cache).write_bytes(damage(whole))
    assert file_of(cache).read_bytes() != whole
    report = looked_at(dataset)
    assert (report.known, report.findings, report.hashes) == (0, expected.findings, expected.hashes)
    assert looked_at(dataset).known == 3


def test_a_cache_that_cannot_be_written_is_said_in_one_line(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Keeps D4."""
    (tmp_path / "cache").write_text("a file where the folder should be")
    for _ in range(2):
        caplog.clear()
        assert looked_at(dataset).known == 0
        (warning,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
        assert "cannot be written" in warning
        assert "set SEGADV_CACHE to a folder that can be written" in warning


def test_a_set_of_a_thousand_files_is_known_again_in_well_under_a_second(tmp_path: Path) -> None:
    picture, label = tmp_path / "picture.bmp", tmp_path / "label.bmp"
    Image.fromarray(np.eye(5, 4, dtype=np.uint8)).save(label)
    entries = []
    for i in range(500):
        Image.fromarray(np.full((5, 4), i % 256, np.uint8)).save(picture)
        (tmp_path / f"{i}.bmp").write_bytes(picture.read_bytes())
        (tmp_path / f"label_{i}.bmp").write_bytes(label.read_bytes())
        entries.append({"image": f"{i}.bmp", "label": f"label_{i}.bmp"})
    content = {"labels": {"0": "a", "1": "b"}, "training": entries}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    looked_at(tmp_path, sections=["training"])
    started = time.process_time()
    assert looked_at(tmp_path, sections=["training"]).known == 500
    assert time.process_time() - started < 0.5
