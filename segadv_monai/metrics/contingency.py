"""How many positions two maps of objects have in common, object by object."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from torch import Tensor

from segadv_monai.protocols import DataError

__all__ = ["Contingency", "contingency"]

Objects = NDArray[Any] | Tensor


class Contingency(NamedTuple):
    """Pairs of objects that share positions; object 0 is the background.

    Args:
        predicted: number of the object in the prediction, one for each pair.
        referred: number of the object in the reference, one for each pair.
        common: positions that the two share.
    """

    predicted: NDArray[np.int64]
    referred: NDArray[np.int64]
    common: NDArray[np.int64]


def contingency(prediction: Objects, reference: Objects) -> Contingency:
    """Count the positions of every pair of objects in one pass.

    Args:
        prediction: map of objects by number, of any dimensions.
        reference: map of the same shape.

    Raises:
        DataError: the shapes differ; a number is not whole or less than 0.
    """
    maps = [np.asarray(x.cpu() if isinstance(x, Tensor) else x) for x in (prediction, reference)]
    if maps[0].shape != maps[1].shape:
        raise DataError(
            f"prediction {maps[0].shape} and reference {maps[1].shape} differ: bring the prediction back to "
            "the reference's grid."
        )
    tables = [np.unique(x, return_inverse=True) for x in maps]
    for name, (values, _) in zip(("prediction", "reference"), tables, strict=True):
        if values.size and (values[0] < 0 or np.any(values != np.floor(values))):
            raise DataError(
                f"the {name} must number its objects from 1 and have 0 as background, got values from "
                f"{values[0]} to {values[-1]}: give a map of instances."
            )
    (rows, places), (columns, others) = tables
    places, others = places.ravel(), others.ravel()
    table = coo_array((np.ones(places.size, np.int64), (places, others)), shape=(rows.size, columns.size))
    table.sum_duplicates()
    i, j = table.coords
    return Contingency(rows[i].astype(np.int64), columns[j].astype(np.int64), table.data)
