"""Labels as users give them: which samples have one, and the classes in the type in which they were given."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import column_or_1d

from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.evaluation import Integers
from aae_toolkit.models.labels import dtype_name, label_array

_MADE_BY_NUMPY = {"-1": "-1", "-1.0": "-1", "nan": "NaN"}  # texts that np.array makes of these among words
_RIGHT = "mark samples without a label by -1 or None in an array of dtype=object, or give integers with -1"


@dataclass(frozen=True)
class GivenLabels:
    """Labels of samples.

    Attributes:
        classes: the different labels, sorted, in the type in which they were given.
        codes: index of the class of each sample, int64 [n]; -1 without a label.
    """

    classes: NDArray[Any]
    codes: Integers

    @property
    def known(self) -> NDArray[np.bool_]:
        """Mask of samples with a label, bool [n]."""
        known: NDArray[np.bool_] = self.codes != UNLABELED
        return known


def read_labels(y: Any) -> GivenLabels:
    """Read labels [n]; `SemiSupervisedAAEClassifier` documents their types.

    Raises:
        ValueError: the labels cannot be kept as they are, or have two meanings; the message is one line.
    """
    given, known = _array(y)
    values, labeled = _labeled(given)
    known[known] = labeled
    classes, positions = np.unique(values, return_inverse=True)
    codes = np.full(len(known), UNLABELED, dtype=np.int64)
    codes[known] = positions
    plain = classes.tolist()
    _require_readable(one for one in plain if isinstance(one, str))
    label_array(plain, dtype_name(classes.dtype))  # raises now, not after the training, what `load` could not restore
    return GivenLabels(classes, codes)


def _array(y: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return labels as an array, without missing values of pandas and masked ones, and the mask of those left [n]."""
    if isinstance(y, list | tuple) and not any(isinstance(one, list | tuple | np.ndarray) for one in y):
        return _from_list(y)
    if hasattr(y, "isna") and not isinstance(getattr(y, "dtype", np.dtype(object)), np.dtype):
        # A type of pandas, such as Categorical: with missing values, np.asarray would turn integers into floats.
        known = ~np.asarray(y.isna())
        return np.asarray(y[known]), known
    array = y if isinstance(y, np.ma.MaskedArray) else np.asarray(y)
    column_or_1d(np.empty(array.shape, dtype=bool), warn=True)  # raises scikit-learn's error, or warns of a column
    if hasattr(y, "iloc") and array.ndim == 2:
        return _array(y.iloc[:, 0])  # a column keeps its type, which an array of it may not
    known = ~np.ma.getmaskarray(array).reshape(-1)
    return np.asarray(array).reshape(-1)[known], known


def _from_list(y: list[Any] | tuple[Any, ...]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the labels of a list in the type that numpy gives them without the marks of samples that have none."""
    objects = np.empty(len(y), dtype=object)
    objects[:] = y  # np.array would turn -1 among words into a text
    labels, known = _from_objects(objects)
    array = np.array(objects[known].tolist())
    if [(type(one), one) for one in array.tolist()] != [(type(one), one) for one in labels.tolist()]:
        raise ValueError(f"y is a list that numpy turns into {array.dtype}; give an array of dtype=object")
    return array, known


def _labeled(given: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the labels of samples that have one, and the mask of these."""
    kind, known = given.dtype.kind, np.ones(len(given), dtype=bool)
    if kind == "O":
        return _from_objects(given)
    if kind == "f":
        _require_whole(given, str(given.dtype))
    if kind in "if":
        known = given != UNLABELED
    elif kind == "T":
        _require_missing(given.dtype)
        known = np.array([isinstance(one, str) for one in given.tolist()], dtype=bool)
    elif kind == "S":
        raise ValueError(f"y is bytes ({given.dtype}); decode them to str")
    elif kind not in "buU":
        also = "Complex data not supported: " if kind == "c" else ""  # the words that scikit-learn asks for
        raise ValueError(f"{also}y is {given.dtype}; labels are integers, whole floats, bool or text (str)")
    return given[known], known


def _from_objects(given: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return labels among objects, as Python's own types, and the mask of samples that have one."""
    plain = [one.item() if isinstance(one, np.generic) else one for one in given.tolist()]
    known = np.array([not _is_missing(one) for one in plain], dtype=bool)
    labels = np.empty(known.sum(), dtype=object)
    labels[:] = [one for one, labeled in zip(plain, known, strict=True) if labeled]
    examples: dict[type, Any] = {}
    for one in labels:
        examples.setdefault(type(one), one)
    for kind, one in examples.items():
        if kind not in (bool, int, float, str):
            right = "decode them to str" if kind is bytes else "labels are integers, whole floats, bool or text (str)"
            raise ValueError(f"y holds {one!r} of type {kind.__name__}; {right}")
    if len(examples) > 1:
        found = " and ".join(f"{one!r} ({kind.__name__})" for kind, one in examples.items())
        raise ValueError(f"y mixes labels of several types, {found}; give labels of one type")
    if {int, float} & {*examples} and any(one != one for one in plain if isinstance(one, float)):
        raise ValueError("y holds NaN among numbers; mark samples without a label by -1")
    if float in examples:
        _require_whole(labels.astype(np.float64), "float")
    return labels, known


def _is_missing(one: Any) -> bool:
    """Tell whether an object marks a sample without a label: None, NaN, pandas.NA or -1."""
    if one is None or type(one).__name__ == "NAType":
        return True
    return isinstance(one, int | float) and not isinstance(one, bool) and (one == UNLABELED or one != one)


def _require_missing(dtype: Any) -> None:
    """Raise `ValueError` if a StringDType marks missing values by what files cannot keep, or by a text."""
    marker = getattr(dtype, "na_object", None)
    if not (marker is None or (isinstance(marker, float) and marker != marker)):
        raise ValueError(f"y is StringDType(na_object={marker!r}); give na_object=None or na_object=numpy.nan")


def _require_whole(values: NDArray[Any], kind: str) -> None:
    """Raise `ValueError` unless floats are whole numbers of a type that files can keep."""
    if values.dtype.itemsize > 8:
        raise ValueError(f"y is {kind}; give float64 or integers")
    if np.isnan(values).any():
        raise ValueError(f"y is {kind} and holds NaN among numbers; mark samples without a label by -1")
    if not np.isfinite(values).all():
        raise ValueError(f"y is {kind} and holds infinity; labels that are floats must be whole numbers")
    fractions = values[values != np.floor(values)]
    if len(fractions):
        raise ValueError(
            f"Unknown label type: continuous. y is {kind} and holds {fractions[0].item()!r}; labels that are floats"
            " must be whole numbers"
        )


def _require_readable(texts: Iterable[str]) -> None:
    """Raise `ValueError` for texts that may be a missing label in disguise, or that cannot be shown."""
    for text in texts:
        if text in _MADE_BY_NUMPY:
            made_of = _MADE_BY_NUMPY[text]
            raise ValueError(f"y holds the text {text!r}, which numpy makes of {made_of} among words; {_RIGHT}")
        if not text:
            raise ValueError(f"y holds the empty text ''; {_RIGHT}")
        if not text.isprintable():
            raise ValueError(f"y holds {text!r} with characters that cannot be printed; remove these")
