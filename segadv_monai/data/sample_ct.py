"""Invented CT volumes of a small upper abdomen: nothing in them comes from a patient.

Organs are ellipsoids bent by a smooth random field, in Hounsfield units, blurred over the voxels' borders.
Stomach, aorta and muscle look like the labelled organs, so that place and shape matter besides grey.
"""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["CT_VOLUMES", "write_ct_case"]

Array = NDArray[np.float32]

CT_VOLUMES: dict[str, Any] = {
    "name": "ct_volumes",
    "description": "generated volumes in the manner of abdominal CT, Hounsfield units; not from patients",
    "modality": {"0": "CT"},
    "labels": {"0": "background", "1": "liver", "2": "kidneys", "3": "spleen"},
    "tensorImageSize": "3D",
    "reference": "segadv_monai.data.sample_data",
    "licence": "CC0",
}

_SHAPE = (64, 64, 48)
_SPACING_MM = (1.5, 1.5, 2.0)
_SEED = 9203
_AIR_HU, _FAT_HU, _LUNG_HU, _BONE_HU = -1000, -95, -820, 420
# Mean of the grey level and its deviation between cases; the later organ covers the earlier.
_GREY_HU = {
    "stomach": (45, 15),
    "liver": (105, 10),
    "spleen": (128, 10),
    "kidneys": (175, 18),
    "aorta": (165, 20),
}
_LABELS = {"liver": 1, "kidneys": 2, "spleen": 3}


def _ct_case(index: int) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Draw a volume and the labels of its organs; the same index gives the same bytes.

    Axes run to the right, to the front and to the head (RAS).

    Args:
        index: number of the case.

    Shape:
        - volume: ``(64, 64, 48)`` in HU.
        - labels: ``(64, 64, 48)``, values 0 to 3.
    """
    generator = np.random.default_rng([_SEED, index])
    space = _bent_space(generator)
    volume, cavity = _body(generator, space)
    labels = np.zeros(_SHAPE, np.uint8)
    uneven = 6 * _waves(generator, 6)
    for name, organ in _organs(generator, space).items():
        inside = organ & cavity
        mean, deviation = _GREY_HU[name]
        volume[inside] = generator.normal(mean, deviation) + uneven[inside]
        labels[inside] = _LABELS.get(name, 0)
    _bowel(generator, volume, cavity & (labels == 0) & (space[1] > -0.2) & (space[2] < 0.1))
    volume = ndimage.gaussian_filter(volume, 0.6)
    noise = ndimage.gaussian_filter(generator.standard_normal(_SHAPE, dtype=np.float32), 0.5)
    volume += generator.uniform(14, 24) / noise.std() * noise
    return np.clip(np.rint(volume), -1024, 3071).astype(np.int16), labels


def write_ct_case(index: int, image: Path, label: Path) -> None:
    """Draw a case into two compressed NIfTI files with the same affine.

    Args:
        index: number of the case.
        image: file of the volume.
        label: file of the labels.
    """
    affine = np.diag([*_SPACING_MM, 1.0])
    shift = np.random.default_rng([_SEED, index, 1]).uniform(-20, 20, 3)
    affine[:3, 3] = shift - np.array(_SHAPE) * _SPACING_MM / 2
    for array, path in zip(_ct_case(index), (image, label), strict=True):
        picture: Any = nibabel.Nifti1Image(array, affine)  # type: ignore[no-untyped-call]
        picture.header.set_xyzt_units("mm")
        picture.set_qform(affine, 1)
        picture.set_sform(affine, 1)
        nibabel.save(picture, path)


def _waves(generator: np.random.Generator, cells: int) -> Array:
    """Smooth noise of mean 0 and deviation 1 with about ``cells`` bumps along each axis."""
    coarse = generator.standard_normal((cells, cells, cells), dtype=np.float32)
    steps = [size / cells for size in _SHAPE]
    fine = ndimage.zoom(coarse, steps, order=1, mode="nearest", grid_mode=True)
    fine = ndimage.gaussian_filter(fine, [step / 3 for step in steps])
    return np.asarray((fine - fine.mean()) / fine.std(), np.float32)


def _bent_space(generator: np.random.Generator) -> tuple[Array, Array, Array]:
    """Coordinates to the right, front and head from -1 to 1, bent, scaled and shifted as bodies differ."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in _SHAPE), indexing="ij")
    scale = generator.normal(1, 0.04, 3)
    shift = generator.normal(0, 0.03, 3)
    x, y, z = (a * s + d + 0.03 * _waves(generator, 5) for a, s, d in zip(axes, scale, shift, strict=True))
    return x, y, z


def _ellipsoid(
    generator: np.random.Generator, space: tuple[Array, Array, Array], centre: Any, radii: Any
) -> NDArray[np.bool_]:
    """An ellipsoid whose place and size differ a little from case to case."""
    centre = np.asarray(centre) + generator.normal(0, 0.025, 3)
    radii = np.asarray(radii) * generator.normal(1, 0.07, 3)
    squares = (((a - c) / r) ** 2 for a, c, r in zip(space, centre, radii, strict=True))
    return np.asarray(sum(squares) < 1)


def _body(
    generator: np.random.Generator, space: tuple[Array, Array, Array]
) -> tuple[Array, NDArray[np.bool_]]:
    """The volume without organs, and where organs may lie."""
    x, y, z = space
    reach = np.hypot(x / 0.92, y / 0.74)
    wall = generator.uniform(0.86, 0.92)
    volume = np.full(_SHAPE, _AIR_HU, np.float32)
    volume[reach < 1] = _FAT_HU
    volume[reach < wall] = 55
    inner = reach < wall - 0.09
    volume[inner] = _FAT_HU + 60
    heart = _ellipsoid(generator, space, (-0.12, 0.15, 1.0), (0.4, 0.36, 0.42))
    dome = 0.72 - 0.9 * (np.abs(x) - 0.35) ** 2 - 0.5 * (y - 0.05) ** 2
    lung = inner & (z > dome)
    volume[lung] = np.where(heart, 130, _LUNG_HU)[lung]
    angle = np.arctan2(y, x)
    ribs = (np.abs(reach - wall + 0.05) < 0.03) & (np.cos(9 * (z + 0.25 * np.abs(angle))) > 0.55)
    volume[ribs] = _BONE_HU
    spine = np.hypot(x / 0.17, (y + 0.47) / 0.16)
    discs = np.where(np.cos(7 * z) > -0.75, _BONE_HU - 120, 90)
    volume[spine < 1] = np.where(spine < 0.8, discs, discs + 120)[spine < 1]
    volume[np.hypot(x, y + 0.62) < 0.055] = 30
    muscles = np.hypot((np.abs(x) - 0.24) / 0.13, (y + 0.44) / 0.14) < 1
    volume[muscles & (spine >= 1)] = 58
    return volume, inner & ~lung & (spine >= 1) & ~muscles


def _organs(
    generator: np.random.Generator, space: tuple[Array, Array, Array]
) -> dict[str, NDArray[np.bool_]]:
    """Where each organ lies, in the order of drawing."""

    def ellipsoid(centre: tuple[float, ...], radii: tuple[float, ...]) -> NDArray[np.bool_]:
        return _ellipsoid(generator, space, centre, radii)

    right_lobe = ellipsoid((0.42, 0.05, 0.12), (0.36, 0.46, 0.58))
    left_lobe = ellipsoid((0.05, 0.32, 0.28), (0.38, 0.24, 0.28))
    kidneys = ellipsoid((0.45, -0.32, -0.45), (0.18, 0.17, 0.38))
    kidneys |= ellipsoid((-0.45, -0.32, -0.36), (0.18, 0.17, 0.38))
    kidneys &= ~ellipsoid((0.30, -0.26, -0.45), (0.07, 0.07, 0.12))
    kidneys &= ~ellipsoid((-0.30, -0.26, -0.36), (0.07, 0.07, 0.12))
    return {
        "stomach": ellipsoid((-0.36, 0.24, 0.22), (0.26, 0.26, 0.34)),
        "liver": right_lobe | left_lobe,
        "spleen": ellipsoid((-0.62, -0.14, 0.24), (0.16, 0.27, 0.34)),
        "kidneys": kidneys,
        "aorta": ellipsoid((-0.06, -0.22, 0.0), (0.08, 0.08, 4.0)),
    }


def _bowel(generator: np.random.Generator, volume: Array, where: NDArray[np.bool_]) -> None:
    """Loops of soft tissue with bubbles of gas."""
    loops = _waves(generator, 9)
    volume[where & (loops > 0.1)] = 35
    volume[where & (loops > 1.4)] = -700
