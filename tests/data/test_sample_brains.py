"""The generated brains: what a translation between sick and healthy slices needs."""

import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from segadv_monai.data import check_dataset, datalist, sample_data
from segadv_monai.data.sample_brains import write_brain_case


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(sample_data("brains", tmp_path_factory.mktemp("brains")))


def read(path: str | Path) -> NDArray[Any]:
    return np.asanyarray(nibabel.load(path).dataobj)


def test_it_is_a_data_set_of_two_channels_that_passes_the_check(brains: Path) -> None:
    assert [len(datalist(brains, section)) for section in ("training", "validation")] == [4, 2]
    assert not check_dataset(str(brains), spatial_dims=3, in_channels=2).findings


def test_every_head_has_all_parts_of_a_tumour_on_one_side_and_healthy_slices_on_the_other(
    brains: Path,
) -> None:
    for case in (*datalist(brains), *datalist(brains, "validation")):
        label = read(case["label"])
        assert set(np.unique(label)) == set(range(5))
        left, right = (half > 0 for half in np.split(label, 2))
        assert min(left.sum(), right.sum()) < 0.02 * (label > 0).sum()
        assert (left | right[::-1]).any(axis=(0, 1)).sum() >= 8


def test_the_background_is_0_and_no_brain_is(brains: Path) -> None:
    for case in datalist(brains):
        image, label = read(case["image"]), read(case["label"])
        empty = (image == 0).all(axis=-1)
        assert 0.25 < empty.mean() < 0.6
        assert (image[~empty] > 0).all()
        assert not label[empty].any()


def test_the_same_number_gives_the_same_bytes_and_quickly(tmp_path: Path) -> None:
    started = time.process_time()
    for name in "ab":
        write_brain_case(3, tmp_path / f"{name}.nii.gz", tmp_path / f"{name}_label.nii.gz")
    assert time.process_time() - started < 4
    for end in (".nii.gz", "_label.nii.gz"):
        assert (tmp_path / f"a{end}").read_bytes() == (tmp_path / f"b{end}").read_bytes()
