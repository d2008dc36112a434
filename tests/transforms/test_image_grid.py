"""Maps of a network on the grid of its image's file: what MONAI's Invertd gives, in the memory of a slab."""

import pickle
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import (
    Activations,
    Compose,
    CropForegroundd,
    Invertd,
    LoadImaged,
    NormalizeIntensityd,
    Orientationd,
    ScaleIntensityRanged,
    Spacingd,
    SpatialPadd,
)
from scipy.spatial.transform import Rotation
from torch import Tensor

from segadv_monai.data import SaveSegmentationd
from segadv_monai.inferers.forward_memory import _Living
from segadv_monai.protocols import ConfigError, DataError
from segadv_monai.transforms import RegionsToLabel, RegionsToLabeld, ToImageGridd

SIZE = (21, 16, 13)
REGIONS = [[1], [2], [3]]
ORIENTATIONS = list(product(permutations(range(3)), product((1, -1), repeat=3)))


def affine_of(order: tuple[int, ...], signs: tuple[int, ...], tilt: float = 0.0) -> np.ndarray:
    """Axes that lie as told, each with a spacing of its own, in a scanner that is not upright."""
    affine = np.eye(4)
    for axis, (world, sign, spacing) in enumerate(zip(order, signs, (0.8, 1.3, 2.1), strict=True)):
        affine[:3, axis] = 0
        affine[world, axis] = sign * spacing
    affine[:3, 1] += tilt * affine[:3, 2]
    affine[:3, :3] = Rotation.from_euler("xyz", [5, -8, 12], degrees=True).as_matrix() @ affine[:3, :3]
    affine[:3, 3] = [-40, 25, 7]
    return affine


def loaded(affine: np.ndarray, size: tuple[int, ...] = SIZE) -> MetaTensor:
    """An image as LoadImaged gives it."""
    rank = len(size)
    affine = affine[np.ix_([*range(rank), 3], [*range(rank), 3])]
    meta = {
        "original_affine": affine.copy(),
        "spatial_shape": np.array(size),
        "filename_or_obj": "case.nii",
    }
    return MetaTensor(torch.rand(1, *size), affine=torch.tensor(affine), meta=meta)


def steps(*more: Any, spacing: float = 1.5) -> Compose:
    return Compose(
        [Orientationd("image", axcodes="RAS", labels=None), Spacingd("image", pixdim=[spacing] * 3), *more]
    )


def with_maps(preprocessing: Compose, image: MetaTensor, channels: int = 3) -> dict[str, Any]:
    seen = preprocessing({"image": image})
    seen["pred"] = torch.randn(channels, *seen["image"].shape[1:])
    return seen


def inverted(seen: dict[str, Any], preprocessing: Compose, *, nearest: bool = False) -> Tensor:
    """The usual way."""
    maps = MetaTensor(seen["pred"])
    back = Invertd("pred", preprocessing, "image", nearest_interp=nearest)({**seen, "pred": maps})
    result: Tensor = back["pred"]
    return result


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_every_orientation_is_brought_back_as_invertd_does_it(
    order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    preprocessing = steps()
    seen = with_maps(preprocessing, loaded(affine_of(order, signs)))
    expected = inverted(seen, preprocessing)
    brought = ToImageGridd("pred", slab_mib=0.05)(seen)["pred"]
    assert brought.shape == (3, *SIZE)
    assert torch.allclose(brought.as_subclass(Tensor), expected.as_subclass(Tensor), atol=1e-4)
    assert torch.allclose(brought.affine, expected.affine)


@pytest.mark.parametrize("spacing", [0.6, 3.0, 50.0], ids=["finer", "coarser", "one voxel"])
def test_any_spacing_of_the_network_will_do(spacing: float) -> None:
    preprocessing = steps(spacing=spacing)
    seen = with_maps(preprocessing, loaded(affine_of((1, 0, 2), (-1, 1, -1))))
    brought = ToImageGridd("pred", slab_mib=0.05)(seen)["pred"]
    assert torch.allclose(brought, inverted(seen, preprocessing), atol=1e-4)


def test_a_tilted_gantry_is_no_matter() -> None:
    preprocessing = steps()
    seen = with_maps(preprocessing, loaded(affine_of((0, 1, 2), (-1, -1, 1), tilt=0.3)))
    assert seen["image"].shape[1:] != SIZE
    brought = ToImageGridd("pred", slab_mib=0.05)(seen)["pred"]
    assert torch.allclose(brought, inverted(seen, preprocessing), atol=1e-4)


def test_a_file_of_two_axes_is_brought_back() -> None:
    preprocessing = Compose([Spacingd("image", pixdim=[1.5, 1.5])])
    seen = with_maps(preprocessing, loaded(np.diag([0.8, 1.3, 1, 1]), (24, 18)))
    brought = ToImageGridd("pred", slab_mib=0.001)(seen)["pred"]
    assert torch.allclose(brought, inverted(seen, preprocessing), atol=1e-4)


def test_an_image_on_its_own_grid_is_left_as_it_is() -> None:
    seen = with_maps(Compose([]), loaded(affine_of((2, 0, 1), (1, -1, 1))))
    brought = ToImageGridd("pred")(seen)["pred"]
    assert torch.allclose(brought.as_subclass(Tensor), seen["pred"], atol=1e-5)


def test_padding_is_cut_off_again() -> None:
    preprocessing = steps(SpatialPadd("image", (40, 41, 42)))
    seen = with_maps(preprocessing, loaded(affine_of((0, 2, 1), (1, -1, -1))))
    assert seen["image"].shape[1:] == (40, 41, 42)
    # As wide as the half voxel at the far ends that padding and the image's border fill differently.
    inside = (slice(None), *(slice(2, -2),) * 3)
    brought = ToImageGridd("pred")(seen)["pred"]
    assert brought.shape == (3, *SIZE)
    assert torch.allclose(brought[inside], inverted(seen, preprocessing)[inside], atol=1e-4)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_labels_are_those_of_the_usual_steps(activation: Any) -> None:
    preprocessing = steps()
    seen = with_maps(preprocessing, loaded(affine_of((1, 0, 2), (-1, 1, -1)), (60, 50, 40)))
    one_step = ToImageGridd("pred", activation=activation, labels=RegionsToLabel(REGIONS, 0.4), slab_mib=0.1)
    brought = one_step(seen)["pred"]
    seen["pred"] = Activations(**{activation: True})(seen["pred"])
    seen["pred"] = inverted(seen, preprocessing)
    expected = RegionsToLabeld("pred", REGIONS, 0.4)(seen)["pred"]
    assert brought.dtype == expected.dtype == torch.uint8
    assert brought.shape == expected.shape == (1, 60, 50, 40)
    assert (brought != expected).float().mean() < 1e-4


def test_slabs_of_any_size_give_the_same_labels() -> None:
    seen = with_maps(steps(), loaded(affine_of((1, 2, 0), (-1, 1, -1))))
    once, rows = (
        ToImageGridd("pred", activation="sigmoid", labels=RegionsToLabel(REGIONS), slab_mib=mib)(seen)["pred"]
        for mib in (64, 1e-6)
    )
    assert (once != rows).float().mean() < 1e-3


def test_labels_that_are_made_already_are_only_copied() -> None:
    preprocessing = steps()
    seen = with_maps(preprocessing, loaded(affine_of((1, 0, 2), (-1, 1, -1))))
    seen["pred"] = torch.randint(0, 200, (1, *seen["image"].shape[1:]), dtype=torch.uint8)
    brought = ToImageGridd("pred", mode="nearest")(seen)["pred"]
    assert brought.dtype == torch.uint8
    assert torch.equal(brought.float(), inverted(seen, preprocessing, nearest=True).as_subclass(Tensor))


def test_labels_that_are_interpolated_are_not_cut_to_whole_numbers() -> None:
    seen = with_maps(steps(), loaded(affine_of((1, 0, 2), (-1, 1, -1))))
    seen["pred"] = torch.randint(0, 2, (1, *seen["image"].shape[1:]))
    brought = ToImageGridd("pred")(seen)["pred"]
    assert brought.dtype == torch.float32
    assert 0.2 < brought.mean() < 0.8


def test_a_label_may_tell_the_grid_that_is_wanted() -> None:
    """As in an evaluation that turns images and labels, and resamples images alone."""
    image = loaded(affine_of((1, 0, 2), (-1, 1, -1)))
    turned = Orientationd("image", axcodes="RAS", labels=None)({"image": image})["image"]
    preprocessing = Compose([Spacingd("image", pixdim=[1.5] * 3)])
    seen = with_maps(preprocessing, turned)
    label = MetaTensor(
        torch.zeros(2, *turned.shape[1:]), affine=turned.affine, meta={"filename_or_obj": "other"}
    )
    brought = ToImageGridd(["pred", "image"], like_key="label")({**seen, "label": label})
    assert brought["image"].shape == turned.shape == (1, 16, 21, 13)
    assert torch.allclose(brought["pred"], inverted(seen, preprocessing), atol=1e-4)
    assert torch.allclose(brought["image"].affine, turned.affine)
    assert brought["pred"].meta["filename_or_obj"] == "case.nii"


def test_maps_of_half_precision_are_enough_for_labels() -> None:
    seen = with_maps(steps(), loaded(affine_of((1, 0, 2), (-1, 1, -1))))
    to_labels = ToImageGridd("pred", activation="sigmoid", labels=RegionsToLabel(REGIONS))
    half = to_labels({**seen, "pred": seen["pred"].half()})["pred"]
    assert (half != to_labels(seen)["pred"]).float().mean() < 5e-3


def test_nothing_but_the_labels_grows_with_the_classes() -> None:
    """On a grid of 64 x 64 x 64, where one map takes a megabyte."""
    preprocessing = steps(spacing=4)
    peaks = {}
    for count in (2, 24):
        seen = with_maps(preprocessing, loaded(np.eye(4), (64, 64, 64)), count)
        ours = ToImageGridd(
            "pred",
            activation="sigmoid",
            labels=RegionsToLabel([[i] for i in range(1, count + 1)]),
            slab_mib=1,
        )
        peaks[count, "ours"] = most_bytes(lambda ours=ours, seen=seen: ours(seen))
        peaks[count, "usual"] = most_bytes(lambda seen=seen: inverted(seen, preprocessing))
    assert peaks[24, "usual"] - peaks[2, "usual"] > 22 * 2**20
    assert all(peaks[count, "ours"] < 2**20 + 64**3 for count in (2, 24))


def most_bytes(call: Any) -> int:
    """Of tensors that it makes and that are alive at once."""
    with _Living() as living:
        call()
    return living.most


@pytest.mark.parametrize("name", ["example_ct_sm.nii.gz", "example_mr_sm.nii.gz"])
def test_real_volumes_are_labelled_as_usual(name: str, shared_data: Path) -> None:
    preprocessing = Compose(
        [
            LoadImaged("image", reader="NibabelReader", ensure_channel_first=True),
            Orientationd("image", axcodes="RAS", labels=None),
            Spacingd("image", pixdim=[2.0, 2.5, 4.0]),
            NormalizeIntensityd("image"),
        ]
    )
    seen = preprocessing({"image": shared_data / "ct_organs" / name})
    image = seen["image"].as_subclass(Tensor)
    # Dark, between and bright, with borders that no grey value lies on.
    seen["pred"] = 10 * torch.cat((-0.37 - image, 0.53 - (image - 0.19).abs(), image - 0.71))
    usual = {**seen, "pred": seen["pred"].sigmoid()}
    usual["pred"] = inverted(usual, preprocessing)
    expected = RegionsToLabeld("pred", REGIONS, 0.5)(usual)["pred"]
    to_labels = ToImageGridd("pred", activation="sigmoid", labels=RegionsToLabel(REGIONS, 0.5), slab_mib=1)
    brought = to_labels(seen)["pred"]
    assert len(expected.unique()) == 4
    assert (brought != expected).float().mean() < 1e-4


def test_a_file_gets_its_labels_with_its_own_geometry(tmp_path: Path) -> None:
    affine = affine_of((1, 0, 2), (-1, 1, -1))
    values = np.zeros(SIZE, np.int16)
    values[4:15, 3:11, 2:9] = 100
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "case.nii.gz")
    preprocessing = Compose(
        [
            LoadImaged("image", reader="NibabelReader", ensure_channel_first=True),
            *steps(spacing=1.0).transforms,
            ScaleIntensityRanged("image", 0, 100, -5, 5),
        ]
    )
    seen = preprocessing({"image": tmp_path / "case.nii.gz"})
    seen["pred"] = seen["image"]
    back = ToImageGridd("pred", activation="sigmoid", labels=RegionsToLabel([[7]], 0.5))(seen)
    SaveSegmentationd("pred", tmp_path / "out")(back)
    written = nibabel.load(tmp_path / "out" / "case_segmentation.nii.gz")
    assert np.allclose(written.affine, affine, atol=1e-4)
    # Resampled to 1 mm and back, a box moves by half a voxel of 2.1 mm at most.
    labels = np.asarray(written.dataobj)
    assert labels[5:14, 4:10, 3:8].min() == 7
    assert labels.sum() == pytest.approx(7 * (values > 0).sum(), rel=0.1)


def test_a_cropped_image_is_refused() -> None:
    preprocessing = steps(CropForegroundd("image", "image", select_fn=lambda x: x > 0.9))
    image = loaded(affine_of((1, 0, 2), (-1, 1, -1)))
    image *= 0.1
    image[:, 8:14, 5:10, 4:9] = 1
    seen = with_maps(preprocessing, image)
    with pytest.raises(DataError, match=r"case\.nii: .* do not cover .*: bring cropped images back"):
        ToImageGridd("pred")(seen)


def test_an_image_without_its_files_grid_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"image does not tell its file's grid: load it with"):
        ToImageGridd("pred")({"image": torch.rand(1, 4, 4), "pred": torch.rand(2, 4, 4)})


def test_a_label_without_its_grid_is_refused() -> None:
    seen = with_maps(steps(), loaded(np.eye(4)))
    with pytest.raises(ConfigError, match="label does not tell its grid: load it with LoadImaged"):
        ToImageGridd("pred", like_key="label")({**seen, "label": torch.zeros(1, *SIZE)})


def test_maps_of_another_size_are_refused() -> None:
    seen = with_maps(steps(), loaded(np.eye(4)))
    with pytest.raises(ConfigError, match=r"pred is \(4, 4, 4\) but image is \(14, 11, 9\)"):
        ToImageGridd("pred")({**seen, "pred": torch.rand(2, 4, 4, 4)})


@pytest.mark.parametrize("wrong", [{"activation": "tanh"}, {"mode": "bicubic"}, {"slab_mib": 0}])
def test_words_and_numbers_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="activation must be sigmoid, softmax or None, mode bilinear"):
        ToImageGridd("pred", **wrong)


def test_keys_that_a_case_lacks_may_be_skipped_and_worker_processes_get_a_copy() -> None:
    seen = with_maps(steps(), loaded(np.eye(4)))
    copy = pickle.loads(pickle.dumps(ToImageGridd(["pred", "other"], allow_missing_keys=True)))
    assert copy(seen).keys() == seen.keys()
    with pytest.raises(KeyError):
        ToImageGridd(["pred", "other"])(seen)
