"""Simple methods beside a model: what they score, and what is said of the model beside them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_source
from exports import one_variant

from aae_toolkit.cli.app import run
from aae_toolkit.data.directory import DataDirectory, write_data_directory
from aae_toolkit.data.split import Split
from aae_toolkit.evaluation import Evaluation, baselines, evaluate, load_for, score
from aae_toolkit.evaluation.baselines import Scored, score_baselines
from aae_toolkit.models.directory import TrainedModel, load_model


def scored_beside(model_dir: Path, data_dir: Path, right: float, **changes: object) -> dict[str, object]:
    """The baselines of a model that labels this share of the test images right, by name."""
    model, data = load_model(model_dir), DataDirectory(data_dir)
    model = dataclasses.replace(model, description=model.description.model_copy(update=changes))
    split = load_for(model, data, "test")
    predicted = np.where(np.arange(len(split)) < right * len(split), split.labels, (split.labels + 1) % 3)
    found = score_baselines(model, data, Scored(split, "test", predicted))
    return {baseline.name: baseline for baseline in found.scored} | {"left_out": found.left_out}


@one_variant
def test_logistic_regression_learns_from_the_labels_that_the_model_had(model_dir: Path, data_dir: Path) -> None:
    found = scored_beside(model_dir, data_dir, 1)
    regression, largest = found["logistic_regression"], found["largest_class"]
    assert (regression.n_fitted, regression.n_available, regression.basis) == (30, 30, "the same 30 labels")
    assert regression.accuracy == regression.balanced_accuracy == 1  # the tiny task is linear
    assert largest.accuracy == largest.balanced_accuracy == pytest.approx(1 / 3)
    assert largest.title == "always the largest class (row_0)"
    assert (largest.standing, largest.p_value < 0.001) == ("better", True)
    assert (found["left_out"], regression.standing) == ([], "not better")  # as accurate is not better
    assert regression.verdict == "Not better than logistic regression on the pixels: 100.00% against 100.00%."


@one_variant
@pytest.mark.parametrize(
    ("right", "standing", "words"),
    [
        (0.2, "not better", "Not better than always the largest class (row_0): 20.00% against 33.33%"),
        (
            0.4,
            "unclear",
            "Not clearly better than always the largest class (row_0): 40.00% against 33.33%; on 60 images",
        ),
        (0.9, "better", "Better than always the largest class (row_0): 90.00% against 33.33%."),
    ],
)
def test_a_model_is_better_only_where_chance_does_not_explain_it(
    right: float, standing: str, words: str, model_dir: Path, data_dir: Path
) -> None:
    largest = scored_beside(model_dir, data_dir, right)["largest_class"]
    assert largest.standing == standing
    assert words in largest.verdict


@one_variant
def test_many_labels_are_thinned_and_that_is_said(
    model_dir: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "_REGRESSION_COST", 36 * 3 * 12)  # 12 images of 36 pixels, 3 classes
    regression = scored_beside(model_dir, data_dir, 1)["logistic_regression"]
    assert (regression.n_fitted, regression.n_available) == (12, 30)
    assert regression.basis == "12 of the same 30 labels, to save time"


@pytest.mark.parametrize("variant", ["unsupervised"], indirect=True, scope="session")
def test_without_labels_k_means_is_named_by_validation_images(
    model_dir: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    means = scored_beside(model_dir, data_dir, 1)["k_means"]
    assert means.basis == "the same 120 training images; 4 clusters named by validation images"
    assert means.accuracy > 0.6
    monkeypatch.setattr(baselines, "_MEANS_COST", 36 * 4 * 40)
    means = scored_beside(model_dir, data_dir, 1)["k_means"]
    assert means.basis.startswith("40 of the same 120 training images, to save time; 4 clusters")


@pytest.mark.parametrize("variant", ["unsupervised"], indirect=True, scope="session")
def test_k_means_needs_no_labelled_training_image(model_dir: Path, tmp_path: Path) -> None:
    write_data_directory(tmp_path, tiny_source(), 0, 60, 60, seed=0)
    means = scored_beside(model_dir, tmp_path, 1)["k_means"]
    assert means.basis == "the same 120 training images; 4 clusters named by validation images"


def data_of(path: Path, **changes: object) -> DataDirectory:
    write_data_directory(path, dataclasses.replace(tiny_source(), **changes), 30, 60, 60, seed=0)
    return DataDirectory(path)


def test_a_split_without_images_has_no_rows() -> None:
    empty = Split(np.zeros((0, 1, 6, 6), dtype=np.uint8), np.zeros(0, dtype=np.int64))
    assert baselines._rows(empty).shape == (0, 36)


@one_variant
def test_what_cannot_be_fitted_is_said(model_dir: Path, tmp_path: Path) -> None:
    write_data_directory(tmp_path, tiny_source(), 0, 60, 60, seed=0)
    found = scored_beside(model_dir, tmp_path, 1)
    assert found["left_out"] == [
        f"no logistic regression beside the model: of the training images of {tmp_path}, none has a label"
    ]
    assert found["largest_class"].standing == "better"
    assert "logistic_regression" not in found


@one_variant
def test_few_images_of_many_clusters_leave_k_means_out(model_dir: Path, data_dir: Path) -> None:
    """A description of an unsupervised model with more categories than there are training images."""
    model = load_model(model_dir)
    architecture = model.architecture.model_copy(update={"n_classes": 500})
    found = scored_beside(model_dir, data_dir, 1, variant="unsupervised", architecture=architecture)
    assert found["left_out"] == [f"no k-means beside the model: there are too few images in {data_dir}"]


def test_a_model_with_a_backbone_needs_embeddings_for_its_baselines(model_dir: Path, data_dir: Path) -> None:
    model = load_model(model_dir)
    data = DataDirectory(data_dir)
    split = load_for(model, data, "test")

    class Architecture:
        backbone, n_classes = "one", 3

    class Model:
        description, architecture = model.description, Architecture

    found = score_baselines(Model, data, Scored(split, "test", split.labels))  # type: ignore[arg-type]
    assert [baseline.name for baseline in found.scored] == ["largest_class"]
    (left_out,) = found.left_out
    assert "holds no embeddings of the model's backbone; make them with aae init-datasets --backbone" in left_out


def evaluation_of(confused: list[tuple[int, int, int]], mapping: tuple[int, ...], names: tuple[str, ...]) -> Evaluation:
    """Scores of images given as (class, category, number)."""
    labels = np.concatenate([np.full(n, c) for c, _, n in confused])
    categories = np.concatenate([np.full(n, k) for _, k, n in confused])
    y = np.eye(len(mapping), dtype=np.float32)[categories]
    return score(y, labels, mapping, names, "unsupervised", "validation")


def test_a_class_is_reported_with_its_own_accuracy_and_most_frequent_confusion() -> None:
    """Ten of 16 images of `town` in the category of `animals` are errors, not 62.5%."""
    counts = [(0, 0, 20), (1, 0, 10), (1, 1, 3), (1, 2, 3), (2, 2, 5)]
    town = evaluation_of(counts, (0, 1, 2), ("animals", "town", "food")).per_class[1]
    assert (town.accuracy, town.confused_with, town.n_confused) == (3 / 16, "animals", 10)
    animals = evaluation_of(counts, (0, 1, 2), ("animals", "town", "food")).per_class[0]
    assert (animals.accuracy, animals.confused_with, animals.n_confused) == (1, None, 0)


def test_a_category_is_reported_with_the_class_that_it_stands_for() -> None:
    scored = evaluation_of([(0, 0, 6), (1, 0, 2), (1, 1, 4)], (0, 1, 1), ("a", "b"))
    found = [(report.class_name, report.n, report.accuracy) for report in scored.per_category]
    assert found == [("a", 8, 0.75), ("b", 4, 1.0), ("b", 0, None)]
    assert scored.per_class[1].confused_with == "a"


def test_evaluate_prints_classes_baselines_and_what_the_model_is_not_better_than(
    model_dir: Path, data_dir: Path, variant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--model", str(model_dir), "--data", str(data_dir), "--split", "test"]
    assert run(["evaluate", *flags]) == 0
    shown = capsys.readouterr().out
    assert "Best matching label" not in shown
    for cell in ("most often mistaken for", "this model", "always the largest class (row_0)", "balanced accuracy"):
        assert cell in shown
    expected = "logistic regression" if variant == "semi_supervised" else "k-means"
    assert f"{expected} on the pixels" in shown
    assert ("4 categories, and the class that each stands for" in shown) == (variant == "unsupervised")
    assert run(["evaluate", *flags, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert [baseline["name"] for baseline in scores["baselines"]] == [
        "largest_class",
        "logistic_regression" if variant == "semi_supervised" else "k_means",
    ]
    for baseline in scores["baselines"]:
        assert (baseline["verdict"] in shown) == (baseline["standing"] != "better")
    assert scores["no_baselines"] == []
    assert len(scores["per_category"]) == (3 if variant == "semi_supervised" else 4)


@one_variant
def test_class_names_are_printed_as_they_are_and_not_taken_for_markup(
    model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("[red]a[/red]", "[/]", "row_2")
    model = shutil.copytree(model_dir, tmp_path / "model")
    described = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps(described | {"class_names": names}))
    data_of(tmp_path / "data", class_names=names)
    assert run(["evaluate", "--model", str(model), "--data", str(tmp_path / "data")]) == 0
    shown = capsys.readouterr().out
    assert "[red]a[/red]" in shown
    assert "[/]" in shown


@one_variant
def test_evaluate_of_arrays_in_memory_has_no_baselines(model_dir: Path, data_dir: Path) -> None:
    model: TrainedModel = load_model(model_dir)
    split: Split = load_for(model, DataDirectory(data_dir), "test")
    assert evaluate(model, split, "test").baselines == []
