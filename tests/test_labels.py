"""Labels of every kind come back as they were given, or are refused in one line."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.exceptions import DataConversionWarning

from aae_toolkit import SemiSupervisedAAEClassifier, load_classifier
from aae_toolkit.errors import AaeError
from aae_toolkit.estimators.labels import read_labels
from aae_toolkit.models.labels import dtype_name, label_array

NAN = math.nan
WORDS = ["setosa", "virginica"]


def objects(*labels: Any) -> np.ndarray:
    array = np.empty(len(labels), dtype=object)
    array[:] = labels
    return array


def text(*labels: Any, **parameters: Any) -> np.ndarray:
    """Labels of numpy's StringDType."""
    if not hasattr(np, "dtypes") or not hasattr(np.dtypes, "StringDType"):
        pytest.skip("numpy has no StringDType")
    return np.array(labels, dtype=np.dtypes.StringDType(**parameters))


# What is given, as a function, since some need a package; the classes; and which samples have a label.
KEPT: dict[str, tuple[Callable[[], Any], np.ndarray, list[bool]]] = {
    **{
        dtype: (lambda dtype=dtype: np.array([3, -1, 1, 3], dtype=dtype), np.array([1, 3], dtype=dtype), [1, 0, 1, 1])
        for dtype in ("int8", "int16", "int32", "int64", ">i4", "float16", "float32", "float64")
    },
    **{
        dtype: (lambda dtype=dtype: np.array([255, 0, 1], dtype=dtype), np.array([0, 1, 255], dtype=dtype), [1, 1, 1])
        for dtype in ("uint8", "uint16", "uint64")
    },
    "negative integers": (lambda: np.array([-2, -1, 5]), np.array([-2, 5]), [1, 0, 1]),
    "large integers": (lambda: np.array([2**63 - 1, -1, -(2**63)]), np.array([-(2**63), 2**63 - 1]), [1, 0, 1]),
    "bool": (lambda: np.array([True, False]), np.array([False, True]), [1, 1]),
    "fixed width": (lambda: np.array(["b", "a"], dtype="<U6"), np.array(["a", "b"], dtype="<U6"), [1, 1]),
    "words that mean nothing missing": (lambda: np.array(["None", "NA", "1"]), np.array(["1", "NA", "None"]), [1] * 3),
    "StringDType": (lambda: text("b", "a"), np.array(["a", "b"]), [1, 1]),
    "StringDType with None": (lambda: text("b", None, "a", na_object=None), np.array(["a", "b"]), [1, 0, 1]),
    "StringDType with NaN": (lambda: text("b", NAN, "a", na_object=NAN), np.array(["a", "b"]), [1, 0, 1]),
    "strict StringDType": (lambda: text("b", "a", coerce=False), np.array(["a", "b"]), [1, 1]),
    "objects": (lambda: objects("b", "a"), objects("a", "b"), [1, 1]),
    "objects with every mark": (
        lambda: objects("b", -1, None, NAN, -1.0, np.int8(-1), np.float32(NAN), np.str_("a")),
        objects("a", "b"),
        [1, 0, 0, 0, 0, 0, 0, 1],
    ),
    "integers among objects": (lambda: objects(1, None, -1, 0), objects(0, 1), [1, 0, 0, 1]),
    "bool among objects": (lambda: objects(True, None, NAN, -1, False), objects(False, True), [1, 0, 0, 0, 1]),
    "whole floats among objects": (lambda: objects(1.0, -1, 2.0), objects(1.0, 2.0), [1, 0, 1]),
    "a list of words with -1": (lambda: ["bb", -1, "a"], np.array(["a", "bb"]), [1, 0, 1]),
    "a list of words with None and NaN": (lambda: ["bb", None, NAN, "a"], np.array(["a", "bb"]), [1, 0, 0, 1]),
    "a list of numbers with None": (lambda: [4, None, 2], np.array([2, 4]), [1, 0, 1]),
    "a list of small integers": (lambda: [np.int8(4), -1, np.int8(2)], np.array([2, 4], dtype=np.int8), [1, 0, 1]),
    "a tuple": (lambda: (4, -1, 2), np.array([2, 4]), [1, 0, 1]),
}


@pytest.mark.parametrize(("given", "classes", "known"), KEPT.values(), ids=KEPT)
def test_labels_are_read_in_their_type(given: Callable[[], Any], classes: np.ndarray, known: list[bool]) -> None:
    y = given()
    labels = read_labels(y)
    assert labels.classes.tolist() == classes.tolist()
    assert [type(one) for one in labels.classes.tolist()] == [type(one) for one in classes.tolist()]
    assert labels.classes.dtype == (y.dtype if isinstance(y, np.ndarray) else classes.dtype)
    assert labels.known.tolist() == [bool(one) for one in known]
    with_label = [one for one, labeled in zip(list(y), known, strict=True) if labeled]
    assert [labels.classes.tolist()[code] for code in labels.codes[labels.known]] == with_label


@pytest.mark.parametrize(("given", "classes", "known"), KEPT.values(), ids=KEPT)
def test_a_file_keeps_the_type(given: Callable[[], Any], classes: np.ndarray, known: list[bool]) -> None:
    labels = read_labels(given()).classes
    restored = label_array(json.loads(json.dumps(labels.tolist())), dtype_name(labels.dtype))
    assert restored.dtype == labels.dtype
    assert [(type(one), one) for one in restored.tolist()] == [(type(one), one) for one in labels.tolist()]


def test_types_of_pandas_are_read() -> None:
    pd = pytest.importorskip("pandas")
    for given, classes in (
        (pd.Series(["b", None, "a"]), objects("a", "b")),
        (pd.Series(["b", None, "a"], dtype="string"), objects("a", "b")),
        (pd.Series(["b", None, "a"], dtype=object, index=[7, 7, 7]), objects("a", "b")),
        (pd.Series(["b", -1, "a"], dtype="category"), objects("a", "b")),
        (pd.Categorical(["b", None, "a"], categories=["b", "a", "unused"]), objects("a", "b")),
        (pd.Categorical([5, None, 2]), np.array([2, 5])),
        (pd.Series([5, -1, 2], dtype="category"), np.array([2, 5])),
        (pd.Series([5, None, 2], dtype="Int8"), np.array([2, 5], dtype=np.int8)),
        (pd.Series([5, -1, 2], dtype="int32"), np.array([2, 5], dtype=np.int32)),
        (pd.Series([True, None, False], dtype="boolean"), np.array([False, True])),
        (pd.DataFrame({"y": [5, -1, 2]})["y"], np.array([2, 5])),
    ):
        labels = read_labels(given)
        assert labels.codes.tolist() == [1, -1, 0]
        assert labels.classes.dtype == classes.dtype
        assert labels.classes.tolist() == classes.tolist()
    with pytest.raises(ValueError, match="y is float64 and holds NaN among numbers"):
        read_labels(pd.Series([0, 1, None]))  # pandas makes floats of these
    with pytest.raises(ValueError, match="y is datetime64"):
        read_labels(pd.Series(pd.to_datetime(["2026-01-01", "2026-01-02"])))


MADE = "which numpy makes of {} among words; mark samples without a label by -1 or None in an array of dtype=object"
REFUSED: dict[str, tuple[Any, str]] = {
    "-1 that became a text": (np.array(["setosa", -1]), f"y holds the text '-1', {MADE.format(-1)}"),
    "-1.0 that became a text": (np.array(["setosa", -1.0]), f"y holds the text '-1.0', {MADE.format(-1)}"),
    "NaN that became a text": (np.array(["setosa", NAN]), f"y holds the text 'nan', {MADE.format('NaN')}"),
    "such a text among objects": (np.array(["setosa", -1]).astype(object), "y holds the text '-1'"),
    "such a text in a list": (["setosa", "-1"], "y holds the text '-1'"),
    "such a text among digits": (np.array(["0", "1", "-1"]), "y holds the text '-1'"),
    "an empty text": (np.array(["setosa", ""]), "y holds the empty text ''; mark samples without a label by -1"),
    "a text of two lines": (["a\nb", "c"], r"y holds 'a\nb' with characters that cannot be printed; remove these"),
    "integers and words": (objects(1, "a"), "y mixes labels of several types, 1 (int) and 'a' (str); give labels of"),
    "integers and words in a list": ([1, "a"], "y mixes labels of several types, 1 (int) and 'a' (str)"),
    "integers and bool": (objects(1, True), "y mixes labels of several types, 1 (int) and True (bool)"),
    "integers and floats": (objects(1, 2.0), "y mixes labels of several types, 1 (int) and 2.0 (float)"),
    "fractions": (np.array([0.5, 1]), "Unknown label type: continuous. y is float64 and holds 0.5; labels that are"),
    "fractions among objects": (objects(0.5, 1.0), "Unknown label type: continuous. y is float and holds 0.5"),
    "infinity": (np.array([0, np.inf]), "y is float64 and holds infinity"),
    "NaN among numbers": (np.array([0, 1, NAN]), "y is float64 and holds NaN among numbers; mark samples without a la"),
    "NaN and -1 among numbers": (np.array([0, 1, NAN, -1]), "y is float64 and holds NaN among numbers"),
    "NaN among integers": (objects(0, 1, NAN), "y holds NaN among numbers; mark samples without a label by -1"),
    "NaN in a list of integers": ([0, 1, NAN], "y holds NaN among numbers; mark samples without a label by -1"),
    "long floats": (np.array([0, 1], dtype=np.longdouble), "give float64 or integers"),
    "complex numbers": (
        np.array([0, 1j]),
        "Complex data not supported: y is complex128",
    ),
    "bytes": (np.array([b"a", b"b"]), "y is bytes (|S1); decode them to str"),
    "bytes among objects": (objects(b"a", b"b"), "y holds b'a' of type bytes; decode them to str"),
    "tuples": (objects((1, 2), (3, 4)), "y holds (1, 2) of type tuple; labels are integers, whole floats, bool or"),
    "a list of tuples": ([(1, 2), (3, 4)], "y should be a 1d array, got an array of shape (2, 2) instead"),
    "dates": (np.array(["2026-01-01", "2026-01-02"], dtype="datetime64[D]"), "y is datetime64[D]; labels are integers"),
    "a mark that files cannot keep": (
        lambda: text("b", "a", na_object=object),
        "give na_object=None or na_objec",
    ),
    "a text as a mark": (lambda: text("b", "?", na_object="?"), "y is StringDType(na_object='?'); give na_object=None"),
    "integers that a list makes floats": ([2**63 + 1, -5], "y is a list that numpy turns into float64; give an array"),
    "such integers of numpy": ([np.uint64(7), np.int64(-5)], "y is a list that numpy turns into float64; give an arr"),
    "several columns": (np.zeros((3, 2)), "y should be a 1d array, got an array of shape (3, 2) instead"),
    "very wide text": (np.array(["a" * 999_999, *map(str, range(99))]), "need more than 64 MiB"),
}


@pytest.mark.parametrize(("given", "said"), REFUSED.values(), ids=REFUSED)
def test_labels_with_two_meanings_are_refused_in_one_line(given: Any, said: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 the message is compared below
        read_labels(given() if callable(given) else given)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_masked_labels_are_none() -> None:
    labels = read_labels(np.ma.array(np.array([4, 9, 2, -1], dtype=np.int8), mask=[0, 1, 0, 0]))
    assert labels.classes.tolist() == [2, 4]
    assert labels.classes.dtype == np.int8
    assert labels.codes.tolist() == [1, -1, 0, -1]


def test_masked_labels_are_none_in_a_column_too() -> None:
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
        labels = read_labels(np.ma.array([[4], [9], [2], [-1]], mask=[[0], [1], [0], [0]]))
    assert labels.codes.tolist() == [1, -1, 0, -1]


def test_a_column_of_a_data_frame_keeps_its_type() -> None:
    pd = pytest.importorskip("pandas")
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
        labels = read_labels(pd.DataFrame({"y": pd.Series([5, None, 2], dtype="Int8")}))
    assert labels.codes.tolist() == [1, -1, 0]
    assert labels.classes.dtype == np.int8


def test_the_mark_of_pandas_in_a_text_of_numpy_is_refused() -> None:
    pd = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match=r"y is StringDType\(na_object=<NA>\); give na_object=None"):
        read_labels(text("b", pd.NA, "a", na_object=pd.NA))


def test_a_column_is_read_with_a_warning() -> None:
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
        assert read_labels(objects("b", "a").reshape(-1, 1)).codes.tolist() == [1, 0]


@pytest.fixture(scope="module")
def blobs() -> tuple[np.ndarray, np.ndarray]:
    return make_blobs(60, n_features=3, centers=2, random_state=0)  # type: ignore[no-any-return]


def fitted(X: np.ndarray, y: Any) -> SemiSupervisedAAEClassifier:
    sizes: dict[str, Any] = {"hidden_size": 8, "z_size": 2, "batch_size": 30}
    return SemiSupervisedAAEClassifier(n_epochs=2, random_state=0, device="cpu", precision="fp32", **sizes).fit(X, y)


@pytest.fixture(scope="module")
def saved(blobs: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved classifier. Copy it to change it."""
    path = tmp_path_factory.mktemp("saved")
    fitted(blobs[0], np.array(WORDS)[blobs[1]]).save(path)
    return path


ESTIMATED: dict[str, Callable[[np.ndarray], Any]] = {
    "int8": lambda y: y.astype(np.int8),
    "uint8": lambda y: y.astype(np.uint8),
    "bool": lambda y: y == 1,
    "float32": lambda y: y.astype(np.float32),
    "words": lambda y: np.array(WORDS)[y],
    "objects": lambda y: np.array(WORDS, dtype=object)[y],
    "StringDType": lambda y: text(*np.array(WORDS)[y].tolist()),
}


@pytest.mark.parametrize("labels", ESTIMATED.values(), ids=ESTIMATED)
def test_predictions_have_the_type_of_y_also_after_loading(
    labels: Callable[[np.ndarray], Any], blobs: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    X, y = blobs[0], labels(blobs[1])
    model = fitted(X, y)
    model.save(tmp_path)
    for estimator in (model, SemiSupervisedAAEClassifier.load(tmp_path)):
        assert estimator.classes_.dtype == estimator.predict(X).dtype == y.dtype
        assert estimator.classes_.tolist() == np.unique(y).tolist()
        assert [type(one) for one in estimator.classes_.tolist()] == [type(one) for one in np.unique(y).tolist()]
        assert estimator.score(X, y) == np.mean(estimator.predict(X) == y)
        assert estimator.sample(y[0]).shape == (1, 3)


def test_labels_that_cannot_be_compared_have_no_score(blobs: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = blobs
    by_number, by_word = fitted(X, y), fitted(X, np.array(WORDS)[y])
    assert by_number.score(X, y.astype(object)) == by_number.score(X, y.astype(float)) == by_number.score(X, y)
    with pytest.raises(ValueError, match="y holds labels such as '0', fit had such as 0; give labels of the same type"):
        by_number.score(X, y.astype(str))
    with pytest.raises(ValueError, match="y holds labels such as 0, fit had such as 'setosa'"):
        by_word.score(X, y)
    for truth, weights in ((y[:5], None), (y[:1], None), (y, np.ones(5))):
        with pytest.raises(ValueError, match="Found input variables with inconsistent numbers of samples"):
            by_number.score(X, truth, weights)


@pytest.mark.parametrize(("y", "found"), [(-1, "0 classes, as no sample has a label"), (3, "1 class")])
def test_fewer_than_two_classes_are_refused(y: int, found: str, blobs: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(ValueError, match=f"y has {found}; a classifier needs two or more"):
        fitted(blobs[0], np.full(60, y))


def test_an_exported_classifier_gives_labels_of_the_type_of_y(
    blobs: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    X, y = blobs[0], blobs[1].astype(np.int8)
    fitted(X, y).export(tmp_path)
    exported = load_classifier(tmp_path)
    assert exported.classes_.dtype == exported.predict(X).dtype == np.int8
    assert exported.classes_.tolist() == [0, 1]


def test_unlabelled_samples_among_words_are_no_class_of_their_own(blobs: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = blobs
    words = np.array(WORDS, dtype=object)[y]
    words[::2] = -1
    model = fitted(X, words)
    assert model.classes_.tolist() == WORDS
    assert set(model.predict(X)) <= set(WORDS)
    assert model.score(X, words) == np.mean(model.predict(X[1::2]) == words[1::2])
    with pytest.raises(ValueError, match="y holds the text '-1', which numpy makes of -1 among words"):
        fitted(X, words.astype(str))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dtype": "<M8[D]"}, "dtype"),
        ({"dtype": "<U9999999"}, "dtype"),
        ({"dtype": "<U2"}, "labels do not fit their type <U2"),
        ({"dtype": "|i1"}, "labels do not fit their type |i1"),
        ({"classes": ["setosa", 3]}, "labels do not fit their type"),
    ],
)
def test_a_damaged_type_in_a_file_is_refused(change: dict[str, Any], said: str, saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    content = json.loads((tmp_path / "model.json").read_text())
    content["arrays"] |= change
    (tmp_path / "model.json").write_text(json.dumps(content))
    with pytest.raises(AaeError) as refusal:
        SemiSupervisedAAEClassifier.load(tmp_path)
    assert "\n" not in str(refusal.value)
    assert "model.json does not describe a model" in str(refusal.value)
    assert said in str(refusal.value)


def test_a_file_of_an_earlier_version_loads_without_a_type(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    content = json.loads((tmp_path / "model.json").read_text())
    del content["arrays"]["dtype"]
    (tmp_path / "model.json").write_text(json.dumps(content))
    assert SemiSupervisedAAEClassifier.load(tmp_path).classes_.tolist() == WORDS
