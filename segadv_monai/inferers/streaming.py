"""Sliding windows over an image, with memory that does not grow with the image times the classes.

Computes what MONAI's ``SlidingWindowInferer`` computes: the same windows, the same weights. MONAI adds the
logits of all windows into a tensor of the whole image; here a ring as long as one window holds the sums, and
what no later window reaches becomes labels at once. As ours, a mode without blending takes every position
from the window whose centre is nearest, and keeps nothing.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from monai.data.utils import compute_importance_map
from monai.inferers import Inferer
from monai.utils import ensure_tuple, ensure_tuple_rep, fall_back_tuple
from torch import Tensor

from .blending import NearestWindow, RunningSum
from .finished_maps import FinishedMaps, labels_of
from .onednn import fast_convolutions
from .pace import Pace
from .plain import check_image, dressed, plain
from .windows import Place, Windows, padded

__all__ = ["StreamingSlidingWindow"]

Output = Literal["labels", "logits"] | Callable[[Tensor], Tensor]


class StreamingSlidingWindow(Inferer):
    """Labels of an image that is larger than what a network is shown at a time.

    Args:
        roi_size: of a window, one number or one for each axis; 0 or less: the whole axis.
        overlap: share of a window that its neighbour sees too, one number or one for each axis, from 0 to
            less than 1.
        mode: how windows join: ``constant`` and ``gaussian`` are MONAI's; ``none`` takes each position from
            the window whose centre is nearest, with the least memory.
        window_batch_size: windows in one forward pass, of one case or more. ``auto`` times 1, 2 and 4 on the
            first windows, as far as their logits take 64 MiB at most, and goes on with the fastest; the
            kernels differ in the last bits, so a number is needed to get the same bits in every run.
        output: ``labels`` as uint8, ``logits``, or a function from finished logits ``(K, *slab)`` to what is
            kept of them ``(K', *slab)``, for which no two positions may depend on each other.
        threshold: for labels: None takes the most probable class, ``(B, 1, *S)``; a number sets every map to
            1 where it is at least that, ``(B, K, *S)``.
        activation: of the logits, before the threshold.
        sigma_scale: of the mode ``gaussian``: standard deviation as a share of the window, one number or one
            for each axis.
        padding_mode: of an image smaller than a window, a mode of :func:`torch.nn.functional.pad`.
        cval: value of the padding mode ``constant``.
        stream_axis: axis along which slabs are finished, counted without batch and channel; the longest by
            default.
        sw_device: device of the windows and of the sums; that of the image by default.
        device: device of the result; that of the image by default.

    Raises:
        ValueError: a number out of range, a word that is not listed, or an activation without a threshold.
    """

    def __init__(
        self,
        roi_size: int | Sequence[int],
        *,
        overlap: float | Sequence[float] = 0.25,
        mode: Literal["constant", "gaussian", "none"] = "constant",
        window_batch_size: int | Literal["auto"] = "auto",
        output: Output = "labels",
        threshold: float | None = None,
        activation: Literal["sigmoid", "softmax"] | None = None,
        sigma_scale: float | Sequence[float] = 0.125,
        padding_mode: str = "constant",
        cval: float = 0.0,
        stream_axis: int | None = None,
        sw_device: str | torch.device | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        super().__init__()
        _check_words(mode, window_batch_size, output, activation)
        if not all(0 <= share < 1 for share in ensure_tuple(overlap)):
            raise ValueError(f"overlap must be from 0 to less than 1, got {overlap}.")
        if (output != "labels" and threshold is not None) or (threshold is None and activation is not None):
            raise ValueError("threshold belongs to output='labels', and activation to a threshold.")
        self.roi_size = roi_size
        self.overlap = overlap
        self.mode = mode
        self.window_batch_size = window_batch_size
        self.output = output
        self.threshold = threshold
        self.activation = activation
        self.sigma_scale = sigma_scale
        self.padding = (padding_mode, cval)
        self.stream_axis = stream_axis
        self.sw_device = sw_device
        self.device = device
        self._numbers: WeakKeyDictionary[Callable[..., Any], dict[tuple[int, ...], int]] = WeakKeyDictionary()

    @torch.no_grad()
    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
        """Labels, or what ``output`` says, of an image, on its grid.

        Args:
            inputs: ``(B, C, *S)``.
            network: whose output has the size of its input.
            args: more arguments of the network.
            kwargs: more arguments of the network.

        Raises:
            TypeError: the network returns something else than logits.
            ValueError: a wrong number of axes; logits of another size; logits that have no labels.
        """
        image = plain(inputs)
        check_image(image, self.roi_size)
        size = fall_back_tuple(self.roi_size, image.shape[2:])
        image, inside = padded(image, size, *self.padding)
        windows = self._windows(image, size)
        device = torch.device(self.device) if self.device is not None else image.device
        maps = FinishedMaps(image.shape[0], inside, keep=self._keep(), device=device)
        blend, current = self._blend(windows, image), 0
        for group, logits in self._predictions(
            image, windows, network, lambda x: network(x, *args, **kwargs)
        ):
            for i, (case, starts) in enumerate(group):
                if case != current:
                    maps.put(current, blend.rest())
                    blend, current = self._blend(windows, image), case
                maps.put(case, blend.add(starts, logits[i]))
            # Before the next forward pass, which otherwise finds them still in memory.
            del logits
        maps.put(current, blend.rest())
        return dressed(maps.maps, inputs)

    def _windows(self, image: Tensor, size: Sequence[int]) -> Windows:
        lengths = image.shape[2:]
        axis = self.stream_axis
        if axis is not None and not -len(lengths) <= axis < len(lengths):
            raise ValueError(f"stream_axis must be one of {len(lengths)} axes, got {axis}.")
        overlap = ensure_tuple_rep(self.overlap, len(lengths))
        return Windows.over(lengths, size, overlap, axis=axis)

    def _blend(self, windows: Windows, image: Tensor) -> NearestWindow | RunningSum:
        if self.mode == "none":
            return NearestWindow(windows)
        weights = None
        if self.mode == "gaussian":
            device = image.device if self.sw_device is None else self.sw_device
            weights = compute_importance_map(
                windows.size, "gaussian", self.sigma_scale, device=device, dtype=image.dtype
            )
        divide = self.output != "labels" or self.threshold is not None
        return RunningSum(windows, tuple(image.shape[2:]), weights=weights, divide=divide)

    def _keep(self) -> Callable[[Tensor], Tensor]:
        if callable(self.output):
            return self.output
        if self.output == "logits":
            return lambda logits: logits
        return lambda logits: labels_of(logits, self.threshold, self.activation)

    def _predictions(
        self, image: Tensor, windows: Windows, network: Callable[..., Any], forward: Callable[[Tensor], Any]
    ) -> Iterator[tuple[list[Place], Tensor]]:
        """Logits of as many windows at a time as are fast; nothing here holds them."""
        known = self._numbers.setdefault(network, {})
        key = (*windows.size, image.shape[1])
        fixed = known.get(key) if isinstance(self.window_batch_size, str) else self.window_batch_size
        pace = Pace(len(windows) * image.shape[0], fixed=fixed)
        device = image.device if self.sw_device is None else torch.device(self.sw_device)

        def predicted(group: list[Place]) -> Tensor:
            started = time.perf_counter()
            shown = torch.stack([windows.of(image, place) for place in group]).to(device)
            with fast_convolutions(network, device):
                logits = forward(shown)
            logits = _checked(logits, windows.size)
            pace.timed(len(group), started, logits)
            return logits

        places = windows.places(image.shape[0])
        while group := list(islice(places, pace.next())):
            yield group, predicted(group)
        if pace.best is not None:
            known[key] = pace.best


def _check_words(mode: object, window_batch_size: object, output: object, activation: object) -> None:
    checks = {
        "mode": (mode, ("constant", "gaussian", "none"), False),
        "window_batch_size": (
            window_batch_size,
            ("auto", "a number from 1 on"),
            isinstance(window_batch_size, int) and window_batch_size > 0,
        ),
        "output": (output, ("labels", "logits", "a function"), callable(output)),
        "activation": (activation, (None, "sigmoid", "softmax"), False),
    }
    for name, (value, words, is_good) in checks.items():
        if not is_good and value not in words:
            listed = ", ".join(map(str, words))
            raise ValueError(f"{name} must be one of {listed}, got {value}.")


def _checked(logits: Any, size: Sequence[int]) -> Tensor:
    if not isinstance(logits, Tensor):
        raise TypeError(
            f"the network returned {type(logits).__name__}, expected one tensor of logits: wrap it in a "
            "module that returns nothing else."
        )
    if tuple(logits.shape[2:]) != tuple(size):
        raise ValueError(
            f"the network gave {list(logits.shape[2:])} for a window of {list(size)}, expected logits of its "
            "size: for valid convolutions take OverlapTileInferer."
        )
    return logits
