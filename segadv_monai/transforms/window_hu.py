"""Windows of CT: a range of Hounsfield units becomes the network's range of values.

The values have to be Hounsfield units already: :func:`segadv_monai.data.read_series` applies slope and
intercept of a DICOM series, and CT in NIfTI files is stored so. Whether they are cannot be seen from a crop,
and nothing is guessed.
"""

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config.type_definitions import KeysCollection
from monai.transforms import MapTransform, ScaleIntensityRange, Transform
from torch import Tensor

from segadv_monai.protocols import ConfigError

__all__ = ["HU_WINDOWS", "WindowHU", "WindowHUd"]

HU_WINDOWS = {
    "soft tissue": (40.0, 400.0),
    "lung": (-600.0, 1500.0),
    "bone": (400.0, 1800.0),
    "liver": (30.0, 150.0),
    "brain": (40.0, 80.0),
}
"""Level and width of the usual windows, in HU."""


class WindowHU(Transform):
    """Scale a window to 0 to 1 or -1 to 1; what lies below or above it gets the nearer end.

    The window has a name, or a level and a width, or a lower and an upper end.

    Args:
        name: ``soft tissue`` (level 40, width 400), ``lung`` (-600, 1500), ``bone`` (400, 1800), ``liver``
            (30, 150) or ``brain`` (40, 80).
        level_hu: middle of the window.
        width_hu: of the window, greater than 0.
        lower_hu: value that becomes the lower end.
        upper_hu: value that becomes 1.
        signed: whether the lower end is -1 rather than 0.

    Shape:
        Any, Hounsfield units; the output is float32.

    Raises:
        ConfigError: not exactly one of the three is given, the name is unknown, or the window has no width.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        level_hu: float | None = None,
        width_hu: float | None = None,
        lower_hu: float | None = None,
        upper_hu: float | None = None,
        signed: bool = False,
    ) -> None:
        self.lower_hu, self.upper_hu = _ends(name, (level_hu, width_hu), (lower_hu, upper_hu))
        self.scale = ScaleIntensityRange(
            self.lower_hu, self.upper_hu, -1.0 if signed else 0.0, 1.0, clip=True
        )

    def __call__(self, img: Tensor) -> Tensor:
        scaled: Any = self.scale(img)
        result: Tensor = scaled
        return result


class WindowHUd(MapTransform):
    """:class:`WindowHU` for dictionaries.

    Args:
        keys: keys of the images.
        name, level_hu, width_hu, lower_hu, upper_hu, signed: see :class:`WindowHU`.
        allow_missing_keys: skip images that a case does not have.
    """

    def __init__(
        self,
        keys: KeysCollection,
        name: str | None = None,
        *,
        level_hu: float | None = None,
        width_hu: float | None = None,
        lower_hu: float | None = None,
        upper_hu: float | None = None,
        signed: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = WindowHU(
            name,
            level_hu=level_hu,
            width_hu=width_hu,
            lower_hu=lower_hu,
            upper_hu=upper_hu,
            signed=signed,
        )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.transform(result[key])
        return result


Pair = tuple[float | None, float | None]


def _ends(name: str | None, centred: Pair, ends: Pair) -> tuple[float, float]:
    if name is not None and name not in HU_WINDOWS:
        raise ConfigError(f"a window must be one of {', '.join(HU_WINDOWS)}, got {name!r}.")
    choices: list[Pair] = [(None, None) if name is None else HU_WINDOWS[name], centred, ends]
    given = [i for i, pair in enumerate(choices) if pair != (None, None)]
    first, second = choices[given[0]] if len(given) == 1 else (None, None)
    if first is None or second is None:
        raise ConfigError(
            "a window has a name, or level_hu and width_hu, or lower_hu and upper_hu: got "
            f"name {name}, level and width {centred}, ends {ends}."
        )
    lower, upper = (first, second) if given == [2] else (first - second / 2, first + second / 2)
    if not lower < upper:
        raise ConfigError(f"a window must have a width greater than 0 HU, got {lower:g} to {upper:g} HU.")
    return lower, upper
