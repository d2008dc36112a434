"""Invented photographs of skin lesions, drawn pixel by pixel: nothing in them comes from a patient.

A lesion differs from the skin by colour, pigment pattern and compactness, not by grey level alone: skin
tones, exposure, pale and reddish lesions, dark corners, ink, stickers and hairs defeat a single threshold.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

__all__ = ["DERMOSCOPY", "write_dermoscopy_case"]

Array = NDArray[np.float32]

DERMOSCOPY: dict[str, Any] = {
    "name": "dermoscopy",
    "description": "generated pictures in the manner of dermoscopy, one lesion each; not from patients",
    "modality": {"0": "red", "1": "green", "2": "blue"},
    "labels": {"0": "skin", "1": "lesion"},
    "tensorImageSize": "2D RGB",
    "reference": "segadv_monai.data.sample_data",
    "licence": "CC0",
}

_SIZE = 176
_SEED = 7411
_SKIN_TONES = np.array(
    [(228, 190, 172), (214, 164, 142), (188, 134, 106), (146, 98, 74), (104, 70, 54)], np.float32
)
# What the skin's red, green and blue are multiplied by inside a lesion.
_LESIONS = {
    "brown": (0.62, 0.50, 0.44),
    "dark": (0.36, 0.29, 0.29),
    "light brown": (0.85, 0.73, 0.62),
    "red": (0.98, 0.66, 0.64),
    "blue grey": (0.60, 0.70, 0.84),
    "pale": (1.14, 1.19, 1.18),
}
_LESION_FREQUENCIES = (0.30, 0.14, 0.18, 0.16, 0.10, 0.12)
_INKS = ((84, 62, 140), (40, 36, 44), (52, 74, 128))
_STICKERS = ((70, 120, 190), (80, 140, 90), (200, 170, 70), (60, 50, 50))


def _dermoscopy_case(index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw a picture and the mask of its lesion; the same index gives the same bytes.

    Args:
        index: number of the case.

    Shape:
        - picture: ``(rows, columns, 3)``.
        - mask: ``(rows, columns)``, values 0 and 1.
    """
    generator = np.random.default_rng([_SEED, index])
    distance = _lesion_distance(generator)
    picture = _skin(generator)
    opacity = _sigmoid(distance / generator.uniform(0.5, 2.5))[..., None]
    picture *= 1 + opacity * (_lesion_factors(generator) - 1)
    picture *= _light(generator)
    for chance, draw in ((0.25, _ruler), (0.55, _hairs), (0.35, _bubbles)):
        if generator.random() < chance:
            draw(generator, picture)
    for chance, draw_outside in ((0.25, _ink), (0.15, _sticker)):
        if generator.random() < chance:
            draw_outside(generator, picture, distance)
    if generator.random() < 0.5:
        _dark_corners(generator, picture)
    picture = ndimage.gaussian_filter(picture, (0.5, 0.5, 0))
    picture += generator.normal(0, generator.uniform(1, 4), picture.shape)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8), (distance > 0).astype(np.uint8)


def write_dermoscopy_case(index: int, image: Path, label: Path) -> None:
    """Draw a case into two PNG files.

    Args:
        index: number of the case.
        image: file of the picture.
        label: file of the mask.
    """
    picture, mask = _dermoscopy_case(index)
    Image.fromarray(picture).save(image, compress_level=3)
    Image.fromarray(mask).save(label)


def _sigmoid(x: Array) -> Array:
    return (1 / (1 + np.exp(-np.clip(x, -30, 30)))).astype(np.float32)


def _grid() -> tuple[Array, Array]:
    """Rows and columns from -1 to 1."""
    axis = np.linspace(-1, 1, _SIZE, dtype=np.float32)
    return axis[:, None], axis[None, :]


def _waves(generator: np.random.Generator, cells: int) -> Array:
    """Smooth noise of mean 0 and deviation 1 with about ``cells`` bumps across the picture."""
    coarse = generator.standard_normal((cells + 2, cells + 2), dtype=np.float32)
    fine = ndimage.zoom(coarse, _SIZE / (cells + 2), order=2, mode="nearest", grid_mode=True)
    return np.asarray((fine - fine.mean()) / fine.std(), np.float32)


def _lesion_distance(generator: np.random.Generator) -> Array:
    """Signed distance to the lesion's border in pixels, positive inside."""
    rows, columns = _grid()
    size = generator.uniform(0.26, 0.65)
    y, x = rows - generator.normal(0, 0.13), columns - generator.normal(0, 0.13)
    turn, stretch = generator.uniform(0, np.pi), generator.uniform(1, 1.35)
    u = (x * np.cos(turn) + y * np.sin(turn)) * stretch
    v = (y * np.cos(turn) - x * np.sin(turn)) / stretch
    angle = np.arctan2(v, u)
    border = np.zeros_like(angle)
    for k in range(2, 8):
        border += generator.normal(0, 0.16 / k) * np.cos(k * angle + generator.uniform(0, 2 * np.pi))
    roughness = generator.uniform(0.01, 0.06)
    inside = size * np.exp(border) + roughness * _waves(generator, 16) - np.hypot(u, v) > 0
    parts, _ = ndimage.label(inside)
    largest = parts == np.argmax(np.bincount(parts.ravel())[1:]) + 1
    mask = ndimage.binary_fill_holes(largest)
    outward = ndimage.distance_transform_edt(~mask)
    return np.asarray(ndimage.distance_transform_edt(mask) - outward, np.float32)


def _skin(generator: np.random.Generator) -> Array:
    tone = generator.beta(1.1, 1.7) * (len(_SKIN_TONES) - 1)
    steps = np.arange(len(_SKIN_TONES))
    colour = np.array([np.interp(tone, steps, channel) for channel in _SKIN_TONES.T])
    colour += generator.normal(0, 5, 3)
    texture = 0.025 * ndimage.gaussian_filter(generator.standard_normal((_SIZE, _SIZE)), 0.8)
    texture += 0.02 * _waves(generator, 40) + 0.02 * _waves(generator, 12)
    skin = colour * (1 + texture[..., None])
    blush = _sigmoid(3 * (_waves(generator, 4) - 0.8))[..., None]
    skin *= 1 - blush * generator.uniform(0, 0.12) * np.array([0.1, 1, 0.9])
    if generator.random() < 0.3:
        freckles = _sigmoid(12 * (_waves(generator, 18) - 2.3))[..., None]
        skin *= 1 - 0.35 * freckles * np.array([0.8, 1, 1])
    return np.asarray(skin, np.float32)


def _lesion_factors(generator: np.random.Generator) -> Array:
    """What the skin is multiplied by where the lesion is: zones of colour times a pigment pattern."""
    names = generator.choice(list(_LESIONS), 2, replace=False, p=_LESION_FREQUENCIES)
    first, second = (np.array(_LESIONS[str(name)]) for name in names)
    first = first * generator.normal(1, 0.05) * generator.normal(1, 0.02, 3)
    several = generator.random() < 0.35
    zone = _sigmoid(4 * (_waves(generator, 4) - (0.4 if several else 9.0)))[..., None]
    colour = first * (1 - zone) + second * zone
    pattern = 1 + 0.07 * _waves(generator, 8)
    visible = generator.uniform(0.06, 0.2) * _sigmoid(2 * _waves(generator, 5))
    pattern -= visible * _pigment_network(generator)
    if generator.random() < 0.4:
        pattern -= 0.3 * _sigmoid(8 * (_waves(generator, 26) - 1.2))
    return np.asarray(colour * np.clip(pattern, 0.3, 1.2)[..., None], np.float32)


def _pigment_network(generator: np.random.Generator) -> Array:
    """A warped honeycomb, 1 on its lines and 0 in its holes."""
    rows, columns = _grid()
    wave_number = 2 * np.pi / generator.uniform(0.07, 0.12)
    y = rows + 0.05 * _waves(generator, 9)
    x = columns + 0.05 * _waves(generator, 9)
    turn = generator.uniform(0, np.pi)
    angles = turn + np.arange(3) * np.pi / 3
    total = sum(np.cos(wave_number * (x * np.cos(a) + y * np.sin(a))) for a in angles)
    return _sigmoid(np.asarray(-3 * (total + 0.3), np.float32))


def _light(generator: np.random.Generator) -> Array:
    """Exposure and a gradient across the picture."""
    rows, columns = _grid()
    direction = generator.uniform(0, 2 * np.pi)
    slope = generator.uniform(0, 0.16) * (rows * np.sin(direction) + columns * np.cos(direction))
    falloff = generator.uniform(0, 0.15) * (rows**2 + columns**2)
    light = generator.uniform(0.78, 1.05) * (1 + slope - falloff)
    return np.asarray(light, np.float32)[..., None]


class _Layer:
    """A transparent sheet, twice as fine as the picture, to draw smooth lines on."""

    def __init__(self) -> None:
        self.sheet = Image.new("L", (2 * _SIZE, 2 * _SIZE))
        self.pen = ImageDraw.Draw(self.sheet)

    def lay(self, picture: Array, colour: Any, opacity: float = 1.0, where: Array | None = None) -> None:
        small = self.sheet.resize((_SIZE, _SIZE), Image.Resampling.BOX)
        cover = np.asarray(small, np.float32)[..., None] / 255 * opacity
        cover = cover if where is None else cover * where[..., None]
        picture += cover * (np.asarray(colour, np.float32) - picture)


def _hairs(generator: np.random.Generator, picture: Array) -> None:
    layer = _Layer()
    drift = generator.uniform(0, np.pi)
    for _ in range(generator.integers(2, 16)):
        start = generator.uniform(0, 2 * _SIZE, 2)
        angle = generator.normal(drift, 0.5)
        reach = generator.uniform(0.4, 1.6) * _SIZE * np.array([np.cos(angle), np.sin(angle)])
        bend = generator.normal(0, 0.15 * _SIZE, 2)
        t = np.linspace(0, 1, 24)[:, None]
        points = start + t * reach + 4 * t * (1 - t) * bend
        layer.pen.line(
            [(float(x), float(y)) for x, y in points], fill=255, width=int(generator.integers(1, 5))
        )
    layer.lay(picture, np.array([48, 34, 28]) * generator.uniform(0.4, 1.3), generator.uniform(0.7, 0.95))


def _ruler(generator: np.random.Generator, picture: Array) -> None:
    layer = _Layer()
    step = generator.uniform(12, 20)
    offset = generator.uniform(4, 16)
    for i in range(int(2 * _SIZE / step) + 1):
        length = 34 if i % 5 == 0 else 18
        layer.pen.line([(i * step, offset), (i * step, offset + length)], fill=255, width=3)
    turns = int(generator.integers(0, 4))
    # A quarter turn of the sheet puts the ruler on another edge.
    layer.sheet = layer.sheet.rotate(90 * turns)
    layer.lay(picture, (30, 30, 32), 0.85)


def _bubbles(generator: np.random.Generator, picture: Array) -> None:
    rims, glints = _Layer(), _Layer()
    for _ in range(generator.integers(2, 9)):
        x, y = generator.uniform(0, 2 * _SIZE, 2)
        radius = generator.uniform(5, 16)
        rims.pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=255, width=2)
        x, y, dot = x - radius / 3, y - radius / 3, radius / 5 + 1
        glints.pen.ellipse((x - dot, y - dot, x + dot, y + dot), fill=255)
    rims.lay(picture, (240, 232, 226), 0.45)
    glints.lay(picture, (255, 255, 255), 0.9)


def _ink(generator: np.random.Generator, picture: Array, distance: Array) -> None:
    """Strokes of a surgeon's pen round the lesion."""
    layer = _Layer()
    rows, columns = np.nonzero(distance > 0)
    y, x = 2 * rows.mean(), 2 * columns.mean()
    reach = 2 * float(distance.max())
    for _ in range(generator.integers(1, 5)):
        radius = reach * generator.uniform(1.8, 2.6)
        start = generator.uniform(0, 360)
        box = (x - radius, y - radius, x + radius, y + radius)
        width = int(generator.integers(6, 22))
        layer.pen.arc(box, start, start + generator.uniform(20, 70), fill=255, width=width)
    ink = _INKS[generator.integers(len(_INKS))]
    uneven = 0.75 + 0.1 * _waves(generator, 10)
    layer.lay(picture, ink, 1, np.clip(uneven, 0, 1) * _sigmoid(-distance - 4))


def _sticker(generator: np.random.Generator, picture: Array, distance: Array) -> None:
    """A round colour patch that reaches in from the edge."""
    layer = _Layer()
    angle = generator.uniform(0, 2 * np.pi)
    x, y = _SIZE + 1.25 * _SIZE * np.array([np.cos(angle), np.sin(angle)])
    radius = generator.uniform(0.4, 0.65) * _SIZE
    layer.pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    layer.lay(picture, _STICKERS[generator.integers(len(_STICKERS))], 0.95, _sigmoid(-distance - 4))


def _dark_corners(generator: np.random.Generator, picture: Array) -> None:
    rows, columns = _grid()
    y, x = generator.normal(0, 0.05, 2)
    radius = generator.uniform(0.94, 1.25)
    edge = np.hypot(rows - y, columns - x) - radius
    cover = _sigmoid(edge / generator.uniform(0.008, 0.05))[..., None]
    picture += cover * (generator.uniform(8, 34) - picture)
