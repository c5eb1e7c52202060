"""The page of results, from made-up ones."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import typer
from conftest import REPOSITORY, tiny_source
from scripts import imported

from aae_toolkit.cli.app import run
from aae_toolkit.config import VARIANTS, auto, load_config
from aae_toolkit.data.directory import DataDirectory, write_data_directory
from aae_toolkit.data.split import SPLITS
from aae_toolkit.machine.environment import describe_environment

BENCHMARKS = REPOSITORY / "benchmarks"
MODULES = ("tables", "feature_page", "rows", "ablations", "methods", "results_page", "accuracy", "baselines")
pytestmark = pytest.mark.skipif(not BENCHMARKS.exists(), reason="the source distribution is without benchmarks")


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    """The modules, imported as by a script that is started."""
    with imported(BENCHMARKS, MODULES) as found:
        yield found


@pytest.fixture(scope="module")
def accuracy(modules: dict[str, ModuleType]) -> ModuleType:
    """The page and what it is made of."""
    return modules["results_page"]


@pytest.fixture
def rows(accuracy: ModuleType, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Three rows, of a configuration that is there."""
    found = [
        accuracy.Row("good", "a good one", "semi_supervised", "seed", 97.5, 20),
        accuracy.Row("bad", "a bad one", "unsupervised", "seed", 98.9, 10, seeds=5, one_to_one=True),
        accuracy.Row("new", "a new one", "semi_supervised", "seed", 97.0, 2, source="digits", labeled=100),
    ]
    monkeypatch.setattr(accuracy, "ROWS", found)
    return {row.name: row for row in found}


def a_result(row: Any, found: float, minutes: float | None = 5.0, *, without: Any = None) -> dict[str, Any]:
    """Result of a run; `without` is an ablation."""
    config = row.config_for({})
    version = sys.modules["rows"].checksum(without.of(config) if without else config)
    kept = {"config_sha256": version, "minutes": minutes, "environment": describe_environment()}
    return {"accuracy": found, "validation_accuracy": found - 0.5} | kept


def lines_of(page: str) -> dict[str, str]:
    """Lines of all tables by their first cell; the first table that has it counts."""
    cells = [line.split("|") for line in page.splitlines() if line.startswith("|")]
    return {line[1].strip(): "|".join(line[2:]) for line in reversed(cells)}


def test_a_row_shows_mean_spread_number_of_runs_and_longest_minutes(accuracy: ModuleType, rows: dict[str, Any]) -> None:
    runs = {"0": a_result(rows["good"], 98.0), "1": a_result(rows["good"], 98.4, 7.25)}
    page = accuracy.page({"good": runs})
    line = lines_of(page)["a good one"]
    assert [cell.strip() for cell in line.split("|")][:4] == ["97.5", "98.20 ± 0.28", "2", "7.2 at most (20)"]
    assert "0: 98.00 (97.50) in 5.0 min on A, 1: 98.40 (97.90) in 7.2 min on A" in page
    assert "**below**" not in page
    assert "**over**" not in page


def test_runs_beside_other_work_count_but_are_not_timed(accuracy: ModuleType, rows: dict[str, Any]) -> None:
    untimed = a_result(rows["good"], 98.4, None)
    assert "| 98.40 | 1 | (20) |" in lines_of(accuracy.page({"good": {"1": untimed}}))["a good one"]
    page = accuracy.page({"good": {"0": a_result(rows["good"], 98.0), "1": untimed}})
    assert "| 2 | 5.0 at most (20) |" in lines_of(page)["a good one"]
    assert "0: 98.00 (97.50) in 5.0 min on A, 1: 98.40 (97.90) on A" in page


def test_one_run_has_no_spread(accuracy: ModuleType, rows: dict[str, Any]) -> None:
    line = lines_of(accuracy.page({"good": {"0": a_result(rows["good"], 97.5)}}))["a good one"]
    assert "| 97.50 | 1 |" in line


@pytest.mark.parametrize(
    ("found", "minutes", "marks"),
    [
        ([99.0, 98.9], 10, []),
        ([99.0, 98.7], 1, ["**below**"]),
        ([99.0, 99.1], 10.5, ["**over**"]),
        ([98.899, 98.9], 11, ["**below**", "**over**"]),
    ],
)
def test_a_missed_target_and_a_passed_limit_are_marked(
    found: list[float], minutes: float, marks: list[str], accuracy: ModuleType, rows: dict[str, Any]
) -> None:
    runs = {str(seed): a_result(rows["bad"], value, minutes) for seed, value in enumerate(found)}
    page = accuracy.page({"bad": runs, "good": {"0": a_result(rows["good"], 98.0)}})
    lines = lines_of(page)
    assert [mark for mark in ("**below**", "**over**") if mark in lines["a bad one"]] == marks
    assert "**" not in lines["a good one"]


def test_what_has_not_been_run_says_so(accuracy: ModuleType, rows: dict[str, Any]) -> None:
    lines = lines_of(accuracy.page({"good": {"0": a_result(rows["good"], 98.0)}}))
    assert "97.0 | not run | 0 | (2) |" in lines["a new one"]
    assert "98.9 | not run | 0 | (10) |" in lines["a bad one"]
    assert "not run" not in lines["a good one"]
    assert accuracy.page({}).count("not run") == 3


def test_a_row_without_a_target_is_never_below_it(accuracy: ModuleType, rows: dict[str, Any]) -> None:
    row = accuracy.Row("letters", "letters", "semi_supervised", "seed", None, 10, 1, "glyphs")
    accuracy.ROWS.append(row)
    assert "not run" in lines_of(accuracy.page({}))["letters"]
    page = accuracy.page({"letters": {"0": a_result(row, 12.0)}})
    assert lines_of(page)["letters"].startswith("  | 12.00 | 1 |")
    assert "python benchmarks/glyphs.py --output glyphs" in page
    assert "--raw-dir glyphs" in page


def test_the_page_names_each_machine_once_and_what_ran_on_which(accuracy: ModuleType, rows: dict[str, Any]) -> None:
    runs = {seed: a_result(rows["good"], 98.0) for seed in ("10", "2", "0")}
    runs["10"]["environment"] |= {"cores": 1}
    page = accuracy.page({"good": runs})
    assert page.count(f"Python {describe_environment()['python']}") == 2
    assert re.search(r"0: \S+ \S+ in 5.0 min on A, 2: \S+ \S+ in 5.0 min on A, 10: \S+ \S+ in 5.0 min on B", page)
    assert re.search(r"- B: .*, 1 core, ", page)


def test_every_row_names_a_shipped_configuration_with_its_variant(accuracy: ModuleType) -> None:
    assert len({row.name for row in accuracy.ROWS}) == len(accuracy.ROWS)
    assert not {row.name for row in accuracy.ROWS} & {"baselines", "ablations", "rows"}
    assert {row.variant for row in accuracy.ROWS} == set(VARIANTS)
    for row in accuracy.ROWS:
        assert row.config == "auto" or load_config(row.config, row.variant).variant == row.variant


def test_the_commands_are_those_of_the_command_line(accuracy: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    for row in accuracy.ROWS:
        for command in row.commands(3):
            flags = [word for word in command if word.startswith("--")]
            assert "--seed" in flags
            assert run([*command[: 2 if command[0] == "train" else 1], "--help"]) == 0
            shown = capsys.readouterr().out
            assert all(flag in shown for flag in flags)


def baseline_of(modules: dict[str, ModuleType], name: str, *accuracies: float, labels: int = 7) -> dict[str, Any]:
    known = modules["methods"].baselines_for(modules["rows"].Task("mnist", labels))[name]
    return {name: {"settings": known.settings, "accuracy": {str(i): value for i, value in enumerate(accuracies)}}}


def test_a_row_stands_beside_its_best_baseline_and_published_accuracies(
    accuracy: ModuleType, rows: dict[str, Any], modules: dict[str, ModuleType]
) -> None:
    few = accuracy.Row("few", "few", "semi_supervised", "seed", None, 9, labeled=7, aae_paper="98.4 [1]")
    accuracy.ROWS.append(few)
    svm = baseline_of(modules, "svm-pixels", 80.0, 81.0, 79.0)
    measured = svm | baseline_of(modules, "nearest-gradients", 90.0, 60.0)
    results: dict[str, Any] = {"baselines": {"mnist-7": measured}}
    assert lines_of(accuracy.page(results))["few"].endswith("| 80.00 ± 1.00 (SVM on pixels) |  | 98.4 [1] |  |")
    results["few"] = {"0": a_result(few, 82.5)}
    page = accuracy.page(results)
    assert "| 82.50 | 1 |" in lines_of(page)["few"]
    assert lines_of(page)["few"].endswith("| 80.00 ± 1.00 (SVM on pixels) | +2.50 | 98.4 [1] |  |")
    assert lines_of(page)["SVM on pixels"].split("|")[0].strip() == "**80.00 ± 1.00**"
    assert "| nearest neighbour on gradients | 75.00 ± 21.21 (n = 2) |" in page
    assert "## MNIST" in page
    assert "## Digits" not in page
    svm["svm-pixels"]["settings"] = "other settings"
    assert lines_of(accuracy.page({"baselines": {"mnist-7": svm}}))["few"].endswith("(9) |  |  | 98.4 [1] |  |")


def test_clusters_stand_beside_baselines_with_the_same_number_and_naming_of_categories(
    accuracy: ModuleType, rows: dict[str, Any], modules: dict[str, ModuleType]
) -> None:
    few, many = (baseline_of(modules, "k-means-pixels", value, labels=0) for value in (53.0, 67.0))
    page = accuracy.page({"baselines": {"mnist-k10-one-to-one": few, "mnist-k10-majority": many}})
    assert "| 53.00 (k-means on pixels, n = 1) |" in lines_of(page)["a bad one"]
    assert "no labels, K = 10, one-to-one (n = 5)" in page


def test_a_row_stands_beside_its_ablations(
    accuracy: ModuleType, rows: dict[str, Any], modules: dict[str, ModuleType]
) -> None:
    row = accuracy.Row("full", "in full", "semi_supervised", "labels-100", None, 9, labeled=100)
    accuracy.ROWS.append(row)
    assert "| ablation, % |" not in accuracy.page({"full": {"0": a_result(row, 99.0)}})
    alone = a_result(row, 88.0, without=accuracy.ABLATIONS["labels-alone"])
    old = a_result(row, 1.0)
    measured = {"labels-alone": {"0": alone, "1": alone | {"accuracy": 90.0}}, "no-terms": {"0": old}}
    page = accuracy.page({"full": {"0": a_result(row, 99.0)}, "ablations": {"full": measured}})
    titles = "| ablation, % | ours | labels alone | without the autoencoder | without the terms on y |"
    assert titles in page
    assert "| in full | 99.00 (n = 1) | 89.00 ± 1.41 (n = 2) | not run | not run |" in page
    assert "| a bad one | not run |  |  |  |" in page  # it has neither labels nor terms on y


def test_ablations_take_parts_away(modules: dict[str, ModuleType], accuracy: ModuleType) -> None:
    ablations = modules["ablations"]
    assert {
        row.name: list(ablations.ablations_of(row)) for row in accuracy.ROWS if row.name in ("seed", "clusters-10")
    } == {
        "seed": ["labels-alone"],
        "clusters-10": ["no-autoencoder", "no-terms"],
    }
    for row in accuracy.ROWS:
        config = None if row.config == "auto" else load_config(row.config, row.variant)
        for name, ablation in ablations.ablations_of(row).items():
            if config is None:
                continue
            derived = ablation.of(config)
            assert derived.training.use_autoencoder == (name == "no-terms")
            assert derived.consistency.is_on == (name == "no-autoencoder")
            assert derived.consistency.augmentation == config.consistency.augmentation
            assert derived.model == config.model


def test_a_row_of_rules_has_a_checksum_a_task_and_commands(accuracy: ModuleType) -> None:
    row = accuracy.Row("auto", "auto", "unsupervised", "auto", None, 10, source="photos", one_to_one=True, n_classes=5)
    assert row.task.name == "photos-k5-one-to-one"
    assert dataclasses.replace(row, source="mnist", n_classes=None).task.name == "mnist-k10-one-to-one"
    split, training = row.commands(3)
    assert {"folder", "RAW", "32", "3"} <= set(split)
    assert training[-5:] == ["--n-classes", "5", "--seed", "3", "--resume"]


def test_a_run_of_rules_counts_as_long_as_they_choose_the_same(
    modules: dict[str, ModuleType], accuracy: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = accuracy.Row("auto", "auto", "semi_supervised", "auto", None, 10, labeled=10)
    facts = dataclasses.asdict(auto.Facts((1, 28, 28), 1000, 10, 1, (0.5, 0.5), 0.5, {"horizontal_flip": 0.9}))
    result = json.loads(json.dumps({"facts": facts, "accuracy": 90.0}))  # as it is read again
    result["config_sha256"] = modules["rows"].checksum(row.config_for(result))
    rows_facts = {"facts": {"n_samples": 300, "n_features": 1280, "n_labeled": 10, "are_embeddings": True}}
    assert row.config_for(rows_facts).model.encoder == "mlp"
    alone = accuracy.ABLATIONS["labels-alone"]
    ablated = result | {"config_sha256": modules["rows"].checksum(alone.of(row.config_for(result)))}
    assert row.is_current(result)
    assert alone.is_current(row, ablated)
    assert not row.is_current(ablated)
    monkeypatch.setattr(auto, "_STEPS", 100)
    assert not row.is_current(result)
    assert not alone.is_current(row, ablated)
    assert not row.is_current({})


def test_every_baseline_labels_the_test_images(
    modules: dict[str, ModuleType], data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods, data = modules["methods"], DataDirectory(data_dir)
    test, labels = data.load("test").labels, {name: data.load(name).labels for name in ("train_labeled", "validation")}
    monkeypatch.setattr(methods, "_NEIGHBORS", 5)
    scores = {}
    for labeled in (9, 0):
        task = modules["rows"].Task("mnist", labeled)
        for name, baseline in methods.baselines_for(task).items():
            problem = methods.Problem(methods.describe(data, baseline.features), labels, 3, False, 0)
            found = baseline.method(problem)
            assert found.shape == test.shape
            scores[name] = float((found == test).mean())
    assert {"k-means-gradients", "self-training-pixels"} <= scores.keys()
    assert scores["largest-class"] < 0.5
    assert min(scores["svm-pixels"], scores["nearest-pixels"], scores["spreading-pixels"]) > 0.8


def test_embeddings_in_the_data_directory_and_colours_are_features(
    modules: dict[str, ModuleType], data_dir: Path, tmp_path: Path
) -> None:
    methods = modules["methods"]
    shutil.copytree(data_dir, tmp_path / "data")
    data = DataDirectory(tmp_path / "data")
    np.savez(data.path / methods.EMBEDDINGS, **{name: np.ones((data.size(name), 2)) for name in SPLITS})
    assert methods.describe(data, "embeddings")["test"].shape == (data.size("test"), 2)
    write_data_directory(tmp_path / "colour", tiny_source(channels=3), None, 30, 30, 0)
    colourful = DataDirectory(tmp_path / "colour")
    histograms = methods.describe(colourful, "colours")["test"]
    assert histograms.shape == (colourful.size("test"), 64)
    data_sets = modules["rows"].DATA_SETS.values()
    assert {name for one in data_sets for name in one.features} <= set(methods.FEATURES)
    assert np.allclose((histograms**2).sum(axis=1), 1)


@pytest.fixture
def docs(modules: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory that results go to."""
    monkeypatch.setattr(modules["results_page"], "DOCS", tmp_path)
    return tmp_path


def test_baselines_are_measured_once(
    modules: dict[str, ModuleType], docs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measure = modules["baselines"].main
    flags: dict[str, Any] = {"raw_dir": docs, "photos_dir": None, "work_dir": docs}
    measure(**flags, rows="digits-100", only="largest-class,svm-pixels", again=False)
    recorded = json.loads((docs / "results.json").read_text())["baselines"]["digits-100"]
    assert {name: sorted(found["accuracy"]) for name, found in recorded.items()} == {
        "largest-class": ["0", "1", "2"],
        "svm-pixels": ["0", "1", "2"],
    }
    assert all(88 < accuracy < 100 for accuracy in recorded["svm-pixels"]["accuracy"].values())
    assert "SVM on pixels" in (docs / "results.md").read_text()
    capsys.readouterr()
    for again, lines in ((False, 0), (True, 3)):
        measure(**flags, rows="digits-100", only="largest-class", again=again)
        assert len(capsys.readouterr().out.splitlines()) == lines
    measure(**flags, rows="photos-50", only="", again=False)
    assert capsys.readouterr().out == 5 * "photos-50: skipped without --photos-dir\n"
    for names in ({"rows": "digits-7", "only": ""}, {"rows": "", "only": "oracle"}):
        with pytest.raises(typer.BadParameter, match=r"unknown: (digits-7|oracle); known: "):
            measure(**flags, **names, again=False)


def test_ablations_are_runs_of_a_derived_configuration(
    modules: dict[str, ModuleType], docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracy, trained = modules["accuracy"], []

    def pretend(row: Any, seed: int, directory: Path, raw_dir: Path, *, timed: bool) -> dict[str, Any]:
        config = load_config(row.config, row.variant)
        trained.append((config.training.use_autoencoder, config.consistency.is_on))
        assert row.commands(seed, str(directory))[1][5].endswith("derived.yaml")
        return a_result(row, 50.0)

    monkeypatch.setattr(accuracy, "run", pretend)
    flags: dict[str, Any] = {"raw_dir": docs, "photos_dir": None, "work_dir": docs / "work"}
    for _ in range(2):  # the second time all are recorded
        accuracy.main(**flags, rows="labels-100", seeds="1", ablations="all")
    assert trained == [(False, False), (False, True), (True, False)]
    recorded = json.loads((docs / "results.json").read_text())["ablations"]["labels-100"]
    assert {name: list(runs) for name, runs in recorded.items()} == {
        name: ["1"] for name in ("labels-alone", "no-autoencoder", "no-terms")
    }
    page = (docs / "results.md").read_text()
    assert "| 100 labels | not run | 50.00 (n = 1) | 50.00 (n = 1) | 50.00 (n = 1) |" in page


def test_ablations_of_rules_need_the_row_itself(
    modules: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracy = modules["accuracy"]
    row = modules["rows"].Row("auto-mnist-100", "auto", "semi_supervised", "auto", None, 10, labeled=100)
    monkeypatch.setattr(accuracy, "read_results", dict)
    with pytest.raises(SystemExit, match="settings of auto-mnist-100, seed 0, are not known; measure that row first"):
        accuracy.measure_ablation("labels-alone", row, 0, tmp_path, tmp_path)


def test_categories_are_named_by_majority_or_one_to_one(modules: dict[str, ModuleType]) -> None:
    table = np.array([[9, 8, 0], [1, 5, 0], [0, 0, 3]])
    name = modules["methods"].name_categories
    assert name(table, one_to_one=False).tolist() == [0, 0, 2]
    assert name(table, one_to_one=True).tolist() == [0, 1, 2]


def test_the_page_of_results_is_written_from_them(accuracy: ModuleType) -> None:
    results = json.loads((REPOSITORY / "docs" / "results.json").read_text())
    assert (REPOSITORY / "docs" / "results.md").read_text() == accuracy.page(results)


def test_the_readme_repeats_the_page_of_results(accuracy: ModuleType) -> None:
    page = lines_of(accuracy.page(json.loads((REPOSITORY / "docs" / "results.json").read_text())))
    shown = re.findall(r"^\| `(\S+)` \|[^|]*\| (.*) \|$", (REPOSITORY / "README.md").read_text(), re.M)
    by_name = {row.name: row for row in accuracy.ROWS}
    assert [name for name, _ in shown] == [name for name in by_name if name in dict(shown)]
    assert len(shown) >= 4
    for name, cells in shown:
        _, mean, n, _, baseline, _, *published, _ = (cell.strip() for cell in page[by_name[name].title].split("|"))
        references = (re.sub(r" \[.*", "", cell) for cell in published)
        expected = [mean.removesuffix(", **below**"), n, baseline, *references]
        assert [cell.strip() for cell in cells.split("|")] == expected, name
