"""Types of class labels: numpy types as text in files, and arrays of labels restored from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Label = bool | int | float | str

# Types of `numpy.dtype.str`; a text type of numpy 2 has none there, and is named with its parameters.
DTYPE_PATTERN = r"^(\|b1|\|[iu]1|[<>][iu][248]|[<>]f[248]|[<>]U[1-9][0-9]{0,5}|\|O|StringDType(-None|-nan)?(-strict)?)$"
_MAX_BYTES = 2**26  # of an array of labels, so that a file cannot ask for all memory


def dtype_name(dtype: Any) -> str:
    """Return a numpy type as text, to be stored beside labels."""
    if dtype.kind != "T":
        return str(dtype.str)
    missing = getattr(dtype, "na_object", "")
    marked = "-None" if missing is None else "-nan" if missing != "" else ""
    return f"StringDType{marked}{'' if dtype.coerce else '-strict'}"


def label_array(labels: Sequence[Label], dtype: str) -> NDArray[Any]:
    """Restore labels in the type that `dtype_name` wrote.

    Raises:
        ValueError: the labels do not fit the type, or this numpy does not have it.
    """
    kind = _dtype(dtype)
    if kind.itemsize * len(labels) > _MAX_BYTES:
        raise ValueError(f"{len(labels)} labels of type {dtype} need more than {_MAX_BYTES // 2**20} MiB")
    try:
        array = np.array(labels, dtype=kind)
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"labels do not fit their type {dtype}: {error}") from error
    if [(type(one), one) for one in array.tolist()] != [(type(one), one) for one in labels]:
        raise ValueError(f"labels do not fit their type {dtype}")
    return array


def _dtype(name: str) -> Any:
    if not name.startswith("StringDType"):
        return np.dtype(name)
    if not hasattr(np.dtypes, "StringDType"):
        raise ValueError(f"labels of numpy's StringDType need numpy 2; this is {np.__version__}")
    _, *marks = name.split("-")
    missing = {"na_object": None if "None" in marks else math.nan} if {"None", "nan"} & {*marks} else {}
    return np.dtypes.StringDType(coerce="strict" not in marks, **missing)
