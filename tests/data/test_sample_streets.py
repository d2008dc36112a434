"""The generated street scenes: what a data set with an ignored label needs."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from segadv_monai.data import check_dataset, datalist, labels_of, sample_data
from segadv_monai.data.sample_streets import write_street_case


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(sample_data("streets", tmp_path_factory.mktemp("streets")))


def read(path: str | Path) -> NDArray[np.uint8]:
    with Image.open(path) as opened:
        return np.asarray(opened)


def test_it_is_a_data_set_of_twelve_labels_that_passes_the_check(streets: Path) -> None:
    assert [len(datalist(streets, section)) for section in ("training", "validation")] == [80, 20]
    assert sorted(labels_of(streets)) == list(range(12))
    told = json.loads((streets / "dataset.json").read_text())
    assert labels_of(streets)[told["ignore_label"]] == "unlabelled"
    assert not check_dataset(str(streets), spatial_dims=2, in_channels=3).findings


def test_every_class_and_the_ignored_label_are_in_both_sections(streets: Path) -> None:
    for section in ("training", "validation"):
        maps = [read(case["label"]) for case in datalist(streets, section)]
        shares = np.bincount(np.concatenate(maps, axis=None), minlength=12) / np.concatenate(maps).size
        assert (shares > 0.002).all()
        assert all((labels == 11).any() for labels in maps)


def test_the_same_number_gives_the_same_bytes_and_another_another_picture(tmp_path: Path) -> None:
    files = []
    for name, index in (("a", 3), ("b", 3), ("c", 4)):
        write_street_case(index, tmp_path / f"{name}.png", tmp_path / f"{name}_label.png")
        files.append(((tmp_path / f"{name}.png").read_bytes(), (tmp_path / f"{name}_label.png").read_bytes()))
    assert files[0] == files[1]
    assert files[0][0] != files[2][0]
    assert files[0][1] != files[2][1]


def test_colour_alone_does_not_tell_the_classes_apart(streets: Path) -> None:
    """The nearest mean colour of each class is right less often than a segmentor should be."""
    cases = [(read(c["image"]).astype(float), read(c["label"])) for c in datalist(streets, "training")[:20]]
    pixels = np.concatenate([image.reshape(-1, 3) for image, _ in cases])
    labels = np.concatenate([label.ravel() for _, label in cases])
    means = np.stack([pixels[labels == value].mean(0) for value in range(11)])
    nearest = ((pixels[::7, None] - means) ** 2).sum(-1).argmin(1)
    known = labels[::7] < 11
    assert 0.1 < (nearest == labels[::7])[known].mean() < 0.6
