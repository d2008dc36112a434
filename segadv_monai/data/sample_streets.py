"""Invented street scenes: eleven classes and a twelfth label for what is not to be learnt or measured.

The labels are those of CamVid's usual eleven classes. Colours of different classes overlap and the light
differs from picture to picture, so that place and shape matter besides colour.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

__all__ = ["STREETS", "write_street_case"]

# In the order of their label values.
_COLOURS = {
    "sky": (168, 190, 214),
    "building": (140, 118, 104),
    "pole": (92, 92, 96),
    "road": (104, 102, 104),
    "pavement": (146, 138, 132),
    "tree": (74, 96, 58),
    "sign": (176, 96, 70),
    "fence": (116, 96, 76),
    "car": (120, 60, 62),
    "pedestrian": (84, 70, 92),
    "bicyclist": (96, 104, 62),
    "unlabelled": (70, 66, 66),
}
_LABELS = {name: value for value, name in enumerate(_COLOURS)}

STREETS: dict[str, Any] = {
    "name": "streets",
    "description": "generated street scenes of eleven classes; 11 is ignored",
    "modality": {"0": "red", "1": "green", "2": "blue"},
    "labels": {str(value): name for name, value in _LABELS.items()},
    "ignore_label": _LABELS["unlabelled"],
    "tensorImageSize": "2D RGB",
    "reference": "segadv_monai.data.sample_data",
    "licence": "CC0",
}

_WIDTH, _HEIGHT = 120, 90
_SEED = 5518
# Deviation of the grain of each class; sky and road are smooth, trees are not.
_GRAIN = {"sky": 2.0, "road": 4.0, "tree": 22.0, "building": 10.0, "fence": 14.0}


def write_street_case(index: int, image: Path, label: Path) -> None:
    """Draw a case into two PNG files.

    Args:
        index: number of the case.
        image: file of the picture.
        label: file of the label map, values 0 to 11.
    """
    generator = np.random.default_rng([_SEED, index])
    scene = _Scene(generator)
    horizon = int(generator.integers(32, 44))
    _draw_ground(scene, horizon)
    _draw_sides(scene, horizon)
    for _ in range(generator.integers(2, 5)):
        _draw_somebody(scene, horizon)
    # The bonnet of the car that carries the camera, and something that nobody has named.
    scene.draw("unlabelled", "ellipse", (10, 84, 110, 100))
    x, y = generator.integers(5, 110), generator.integers(horizon, 70)
    scene.draw("unlabelled", "rectangle", (x, y, x + 6, y + 5))
    Image.fromarray(scene.picture()).save(image, compress_level=3)
    scene.labels.save(label)


class _Scene:
    """A picture and its label map, drawn with the same strokes."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator
        self.colours = Image.new("RGB", (_WIDTH, _HEIGHT), _COLOURS["sky"])
        self.labels = Image.new("L", (_WIDTH, _HEIGHT), _LABELS["sky"])

    def draw(self, name: str, shape: str, place: Sequence[Any], **line: int) -> None:
        shift = self.generator.normal(0, 18, 3) + self.generator.normal(0, 14)
        colour = tuple(int(x) for x in np.clip(np.array(_COLOURS[name]) + shift, 0, 255))
        place = [tuple(map(int, x)) if isinstance(x, tuple) else int(x) for x in place]
        for canvas, fill in ((self.colours, colour), (self.labels, _LABELS[name])):
            getattr(ImageDraw.Draw(canvas), shape)(place, fill=fill, **line)

    def picture(self) -> NDArray[np.uint8]:
        labels = np.asarray(self.labels)
        spread = np.array([_GRAIN.get(name, 6.0) for name in _LABELS])[labels]
        grain = self.generator.normal(0, 1, (*labels.shape, 1)) * spread[..., None]
        light = self.generator.uniform(0.65, 1.15) * self.generator.normal(1, 0.06, 3)
        pixels = ndimage.gaussian_filter(np.asarray(self.colours, np.float32), (0.6, 0.6, 0))
        noisy = (pixels + grain) * light + self.generator.normal(0, 3, pixels.shape)
        whole: NDArray[np.uint8] = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
        return whole


def _draw_ground(scene: _Scene, horizon: int) -> None:
    vanishing = int(scene.generator.integers(45, 75))
    scene.draw("pavement", "rectangle", (0, horizon, _WIDTH, _HEIGHT))
    left, right = scene.generator.integers(-30, 15), scene.generator.integers(105, 150)
    corners = [(vanishing - 6, horizon), (vanishing + 6, horizon), (right, _HEIGHT), (left, _HEIGHT)]
    scene.draw("road", "polygon", corners)


def _draw_sides(scene: _Scene, horizon: int) -> None:
    """What stands left and right: houses behind, then trees and fences, then poles with signs."""
    draw, whole = scene.draw, scene.generator.integers
    for x in (0, 14, 28, 78, 92, 106):
        if whole(6):
            draw(
                "building", "rectangle", (x, whole(2, horizon - 8), x + whole(12, 17), horizon + whole(1, 4))
            )
    for x in (4, 24, 84, 104):
        kind = whole(3)
        if kind == 0:
            y = horizon - whole(6, 14)
            draw("tree", "ellipse", (x - 9, y - 12, x + 9, y + 10))
            draw("tree", "rectangle", (x - 1, y, x + 1, horizon + 6))
        elif kind == 1:
            draw("fence", "rectangle", (x - 12, horizon - 4, x + 12, horizon + 5))
    for x in (int(whole(6, 32)), int(whole(86, 114))):
        foot, top = horizon + whole(4, 12), whole(4, 16)
        draw("pole", "line", [(x, top), (x, foot)], width=2)
        if whole(2):
            draw("sign", "rectangle", (x - 4, top + 1, x + 4, top + 8))


def _draw_somebody(scene: _Scene, horizon: int) -> None:
    """A car on the road or a person at its side, larger the nearer they are."""
    draw, whole = scene.draw, scene.generator.integers
    foot = int(whole(horizon + 6, 80))
    size = 5 + (foot - horizon) // 2
    x = int(whole(size, _WIDTH - size))
    kind = int(whole(3))
    if kind == 0:
        draw("car", "rectangle", (x - size, foot - size, x + size, foot))
        draw("car", "rectangle", (x - size // 2, foot - 1.5 * size, x + size // 2, foot - size))
        return
    if kind == 1:
        draw("pedestrian", "rectangle", (x - size // 3, foot - 1.5 * size, x + size // 3, foot - 0.7 * size))
        for leg in (x - size // 4, x + size // 4):
            draw("pedestrian", "line", [(leg, foot - 0.7 * size), (leg, foot)], width=1 + size // 8)
        draw("pedestrian", "ellipse", (x - size // 6, foot - 1.9 * size, x + size // 6, foot - 1.5 * size))
        return
    for wheel in (x - 0.7 * size, x + 0.7 * size):
        draw("bicyclist", "ellipse", (wheel - 0.4 * size, foot - 0.8 * size, wheel + 0.4 * size, foot))
    shape = ((-0.7, 0.4), (0.7, 0.4), (0.5, 1.5), (0, 1.6))
    corners = [(x + across * size, foot - up * size) for across, up in shape]
    draw("bicyclist", "polygon", corners)
    draw("bicyclist", "ellipse", (x + 0.2 * size, foot - 2 * size, x + 0.6 * size, foot - 1.5 * size))
