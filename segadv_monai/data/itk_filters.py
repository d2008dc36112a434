"""Filters of SimpleITK on arrays: N4 bias field correction and histogram matching.

N4 is that of Tustison et al., IEEE Transactions on Medical Imaging 2010. As in its authors' tools the spline
has its nodes a distance in mm apart, whatever the size of the image, which is padded for that; the field is
estimated on every so many-th voxel and applied to all. Histogram matching is that of Nyul et al., IEEE
Transactions on Medical Imaging 2000, as ITK has it.

Both run on one thread: with several, the order of a sum, and so the last bits of the result, would depend on
the machine.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["bias_field", "matched_histogram", "otsu_mask"]

_OTSU_BINS = 200
# A spline needs some voxels along every axis.
_LEAST_VOXELS = 8

_GUARD = threading.Lock()
_USERS = {"now": 0, "threads": 1}


def bias_field(
    image: NDArray[np.float32],
    mask: NDArray[np.bool_],
    *,
    spacing_mm: Sequence[float],
    distance_mm: float,
    shrink: int,
    iterations: Sequence[int],
    convergence: float,
) -> NDArray[np.float32]:
    """The factor by which N4 finds an image too bright at each voxel.

    Args:
        image: of one channel, two or three axes; greater than 0 inside the mask.
        mask: voxels from which the field is estimated.
        spacing_mm: of the voxels, along each axis.
        distance_mm: between the spline's nodes on the first level; half of it on each further one.
        shrink: of how many voxels along the finest axis one is used; fewer along coarser and short axes.
        iterations: at most so many on each level.
        convergence: a level ends when the field changes by less.
    """
    itk = _library()
    spacing, size = np.array(spacing_mm[::-1], float), np.array(image.shape[::-1])
    spans = np.maximum(1, np.ceil(size * spacing / distance_mm)).astype(int)
    padding = ((spans * distance_mm - size * spacing) / spacing).astype(int)
    steps = np.round(shrink * spacing.min() / spacing).clip(1, np.maximum(1, size // _LEAST_VOXELS))
    with _one_thread(itk):
        whole = _image(itk, image, spacing)
        small = []
        for part in (whole, _image(itk, mask.astype(np.uint8), spacing)):
            padded = itk.ConstantPad(part, (padding // 2).tolist(), (padding - padding // 2).tolist(), 0)
            small.append(itk.Shrink(padded, steps.astype(int).tolist()))
        correction = itk.N4BiasFieldCorrectionImageFilter()
        correction.SetNumberOfControlPoints((spans + correction.GetSplineOrder()).tolist())
        correction.SetMaximumNumberOfIterations([int(number) for number in iterations])
        correction.SetConvergenceThreshold(convergence)
        correction.Execute(*small)
        logarithm = itk.GetArrayFromImage(correction.GetLogBiasFieldAsImage(whole))
    field: NDArray[np.float32] = np.exp(logarithm).astype(np.float32)
    return field


def otsu_mask(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Voxels above Otsu's threshold.

    Args:
        image: of one channel.
    """
    itk = _library()
    with _one_thread(itk):
        result = itk.OtsuThreshold(_image(itk, image, np.ones(image.ndim)), 0, 1, _OTSU_BINS)
        inside: NDArray[np.bool_] = itk.GetArrayFromImage(result) > 0
    return inside


def matched_histogram(
    image: NDArray[np.float32],
    reference: NDArray[np.float32],
    *,
    levels: int,
    points: int,
    above_mean: bool,
) -> NDArray[np.float32]:
    """An image with the histogram of another.

    Args:
        image: of one channel, not constant.
        reference: of one channel and any size, with as many axes, not constant.
        levels: of the histograms.
        points: quantiles that are matched; between them values are interpolated.
        above_mean: whether both histograms are those of the values above the mean, which leaves out most of
            the air around a head.
    """
    itk = _library()
    ones = np.ones(image.ndim)
    with _one_thread(itk):
        matching = itk.HistogramMatchingImageFilter()
        matching.SetNumberOfHistogramLevels(levels)
        matching.SetNumberOfMatchPoints(points)
        matching.SetThresholdAtMeanIntensity(above_mean)
        result = matching.Execute(_image(itk, image, ones), _image(itk, reference, ones))
        values: NDArray[np.float32] = itk.GetArrayFromImage(result)
    return values


def _library() -> Any:
    """Loaded on demand, as it takes half a second and few runs need it."""
    return import_module("SimpleITK")


def _image(itk: Any, array: NDArray[Any], spacing: NDArray[np.float64]) -> Any:
    """ITK names the axes of an array from the last to the first."""
    image = itk.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing(spacing.tolist())
    return image


@contextmanager
def _one_thread(itk: Any) -> Iterator[None]:
    """Filters inside N4 take their number of threads from the library's setting, which all threads share."""
    with _GUARD:
        if not _USERS["now"]:
            _USERS["threads"] = itk.ProcessObject.GetGlobalDefaultNumberOfThreads()
            itk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
        _USERS["now"] += 1
    try:
        yield
    finally:
        with _GUARD:
            _USERS["now"] -= 1
            if not _USERS["now"]:
                itk.ProcessObject.SetGlobalDefaultNumberOfThreads(_USERS["threads"])
