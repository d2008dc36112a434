"""Sheets of cases with contours."""

from pathlib import Path

import matplotlib.image
import numpy as np
import torch
from ignite.engine import Engine
from monai.data import MetaTensor

from segadv_monai.handlers import Preview


def sheet(path: Path, *, spatial_dims: int, label: bool = True, cases: int = 1) -> np.ndarray:
    size = (20,) * spatial_dims
    maps = torch.zeros(1, *size)
    maps[(0, *[slice(5, 15)] * spatial_dims)] = 1
    image = MetaTensor(torch.ones(3 if spatial_dims == 2 else 1, *size), meta={"filename_or_obj": "a.png"})
    case = {"image": image, "label": maps * label, "pred": maps.roll(3, 1)}
    engine = Engine(lambda *_: [case])
    preview = Preview(path / "{epoch}.png", cases=cases)
    preview.attach(engine)
    engine.run(range(3))
    assert preview.sheet is not None
    return preview.sheet


def greenish(picture: np.ndarray) -> int:
    red, green, _ = np.moveaxis(picture.astype(int), -1, 0)
    return int((green > red + 50).sum())


def pinkish(picture: np.ndarray) -> int:
    red, green, _ = np.moveaxis(picture.astype(int), -1, 0)
    return int((red > green + 50).sum())


def test_both_contours_are_drawn(tmp_path: Path) -> None:
    picture = sheet(tmp_path, spatial_dims=2)
    assert greenish(picture) > 50
    assert pinkish(picture) > 50


def test_a_volume_is_shown_where_its_reference_is(tmp_path: Path) -> None:
    assert greenish(sheet(tmp_path, spatial_dims=3)) > 50


def test_an_empty_reference_has_no_contour(tmp_path: Path) -> None:
    picture = sheet(tmp_path, spatial_dims=2, label=False)
    assert greenish(picture) == 0
    assert pinkish(picture) > 50


def test_the_file_has_the_epoch_in_its_name_and_as_many_columns_as_cases(tmp_path: Path) -> None:
    one, two = sheet(tmp_path, spatial_dims=2), sheet(tmp_path, spatial_dims=2, cases=2)
    assert two.shape[1] == 2 * one.shape[1]
    assert matplotlib.image.imread(tmp_path / "0001.png").shape[:2] == two.shape[:2]
