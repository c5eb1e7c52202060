"""Data whose classes are not the model's: fewer, more, or in another order."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_source
from exports import one_variant
from refusals import refused

from aae_toolkit.cli.app import run
from aae_toolkit.data.directory import DataDirectory, write_data_directory
from aae_toolkit.data.split import Split
from aae_toolkit.evaluation import evaluate, load_for, unknown_classes
from aae_toolkit.models.classes import listed, match_classes
from aae_toolkit.models.directory import load_model

NAMES = ("row_0", "row_1", "row_2")


def write_data(path: Path, order: tuple[str, ...], *, keep: tuple[str, ...] = (), n: int = 240) -> Path:
    """The shared task with its classes in another order, some left out, and others with pictures of noise."""
    whole, rng = tiny_source(n), np.random.default_rng(1)
    names = np.array(NAMES)[whole.labels]
    mine = np.isin(names, keep or order)
    images, labels = whole.images[mine], np.array([order.index(name) for name in names[mine]])
    for index, name in enumerate(order):
        if name not in NAMES:
            images = np.concatenate([images, rng.integers(0, 256, (60, 1, 6, 6), dtype=np.uint8)])
            labels = np.concatenate([labels, np.full(60, index)])
    source = dataclasses.replace(whole, images=images, labels=labels, class_names=order)
    write_data_directory(path, source, None, 60, 60, seed=0)
    return path


def evaluated(model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, object], str]:
    flags = ["--model", str(model), "--data", str(data), "--split", "test"]
    assert run(["evaluate", *flags, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert run(["evaluate", *flags]) == 0
    return content, capsys.readouterr().out


@one_variant
def test_another_order_of_classes_gives_the_same_scores(
    model_dir: Path, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_data(tmp_path / "data", ("row_2", "row_0", "row_1"))
    scored, _ = evaluated(model_dir, data, capsys)
    usual, _ = evaluated(model_dir, data_dir, capsys)
    assert scored["accuracy"] == pytest.approx(usual["accuracy"], abs=0.1)
    assert [report["class_name"] for report in scored["per_class"]] == list(NAMES)  # type: ignore[attr-defined]
    assert scored.keys() == usual.keys()
    assert (scored["missing_classes"], scored["unknown_classes"]) == ([], {})


@one_variant
@pytest.mark.parametrize("order", [("row_2", "row_0"), NAMES])
def test_a_missing_class_is_named_and_the_others_scored(
    order: tuple[str, ...], model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scored, said = evaluated(model_dir, write_data(tmp_path, order, keep=("row_0", "row_2")), capsys)
    assert scored["missing_classes"] == ["row_1"]
    assert (scored["n"], scored["accuracy"]) == (60, pytest.approx(1, abs=0.1))
    counts = {report["class_name"]: (report["n"] > 0, report["accuracy"] is None) for report in scored["per_class"]}  # type: ignore[attr-defined]
    assert counts == {"row_0": (True, False), "row_1": (False, True), "row_2": (True, False)}
    assert "not scored, without images: row_1" in said


@one_variant
def test_classes_that_the_model_does_not_know_are_counted_and_not_scored(
    model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_data(tmp_path, ("fox", "row_2", "owl", "row_1", "row_0"))
    scored, said = evaluated(model_dir, data, capsys)
    counts = DataDirectory(data).index.splits["test"].class_counts
    assert scored["unknown_classes"] == {"fox": counts["fox"], "owl": counts["owl"]}
    assert scored["n"] == 60 - counts["fox"] - counts["owl"]
    assert scored["accuracy"] == pytest.approx(1, abs=0.1)
    unknown = f"fox ({counts['fox']}), owl ({counts['owl']})"
    assert f"images of classes that the model does not know: {unknown}" in said


@one_variant
def test_parity_report_and_pictures_take_such_data(
    model_dir: Path, export_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_data(tmp_path / "data", ("fox", "row_2", "row_0"))
    model, export = (Path(shutil.copytree(path, tmp_path / path.name)) for path in (model_dir, export_dir))
    flags = ["--data", str(data)]
    assert run(["parity", "--export", str(export), *flags, "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["accuracy"] == pytest.approx(1, abs=0.1)
    assert "not scored: 60 images" not in printed.err
    assert "classes that the model does not know: fox (" in printed.err
    page = tmp_path / "report.html"
    assert run(["report", "--model", str(model), *flags, "--output", str(page)]) == 0
    text = page.read_text()
    assert "Not scored on validation, without images: row_1." in text
    assert "images of classes that the model does not know: fox (" in text
    assert "classes that the model does not know: fox (" in capsys.readouterr().out
    assert run(["visualize", "--model", str(model), *flags]) == 0
    assert "classes that the model does not know: fox (" in capsys.readouterr().out


@one_variant
def test_a_split_of_unknown_classes_alone_is_one_line(model_dir: Path, data_dir: Path) -> None:
    model, data = load_model(model_dir), DataDirectory(data_dir)
    split = data.load("test")
    with refused("the test split has no labels of the model's classes to compare with"):
        evaluate(model, Split(split.images, np.full(len(split), -1)), "test", unknown={"fox": 60})
    assert unknown_classes(model, data, "test") == {}
    np.testing.assert_array_equal(load_for(model, data, "test").labels, split.labels)


def test_no_class_in_common_is_refused_and_data_without_labels_is_not() -> None:
    with refused("the model's classes are a, b; the data's are c; give data with classes of the model"):
        match_classes(("a", "b"), ("c",))
    with refused("the model with these data has the classes 'A' and 'a', which read alike"):
        match_classes(("a", "b"), ("A", "b"))
    with refused(r"'cafe\u0301' and 'caf\xe9', which read alike"):
        match_classes(("caf\xe9", "b"), ("cafe\u0301", "b"))
    split = Split(np.zeros((2, 1, 1, 1), np.uint8), np.array([-1, -1]))
    assert match_classes(("a", "b"), ()).relabel(split).labels.tolist() == [-1, -1]
    assert match_classes(("a", "b"), ()).unknown(split) == {}
    assert listed([str(n) for n in range(14)]).endswith("10, 11 and 2 more")
