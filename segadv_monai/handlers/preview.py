"""A sheet of cases with contours, so that a number is never all there is to look at."""

from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from segadv_monai.data import atomic_write
from segadv_monai.metrics import dice_score

__all__ = ["Preview"]

_REFERENCE, _PREDICTION = "#00c853", "#ff2d95"


class Preview:
    """Draw the first cases of an evaluation: image, prediction, and both contours on the image.

    A volume is shown in the slice of its last axis where the reference, or without one the prediction, is
    largest. The first region decides; every region has its contour.

    Args:
        path: the PNG file; ``{epoch}`` in it is replaced by the epoch with four digits.
        cases: how many cases to draw.

    Attributes:
        sheet: the last sheet drawn, ``(rows, columns, 3)`` bytes; None before the first.
    """

    def __init__(self, path: str | Path, cases: int = 6) -> None:
        self.path = str(path)
        self.cases = cases
        self.sheet: NDArray[np.uint8] | None = None
        self._collected: list[tuple[str, list[NDArray[Any]]]] = []

    def attach(self, engine: Engine) -> None:
        """Collect the cases of an evaluator and draw them when it has seen all."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._draw)

    def _start(self, _: Engine) -> None:
        self._collected = []

    def _collect(self, engine: Engine) -> None:
        output: Any = engine.state.output or []
        for case in output:
            if len(self._collected) >= self.cases:
                return
            image, label, prediction = (case[key] for key in ("image", "label", "pred"))
            dice = float(dice_score(prediction[None], label[None])[0, 0])
            name = Path(str(getattr(image, "meta", {}).get("filename_or_obj", ""))).name
            arrays = [np.asarray(x.detach().float().cpu()) for x in (image, label, prediction)]
            self._collected.append((f"{name}\nDice {dice:.3f}", _one_slice(arrays)))

    def _draw(self, engine: Engine) -> None:
        if not self._collected:
            return
        figure = Figure(figsize=(2.2 * len(self._collected), 7.0), dpi=80, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        grid = figure.subplots(3, len(self._collected), squeeze=False)
        for column, (title, arrays) in zip(grid.T, self._collected, strict=True):
            _draw_case(column, title, arrays)
        figure.supxlabel("contours: reference green, prediction pink", fontsize=8)
        canvas.draw()  # type: ignore[no-untyped-call]
        pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
        self.sheet = pixels[..., :3].copy()
        with atomic_write(self.path.format(epoch=f"{engine.state.epoch:04d}")) as draft:
            figure.savefig(draft)


def _one_slice(arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
    _, label, prediction = arrays
    if label.ndim == 3:
        return arrays
    shown = label[0] if label[0].any() else prediction[0]
    best = int(shown.sum(axis=(0, 1)).argmax())
    return [array[..., best] for array in arrays]


def _draw_case(column: NDArray[Any], title: str, arrays: list[NDArray[Any]]) -> None:
    image, label, prediction = arrays
    shown = _displayable(image)
    plain, mask, contours = column
    for axes in column:
        axes.set_axis_off()
    plain.set_title(title, fontsize=7)
    plain.imshow(shown, cmap="gray")
    mask.imshow(_numbered(prediction), cmap="gray", vmin=0, vmax=len(prediction), interpolation="nearest")
    contours.imshow(shown, cmap="gray")
    for maps, colour in ((label, _REFERENCE), (prediction, _PREDICTION)):
        _draw_contours(contours, maps, colour)


def _draw_contours(axes: Axes, maps: NDArray[Any], colour: str) -> None:
    for region in maps:
        inside = region.T > 0
        if inside.any() and not inside.all():
            axes.contour(inside, levels=[0.5], colors=colour, linewidths=1)


def _numbered(maps: NDArray[Any]) -> NDArray[Any]:
    """The number of the last region at each place, 0 for none; rows first."""
    numbers = np.arange(1, len(maps) + 1).reshape(-1, 1, 1)
    result: NDArray[Any] = (numbers * (maps > 0)).max(axis=0).T
    return result


def _displayable(image: NDArray[Any]) -> NDArray[Any]:
    """Between the 1st and 99th percentile; three channels are colours, otherwise the first is shown."""
    x = image.transpose(2, 1, 0) if len(image) == 3 else image[0].T
    low, high = np.percentile(x, (1, 99))
    result: NDArray[Any] = np.clip((x - low) / max(high - low, 1e-6), 0, 1)
    return result
