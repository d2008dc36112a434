"""N4: it finds a known field, in mm, and leaves everything else of an image alone."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
import torch
from monai.data import CacheDataset, MetaTensor
from monai.transforms import Compose, Flipd, Invertd, LoadImage
from torch import Tensor

from segadv_monai.data import FrozenCacheDataset, N4BiasFieldCorrection, N4BiasFieldCorrectiond, datalist
from segadv_monai.protocols import ConfigError, DataError

FAST: dict[str, Any] = {"shrink": 4, "iterations": (20, 20)}


def places(*size: int) -> list[Tensor]:
    """From -1 to 1 along each axis."""
    return list(torch.meshgrid(*[torch.linspace(-1, 1, n) for n in size], indexing="ij"))


def bias(*size: int) -> Tensor:
    """Smooth, greater than 0, brighter on one side than on the other by two thirds."""
    x, y = places(*size)[:2]
    return torch.exp(0.25 * x + 0.1 * y * y)


def head(*size: int, seed: int = 0) -> Tensor:
    """Two tissues with noise in a ball of nearly the whole size, and air around it."""
    radius = sum(axis**2 for axis in places(*size)) ** 0.5
    tissue = torch.where(radius < 0.6, 100.0, 160.0) * (radius < 0.95)
    noise = torch.randn(size, generator=torch.Generator().manual_seed(seed))
    return (tissue + 0.02 * tissue * noise)[None]


def spread(image: Tensor, inside: Tensor) -> float:
    """Deviation over mean."""
    values = image[inside]
    return float(values.std() / values.mean())


@pytest.mark.parametrize("size", [(96, 90), (40, 36, 44)])
def test_a_known_field_is_taken_out_of_both_tissues(size: tuple[int, ...]) -> None:
    true, field = head(*size), bias(*size)
    corrected = N4BiasFieldCorrection(**FAST)(MetaTensor(true * field, affine=4 * torch.eye(len(size) + 1)))
    for level in (100.0, 160.0):
        inside = (true - level).abs() < 0.1 * level
        before, after, noise = (spread(x, inside) for x in (true * field, corrected, true))
        assert before > 3 * noise
        assert after < noise + 0.1 * (before - noise)
    left = torch.log(corrected / true)[true > 50]
    assert left.std() < 0.15 * torch.log(field.expand_as(true))[true > 50].std()


def test_the_field_of_a_real_head_is_taken_out(shared_data: Path) -> None:
    case = datalist(shared_data / "subcortical", "validation")[0]
    image = LoadImage(reader="NibabelReader", ensure_channel_first=True)(case["image"])
    x, y, z = places(*image.shape[1:])
    field = torch.exp(0.3 * (0.8 * x + 0.5 * y * y - 0.6 * z + 0.4 * x * y))
    n4 = N4BiasFieldCorrection(shrink=6)
    found = image * field / n4(image * field)
    inside = image[0] > image[image > 0].quantile(0.2)
    truth, said = (np.log(np.asarray(part)) for part in (field[inside], found[0][inside]))
    assert np.corrcoef(truth, said)[0, 1] > 0.97
    assert (truth - said).std() < 0.25 * truth.std()
    assert found.affine.equal(image.affine)


def test_lengths_are_in_mm() -> None:
    """The same voxels at other distances: only where nodes lie nearer than waves do they follow them."""
    true = head(48, 48)
    wavy = true * torch.exp(0.2 * torch.sin(9 * places(48, 48)[0]))
    inside = (true - 160).abs() < 16
    n4 = N4BiasFieldCorrection(distance_mm=100, shrink=2, iterations=(50, 50))
    coarse, fine = (
        spread(n4(MetaTensor(wavy, affine=torch.diag(torch.tensor([mm, mm, 1.0])))), inside)
        for mm in (1.0, 20.0)
    )
    assert fine < 0.6 * coarse
    assert spread(n4(wavy), inside) == pytest.approx(coarse)


def test_a_mask_decides_where_the_field_comes_from() -> None:
    affine, mask = torch.diag(torch.tensor([4.0, 4, 1])), torch.zeros(1, 64, 64)
    mask[..., :40] = 1
    image = MetaTensor(head(64, 64) * bias(64, 64) + 1, affine=affine)
    other = torch.where(mask > 0, image, 7 * image.flip(1))
    n4 = N4BiasFieldCorrectiond("image", mask_key="brain", **FAST)
    fields = [x / n4({"image": x, "brain": mask})["image"] for x in (image, other)]
    torch.testing.assert_close(*fields)
    without = [x / N4BiasFieldCorrection(**FAST)(x) for x in (image, other)]
    assert (without[0] / without[1] - 1).abs().max() > 0.1


def test_channels_are_corrected_apart_and_may_have_masks_of_their_own() -> None:
    true = head(48, 48)
    both = torch.cat([true * bias(48, 48), true * bias(48, 48).flip(0)])
    together = N4BiasFieldCorrection(**FAST)(both)
    for i in range(2):
        assert torch.equal(together[i : i + 1], N4BiasFieldCorrection(**FAST)(both[i : i + 1]))
    masks = torch.stack([true[0] > 50, true[0] > 130]).float()
    found = N4BiasFieldCorrection(**FAST)(both, masks)
    assert torch.equal(found[1:], N4BiasFieldCorrection(**FAST)(both[1:], masks[1:]))
    assert torch.equal(
        N4BiasFieldCorrection(**FAST)(both, masks[:1])[1:], N4BiasFieldCorrection(**FAST)(both[1:], masks[:1])
    )


def test_the_result_is_the_same_bits_whatever_the_number_of_threads() -> None:
    image = head(40, 36, 44) * bias(40, 36, 44)
    n4 = N4BiasFieldCorrection(**FAST)
    before = SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()
    expected, results = n4(image), []
    try:
        SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(5)
        workers = [threading.Thread(target=lambda: results.append(n4(image))) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads() == 5
    finally:
        SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
    assert len(results) == 3
    assert all(torch.equal(expected, result) for result in results)


def test_it_is_cached_and_what_came_before_can_be_inverted() -> None:
    image = MetaTensor(head(32, 32) * bias(32, 32), meta={"filename_or_obj": "a.nii.gz"})
    before = image.clone()
    steps = Compose([Flipd("image", 0), N4BiasFieldCorrectiond("image", **FAST)])
    cached = CacheDataset([{"image": image}], steps, progress=False)
    result = cached[0]["image"]
    assert torch.equal(result, cached[0]["image"])
    assert torch.equal(image, before)
    assert result.meta["filename_or_obj"] == "a.nii.gz"
    assert result.dtype is torch.float32
    undone = Invertd("image", steps, "image", nearest_interp=False)({"image": result})["image"]
    assert torch.equal(undone, result.flip(1))
    frozen = FrozenCacheDataset([{"image": image}], steps, progress=False)
    assert torch.equal(frozen[0]["image"], result)


def test_thin_and_small_images_keep_voxels_to_estimate_from() -> None:
    for size in ((40, 40, 6), (9, 10, 11)):
        image = MetaTensor(head(*size) * bias(*size) + 1, affine=torch.diag(torch.tensor([1.0, 1, 8, 1])))
        result = N4BiasFieldCorrection(iterations=(5, 5))(image)
        assert result.isfinite().all()
        assert result.shape == image.shape


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"distance_mm": 0}, "must be greater than 0, got 0, 4"),
        ({"shrink": 1.5}, "got 200.0, 1.5"),
        ({"iterations": ()}, r"and \[\]"),
        ({"iterations": (50, 0)}, r"and \[50, 0\]"),
    ],
)
def test_settings_that_cannot_be_used_are_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        N4BiasFieldCorrection(**settings)


def test_images_that_cannot_be_corrected_are_named() -> None:
    def named(values: Tensor) -> MetaTensor:
        return MetaTensor(values, meta={"filename_or_obj": "a.nii.gz"})

    n4, fine = N4BiasFieldCorrection(), torch.ones(1, 8, 8)
    for image, mask, message in (
        (-fine, fine, r"a\.nii\.gz: channel 0 has nothing greater than 0 inside its mask"),
        (fine, 0 * fine, "channel 0 has nothing greater than 0"),
        (fine, None, "channel 0 has nothing greater than 0"),
        (fine * torch.nan, None, r"a\.nii\.gz has no value, or one that is not finite"),
        (fine[0], None, r"two or three axes, got \(8, 8\)"),
        (fine, fine[:, :4], r"mask of an image of \(1, 8, 8\) must be of that size, got \(1, 4, 8\)"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            n4(named(image), mask)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"a\.nii\.gz: the case has no brain"):
        N4BiasFieldCorrectiond("image", mask_key="brain")({"image": named(fine)})
