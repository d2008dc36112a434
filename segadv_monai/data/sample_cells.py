"""Invented micrographs: cells behind dark membranes, and cells that touch, each with a number of its own.

The first are in the manner of electron microscopy: bodies inside the cells are as dark as membranes, which
are faint in places. The second are in the manner of differential interference contrast: light falls from one
side, a cell is as bright as what is around it, and its texture tells it.
"""

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.spatial import cKDTree

__all__ = ["CELLS", "MEMBRANES", "write_cell_case", "write_membrane_case"]

_Array: TypeAlias = NDArray[np.float64]

_COMMON: dict[str, Any] = {
    "tensorImageSize": "2D",
    "reference": "segadv_monai.data.sample_data",
    "licence": "CC0",
}

MEMBRANES: dict[str, Any] = {
    "name": "membranes",
    "description": "generated sections in the manner of electron micrographs of nerve tissue",
    "modality": {"0": "electron microscopy"},
    "labels": {"0": "membrane", "1": "cell"},
    **_COMMON,
}

CELLS: dict[str, Any] = {
    "name": "cells",
    "description": "generated cells that touch; labels are instance numbers of 16 bits, 0 is background",
    "modality": {"0": "DIC microscopy"},
    "labels": {"0": "background", ">0": "cell instance"},
    **_COMMON,
}

_SIZE = 128
_SEEDS = {"membranes": 2012, "cells": 2014}


def write_membrane_case(index: int, image: Path, label: Path) -> None:
    """Draw a section into two PNG files.

    Args:
        index: number of the case.
        image: file of the picture.
        label: file of the label map, 0 on membranes and 1 in cells.
    """
    generator = np.random.default_rng([_SEEDS["membranes"], index])
    nearest, depth = _tessellation(generator, cells=34)
    width = 1.5 * np.exp(0.2 * _waves(generator, 6))
    label_map = (depth > width).astype(np.uint8)
    shades = generator.normal(172, 14, nearest.max() + 1)
    picture = shades[nearest] + 9 * _waves(generator, 40)
    picture -= 85 * _bodies(generator, depth > 6)
    # A membrane that is cut at an angle is faint.
    contrast = np.clip(105 + 32 * _waves(generator, 7), 25, 150)
    picture -= contrast * np.exp(-((depth / width) ** 2))
    picture = ndimage.gaussian_filter(picture, 0.7) + generator.normal(0, 14, picture.shape)
    _write(picture, image)
    Image.fromarray(label_map).save(label)


def write_cell_case(index: int, image: Path, label: Path) -> None:
    """Draw cells that touch into two PNG files.

    Args:
        index: number of the case.
        image: file of the picture.
        label: file of the instance numbers, 16 bits; they are neither in order nor without gaps.
    """
    generator = np.random.default_rng([_SEEDS["cells"], index])
    numbers = generator.choice(np.arange(1, 1000), 40, replace=False)
    labels = np.zeros((_SIZE, _SIZE), np.uint16)
    height = np.zeros(labels.shape)
    for group in range(4):
        corner = np.array([group // 2, group % 2]) * _SIZE / 2
        centre = corner + generator.uniform(18, _SIZE / 2 - 18, 2)
        heading = generator.uniform(0, 2 * np.pi)
        for step in range(int(generator.integers(1, 4))):
            place = centre + step * 19 * np.array([np.sin(heading), np.cos(heading)])
            _draw_cell(generator, place, number=int(numbers[3 * group + step]), labels=labels, height=height)
    texture = _waves(generator, 42) * np.where(labels > 0, 1.0, 0.25)
    relief = ndimage.gaussian_filter(height + 0.9 * texture, 0.8)
    slope = np.gradient(relief, axis=0) + np.gradient(relief, axis=1)
    light = 128 + 6 * _waves(generator, 2) + generator.normal(0, 3.5, relief.shape)
    _write(light + 26 * slope, image)
    Image.fromarray(labels).save(label)


def _draw_cell(
    generator: np.random.Generator, place: _Array, *, number: int, labels: NDArray[np.uint16], height: _Array
) -> None:
    """Where nobody is yet, so that neighbours touch along a line."""
    rows, columns = np.indices(labels.shape) - place[:, None, None]
    angle, ratio = generator.uniform(0, np.pi), generator.uniform(0.75, 1.3)
    along = (rows * np.sin(angle) + columns * np.cos(angle)) * ratio
    across = (rows * np.cos(angle) - columns * np.sin(angle)) / ratio
    radius = generator.uniform(11, 15) * (1 + 0.08 * _waves(generator, 5))
    level = 1 - (along**2 + across**2) / radius**2
    labels[(level > 0) & (labels == 0)] = number
    # Flat on the top: the middle of a cell shows its texture alone.
    np.maximum(height, 7 * np.sqrt(np.clip(level, 0, 0.5)), out=height)


def _tessellation(generator: np.random.Generator, *, cells: int) -> tuple[NDArray[np.intp], _Array]:
    """The nearest of randomly placed centres for each pixel, and how far away the border is."""
    places = np.moveaxis(np.indices((_SIZE, _SIZE)), 0, -1).astype(float)
    bent = places + 3 * np.stack([_waves(generator, 6), _waves(generator, 6)], axis=-1)
    centres = generator.uniform(-12, _SIZE + 12, (cells, 2))
    found = cKDTree(centres).query(bent, k=2)
    distances, nearest = np.asarray(found[0]), np.asarray(found[1])
    first, second = (centres[nearest[..., i]] for i in range(2))
    apart = np.linalg.norm(first - second, axis=-1)
    return nearest[..., 0], (distances[..., 1] ** 2 - distances[..., 0] ** 2) / (2 * apart)


def _bodies(generator: np.random.Generator, inside: NDArray[np.bool_]) -> _Array:
    """Striped dark spots inside cells, values 0 to 1."""
    places = np.argwhere(inside)
    dark = np.zeros(inside.shape)
    for _ in range(int(generator.integers(3, 7)) if len(places) else 0):
        rows, columns = np.indices(inside.shape) - places[generator.integers(len(places))][:, None, None]
        angle = generator.uniform(0, np.pi)
        along = rows * np.sin(angle) + columns * np.cos(angle)
        across = rows * np.cos(angle) - columns * np.sin(angle)
        spot = np.exp(-(((along / 6) ** 2 + (across / 4) ** 2) ** 2))
        dark = np.maximum(dark, spot * (0.75 + 0.25 * np.sin(1.8 * across)))
    return dark


def _waves(generator: np.random.Generator, bumps: int) -> _Array:
    """Smooth noise of mean 0 and deviation 1 with about so many bumps across the picture."""
    coarse = generator.standard_normal((bumps + 2, bumps + 2))
    fine = ndimage.zoom(coarse, _SIZE / (bumps + 2), order=2, mode="nearest", grid_mode=True)
    return np.asarray((fine - fine.mean()) / fine.std())


def _write(picture: _Array, path: Path) -> None:
    Image.fromarray(np.clip(np.rint(picture), 0, 255).astype(np.uint8)).save(path, compress_level=3)
