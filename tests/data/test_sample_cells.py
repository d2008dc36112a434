"""The generated micrographs: what membranes and instance numbers need."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from segadv_monai.data import check_dataset, datalist, labels_of, sample_data
from segadv_monai.data.sample_cells import write_cell_case, write_membrane_case


@pytest.fixture(scope="module", params=["membranes", "cells"])
def dataset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(sample_data(request.param, tmp_path_factory.mktemp(request.param)))


@pytest.fixture(scope="module")
def membranes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(sample_data("membranes", tmp_path_factory.mktemp("membranes")))


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(sample_data("cells", tmp_path_factory.mktemp("cells")))


def read(path: str | Path) -> NDArray[np.int64]:
    with Image.open(path) as opened:
        return np.asarray(opened).astype(np.int64)


def test_each_is_a_data_set_that_passes_the_check(dataset: Path) -> None:
    assert [len(datalist(dataset, section)) for section in ("training", "validation")] == [24, 6]
    assert not check_dataset(str(dataset), spatial_dims=2, in_channels=1).findings


@pytest.mark.parametrize("write", [write_membrane_case, write_cell_case])
def test_the_same_number_gives_the_same_bytes_and_another_another_picture(
    write: type[write_cell_case], tmp_path: Path
) -> None:
    files = []
    for name, index in (("a", 3), ("b", 3), ("c", 4)):
        write(index, tmp_path / f"{name}.png", tmp_path / f"{name}_label.png")
        files.append([(tmp_path / f"{name}{end}.png").read_bytes() for end in ("", "_label")])
    assert files[0] == files[1]
    assert all(a != c for a, c in zip(files[0], files[2], strict=True))


def test_membranes_are_thin_dark_and_part_the_cells(membranes: Path) -> None:
    assert labels_of(membranes) == {0: "membrane", 1: "cell"}
    for case in datalist(membranes):
        picture, label = read(case["image"]), read(case["label"])
        assert set(np.unique(label)) == {0, 1}
        assert 0.7 < label.mean() < 0.95
        assert ndimage.label(label)[1] >= 10
        assert picture[label == 0].mean() < picture[label == 1].mean() - 20


def test_grey_alone_does_not_find_the_membranes(membranes: Path) -> None:
    """The best threshold leaves more pixels wrong than a segmentor should."""
    cases = [(read(c["image"]), read(c["label"])) for c in datalist(membranes)[:8]]
    grey, label = (np.concatenate([part.ravel() for part in parts]) for parts in zip(*cases, strict=True))
    errors = [((grey > level) != label).mean() for level in range(60, 200, 4)]
    assert 0.08 < min(errors) < 0.3


def test_cells_have_numbers_of_sixteen_bits_and_touch(cells: Path) -> None:
    highest = touching = 0
    for case in datalist(cells):
        with Image.open(case["label"]) as opened:
            assert opened.mode == "I;16"
        label = read(case["label"])
        highest = max(highest, label.max())
        numbers = np.unique(label[label > 0])
        assert 3 <= len(numbers) <= 12
        touching += len(numbers) > ndimage.label(label > 0)[1]
        assert 0.05 < (label > 0).mean() < 0.6
    assert highest > 255
    assert touching > 12


def test_a_cell_is_as_bright_as_what_is_around_it(cells: Path) -> None:
    for case in datalist(cells)[:8]:
        picture, label = read(case["image"]), read(case["label"])
        inside, outside = picture[label > 0], picture[label == 0]
        assert abs(inside.mean() - outside.mean()) < 6
        assert inside.std() > 1.5 * outside.std()
