"""The pipelines of docs/preparation.md, as they stand there, on real volumes."""

import json
import re
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.transforms import Invertd
from nibabel.affines import from_matvec
from torch import Tensor

from segadv_monai.data import datalist
from segadv_monai.data.image_values import image_like

TEXT = (Path(__file__).parents[2] / "docs" / "preparation.md").read_text()
BLOCKS = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)]
MRI, CT = (block for block in BLOCKS if "preprocessing" in block)


def built(key: str, *parts: dict[str, Any], **others: Any) -> Any:
    merged = {name: value for part in parts for name, value in part.items()}
    return ConfigParser({**merged, **others}).get_parsed_content(key)


def oblique(image: Tensor, path: Path) -> Path:
    """A part of a volume, anisotropic and in another orientation."""
    turn = np.array([[0, -1.0, 0.1], [1, 0, 0], [0, 0.1, 1]])
    affine = from_matvec(turn / np.linalg.norm(turn, axis=0) @ np.diag([1.2, 1.0, 2.0]), [5, -7, 9])
    nibabel.save(nibabel.Nifti1Image(np.asarray(image, np.float32), affine), path)
    return path


def test_an_mri_is_corrected_turned_resampled_and_scaled(shared_data: Path, tmp_path: Path) -> None:
    source = datalist(shared_data / "subcortical", "validation")[0]["image"]
    values = np.asarray(nibabel.load(source).dataobj)[:60, :60, 60:100]
    path = oblique(values, tmp_path / "head.nii.gz")
    steps = built("preprocessing", MRI)
    image = steps({"image": path})["image"]
    assert affine_to_spacing(image.affine).tolist() == pytest.approx([1, 1, 1])
    assert nibabel.aff2axcodes(image.affine.numpy()) == ("R", "A", "S")
    inside = image != 0
    assert 0.1 < inside.float().mean() < 0.9
    assert float(image[inside].mean()) == pytest.approx(0, abs=1e-4)
    assert float(image[inside].std()) == pytest.approx(1, abs=1e-3)
    undone = Invertd("image", steps, "image", nearest_interp=False)({"image": image})["image"]
    assert undone.shape[1:] == values.shape
    np.testing.assert_allclose(undone.affine.numpy(), image.meta["original_affine"], atol=1e-5)


def test_a_ct_is_turned_resampled_and_windowed(shared_data: Path, tmp_path: Path) -> None:
    values = np.asarray(nibabel.load(shared_data / "ct_organs" / "example_ct_sm.nii.gz").dataobj)[
        :60, :60, :40
    ]
    path = oblique(values, tmp_path / "body.nii.gz")
    steps = built("preprocessing", CT)
    image = steps({"image": path})["image"]
    assert affine_to_spacing(image.affine).tolist() == pytest.approx([1.5, 1.5, 2])
    assert nibabel.aff2axcodes(image.affine.numpy()) == ("R", "A", "S")
    assert (float(image.min()), float(image.max())) == (0, 1)
    undone = Invertd("image", steps, "image", nearest_interp=False)({"image": image})["image"]
    inside = (values > -100) & (values < 180)
    expected = (values + 160)[inside] / 400
    assert np.corrcoef(undone[0].numpy()[inside], expected)[0, 1] > 0.8


def test_histograms_of_prepared_volumes_are_matched_as_a_config_says(shared_data: Path) -> None:
    """Without N4, for time."""
    steps = [step for step in MRI["preprocessing"]["transforms"] if "N4" not in step["_target_"]]
    parts = {"preprocessing": {"_target_": "monai.transforms.Compose", "transforms": steps}}
    (matching,) = (block for block in BLOCKS if "matching" in block)
    folder = shared_data / "hippocampus"
    matcher = built("matching", parts, matching, dataset_dir=str(folder)).set_random_state(0)
    prepared = built("preprocessing", parts)(datalist(folder)[0])
    results = [matcher({"image": prepared["image"]})["image"] for _ in range(6)]
    assert all(result.isfinite().all() and result.abs().max() < 20 for result in results)
    assert any(torch.equal(result, prepared["image"]) for result in results)
    assert not all(torch.equal(result, prepared["image"]) for result in results)


def test_the_cleaning_of_the_text_is_none_until_it_is_chosen(tmp_path: Path) -> None:
    (cleaning,) = (block for block in BLOCKS if "cleaning" in block)
    (evaluation,) = (block for block in BLOCKS if "handlers" in block)
    maps = torch.zeros(2, 6, 6)
    maps[0, 1:4, 1:4] = maps[0, 5, 5] = 1
    others = {"regions": [[1], [2]], "output_dir": str(tmp_path)}
    for choice, left in ((["none", "none"], 10), (["largest", "none"], 9)):
        steps = built("postprocessing", cleaning, **{**others, "cleaning": choice})
        data: dict[str, Any] = {"pred": maps}
        for step in steps:
            data = step(data)
        assert data["pred"].sum() == left
        handler = built("handlers", cleaning, evaluation, **{**others, "cleaning": choice})[0]
        assert handler.applied == [option for option in choice if option != "none"]


def test_values_get_the_metadata_of_their_image_and_plain_tensors_stay_plain() -> None:
    image = MetaTensor(torch.zeros(1, 3, 3), meta={"filename_or_obj": "a.nii"}, applied_operations=[{"a": 1}])
    result = image_like(image, np.ones((1, 3, 3), np.float32))
    assert isinstance(result, MetaTensor)
    assert result.meta["filename_or_obj"] == "a.nii"
    assert result.applied_operations == [{"a": 1}]
    assert result.sum() == 9
    assert type(image_like(torch.zeros(1), np.ones(1, np.float32))) is Tensor
