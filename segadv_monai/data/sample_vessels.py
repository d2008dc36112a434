"""Invented photographs of a retina with its vessels: nothing in them comes from a patient.

Two trees of vessels grow from a bright disc and fork; the thin ones are faint. The choroid's stripes, spots
and uneven light are darker or brighter than thin vessels, so that grey alone does not tell them.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

__all__ = ["VESSELS", "write_vessel_case"]

Array = NDArray[np.float32]

VESSELS: dict[str, Any] = {
    "name": "vessels",
    "description": "generated pictures in the manner of fundus photographs; not from patients",
    "modality": {"0": "red", "1": "green", "2": "blue"},
    "labels": {"0": "background", "1": "vessel"},
    "tensorImageSize": "2D RGB",
    "reference": "segadv_monai.data.sample_data",
    "licence": "CC0",
}

_SIZE = 160
_SEED = 5087
# Vessels are drawn on a sheet that is finer than the picture by this factor.
_FINE = 4
_RETINA = np.array([196, 112, 58], np.float32)
# What the retina's red, green and blue are multiplied by where a vessel is.
_BLOOD = np.array([0.72, 0.46, 0.58], np.float32)


class _Branch(NamedTuple):
    place: NDArray[np.float64]
    heading: float
    bend: float
    width: float


def _vessel_case(index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw a picture and the mask of its vessels; the same index gives the same bytes.

    Args:
        index: number of the case.

    Shape:
        - picture: ``(rows, columns, 3)``.
        - mask: ``(rows, columns)``, values 0 and 1.
    """
    generator = np.random.default_rng([_SEED, index])
    rows, columns = np.mgrid[-1 : 1 : _SIZE * 1j, -1 : 1 : _SIZE * 1j].astype(np.float32)
    field = np.hypot(rows, columns) < 0.96
    disc = np.array([generator.normal(0, 0.1), generator.choice([-1, 1]) * generator.uniform(0.45, 0.6)])
    cover, depth = _vessels(generator, disc)
    picture = _RETINA * generator.normal(1, 0.06, 3) * (1 + 0.08 * _waves(generator, 5)[..., None])
    picture *= 1 - 0.10 * np.clip(_waves(generator, 22), 0, 2)[..., None] * np.array([0.3, 1, 1])
    glow = np.exp(-((np.hypot(rows - disc[0], columns - disc[1]) / 0.15) ** 4))[..., None]
    picture += glow * (np.array([244, 206, 140]) - picture) * 0.85
    macula = np.exp(-(np.hypot(rows, columns + np.sign(disc[1]) * 0.2) ** 2) / 0.03)[..., None]
    picture *= 1 - 0.3 * macula
    picture *= 1 - (depth * cover)[..., None] * (1 - _BLOOD)
    picture *= (1 - 0.3 * (rows**2 + columns**2) + 0.1 * rows * generator.normal())[..., None]
    picture = ndimage.gaussian_filter(picture, (0.6, 0.6, 0)) * field[..., None]
    picture += generator.normal(0, generator.uniform(2, 5), picture.shape) * field[..., None]
    picture += generator.uniform(0, 4, picture.shape)
    mask = ((cover > 0.4) & field).astype(np.uint8)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8), mask


def write_vessel_case(index: int, image: Path, label: Path) -> None:
    """Draw a case into two PNG files.

    Args:
        index: number of the case.
        image: file of the picture.
        label: file of the mask.
    """
    picture, mask = _vessel_case(index)
    Image.fromarray(picture).save(image, compress_level=3)
    Image.fromarray(mask).save(label)


def _waves(generator: np.random.Generator, cells: int) -> Array:
    """Smooth noise of mean 0 and deviation 1 with about ``cells`` bumps across the picture."""
    coarse = generator.standard_normal((cells + 2, cells + 2), dtype=np.float32)
    fine = ndimage.zoom(coarse, _SIZE / (cells + 2), order=2, mode="nearest", grid_mode=True)
    return np.asarray((fine - fine.mean()) / fine.std(), np.float32)


def _vessels(generator: np.random.Generator, disc: NDArray[np.float64]) -> tuple[Array, Array]:
    """Share of each pixel that vessels cover, and how dark they are there."""
    sheets = [Image.new("L", (_FINE * _SIZE, _FINE * _SIZE)) for _ in range(2)]
    pens = [ImageDraw.Draw(sheet) for sheet in sheets]
    towards = 0.0 if disc[1] < 0 else np.pi
    # Four arcades leave the disc, an artery and a vein upwards and downwards, and two go to the other side.
    for angle, width in ((0.9, 5.0), (1.15, 4.0), (-0.9, 5.0), (-1.15, 4.0), (2.3, 3.0), (-2.3, 3.0)):
        heading = towards + angle + generator.normal(0, 0.15)
        bend = -0.028 * np.sign(angle) * (1 if abs(angle) < 2 else 0.3)
        branches = [_Branch(disc.copy(), heading, bend, width * generator.normal(1, 0.1))]
        while branches:
            branches += _grow(generator, pens, branches.pop())
    small = [sheet.resize((_SIZE, _SIZE), Image.Resampling.BOX) for sheet in sheets]
    cover, dark = (np.asarray(sheet, np.float32) / 255 for sheet in small)
    depth = np.divide(dark, cover, out=np.zeros_like(dark), where=cover > 0)
    return np.asarray(cover, np.float32), depth


def _grow(generator: np.random.Generator, pens: list[ImageDraw.ImageDraw], branch: _Branch) -> list[_Branch]:
    """Draw one branch up to where it ends; what forks off it is returned."""
    place, heading, bend, width = branch
    forks = []
    for _ in range(int(generator.integers(14, 34) * min(1.0, width / 2.5) + 6)):
        heading += bend * 1.6 + generator.normal(0, 0.07)
        ahead = place + 0.032 * np.array([np.sin(heading), np.cos(heading)])
        ends = [float((x + 1) / 2 * _FINE * _SIZE) for x in (*place[::-1], *ahead[::-1])]
        size = max(1, round(width * _FINE * 0.62))
        for pen, shade in zip(pens, (255, int(255 * min(1.0, 0.45 + 0.13 * width))), strict=True):
            pen.line(ends, fill=shade, width=size)
        place, width = ahead, width * 0.985
        if width > 1.1 and generator.random() < 0.11:
            side = generator.choice([-1, 1]) * generator.uniform(0.4, 1.0)
            forks.append(_Branch(place, heading + side, generator.normal(0, 0.02), width * 0.62))
    return forks
