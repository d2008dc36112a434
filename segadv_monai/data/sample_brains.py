"""Invented brains in the manner of FLAIR and contrast-enhanced T1 MRI: nothing in them comes from a patient.

A skull-stripped slab of folds and ventricles holds one tumour in one hemisphere: a core, a rim that is bright
in T1, and oedema that is bright in FLAIR. Streaks around the ventricles and vessels are bright, too, and lie
on both sides, so that grey alone does not tell.
"""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["BRAINS", "write_brain_case"]

Array = NDArray[np.float32]

BRAINS: dict[str, Any] = {
    "name": "brains",
    "description": "generated slabs in the manner of brain MRI with a tumour; not from patients",
    "modality": {"0": "FLAIR", "1": "T1c"},
    "labels": {
        "0": "background",
        "1": "necrosis",
        "2": "oedema",
        "3": "non-enhancing tumour",
        "4": "enhancing tumour",
    },
    "tensorImageSize": "4D",
    "reference": "segadv_monai.data.sample_data",
    "licence": "CC0",
}

_SHAPE = (96, 112, 16)
_SPACING_MM = (2.0, 2.0, 3.0)
_SEED = 7741
# Grey levels of FLAIR and T1c.
_GREYS = {
    "grey": (330, 310),
    "white": (270, 390),
    "ventricle": (90, 150),
    "streak": (440, 330),
    "vessel": (250, 640),
    "oedema": (500, 290),
    "non-enhancing": (450, 340),
    "enhancing": (430, 660),
    "necrosis": (300, 210),
}


def _brain_case(index: int) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Draw a slab and its tumour; the same index gives the same bytes.

    Axes run to the right, to the front and to the head (RAS).

    Args:
        index: number of the case.

    Shape:
        - slab: ``(96, 112, 16, 2)``.
        - labels: ``(96, 112, 16)``, values 0 to 4.
    """
    generator = np.random.default_rng([_SEED, index])
    axes = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in _SHAPE), indexing="ij")
    x, y, z = (a + 0.05 * _waves(generator, 4) for a in axes)
    tissue, brain = _tissue(generator, x, y, z)
    labels = _tumour(generator, (x, y, z)) * brain
    for label, name in enumerate(("necrosis", "oedema", "non-enhancing", "enhancing"), 1):
        tissue[labels == label] = list(_GREYS).index(name)
    greys = np.array(list(_GREYS.values()), np.float32) * generator.normal(1, 0.05, (len(_GREYS), 2))
    slab = greys[tissue].astype(np.float32) * (1 + 0.06 * _waves(generator, 3)[..., None])
    slab = ndimage.gaussian_filter(slab, (0.6, 0.6, 0.6, 0))
    slab += generator.uniform(12, 22) * generator.standard_normal(slab.shape, dtype=np.float32)
    slab = np.clip(slab * generator.uniform(0.8, 1.3), 1, None) * brain[..., None]
    return np.rint(slab).astype(np.int16), labels.astype(np.uint8)


def write_brain_case(index: int, image: Path, label: Path) -> None:
    """Draw a case into two compressed NIfTI files with the same affine.

    Args:
        index: number of the case.
        image: file of the slab, its two channels last.
        label: file of the labels.
    """
    affine = np.diag([*_SPACING_MM, 1.0])
    affine[:3, 3] = -np.array(_SHAPE) * _SPACING_MM / 2
    for array, path in zip(_brain_case(index), (image, label), strict=True):
        picture: Any = nibabel.Nifti1Image(array, affine)  # type: ignore[no-untyped-call]
        picture.header.set_xyzt_units("mm")
        picture.set_qform(affine, 1)
        picture.set_sform(affine, 1)
        nibabel.save(picture, path)


def _waves(generator: np.random.Generator, cells: int) -> Array:
    """Smooth noise of mean 0 and deviation 1 with about ``cells`` bumps along each axis."""
    coarse = generator.standard_normal((cells, cells, cells), dtype=np.float32)
    fine = ndimage.zoom(coarse, [n / cells for n in _SHAPE], order=1, mode="nearest", grid_mode=True)
    return np.asarray((fine - fine.mean()) / fine.std(), np.float32)


def _tissue(
    generator: np.random.Generator, x: Array, y: Array, z: Array
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Number of the tissue of each voxel, and where there is brain."""
    names = list(_GREYS)
    reach = np.sqrt((x / 0.88) ** 2 + (y / 0.92) ** 2 + (z / 2.2) ** 2)
    brain = (reach < 1) & (np.abs(x) > 0.02 * (np.abs(y) > 0.35))
    folds = 0.05 * np.sin(26 * np.arctan2(y, x) + 3 * _waves(generator, 5)) + 0.03 * _waves(generator, 12)
    tissue = np.full(_SHAPE, names.index("grey"))
    tissue[reach < 0.84 + folds] = names.index("white")
    size = generator.uniform(0.8, 1.2)
    ventricle = np.hypot((np.abs(x) - 0.13) / 0.09, (y - 0.05) / 0.36) / size + 0.2 * np.abs(z)
    streaks = (ventricle < 1.5) & (_waves(generator, 14) > 0.9)
    tissue[streaks] = names.index("streak")
    tissue[ventricle < 1] = names.index("ventricle")
    vessels = (np.abs(_waves(generator, 7)) < 0.05) & (reach > 0.75)
    tissue[vessels] = names.index("vessel")
    return tissue, brain


def _tumour(generator: np.random.Generator, space: tuple[Array, Array, Array]) -> NDArray[np.intp]:
    """Labels of a tumour on one side of the head: oedema around a body, a rim in that, a core in the rim."""
    side = generator.choice([-1, 1])
    centre = np.array([side * generator.uniform(0.36, 0.5), generator.uniform(-0.45, 0.45), 0])
    centre[2] = generator.uniform(-0.5, 0.5)
    radius = generator.uniform(0.13, 0.22)
    scale = radius * generator.normal(1, 0.1, 3) * np.array([1, 0.9, 3.5])
    squares = (((a - c) / s) ** 2 for a, c, s in zip(space, centre, scale, strict=True))
    distance = np.sqrt(sum(squares)) + 0.12 * _waves(generator, 9)
    oedema = distance - 0.35 * np.clip(_waves(generator, 4), 0, 2) < generator.uniform(1.3, 1.7)
    labels = np.where(oedema & (side * space[0] > 0.04), 2, 0)
    for label, size in ((3, 1.0), (4, 0.8), (1, 0.5)):
        labels[distance < size] = label
    return labels
