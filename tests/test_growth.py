"""The measurement of growth: its cells, its images, and the page made of its results."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import typer
import yaml
from conftest import REPOSITORY
from scripts import imported

from aae_toolkit.config import SemiSupervisedConfig
from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.machine.environment import describe_environment

BENCHMARKS = REPOSITORY / "benchmarks"
MODULES = (
    "rows",
    "ablations",
    "methods",
    "results_page",
    "glyphs",
    "many_glyphs",
    "growth_steps",
    "growth_page",
    "growth",
)
pytestmark = pytest.mark.skipif(not BENCHMARKS.exists(), reason="the source distribution is without benchmarks")


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    """The modules, imported as by a script that is started."""
    with imported(BENCHMARKS, MODULES) as found:
        yield found


@pytest.fixture
def growth(modules: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(modules["growth"], "RESULTS", tmp_path / "growth.json")
    monkeypatch.setattr(modules["growth_page"], "write_page", lambda results: None)
    return modules["growth"]


def a_result(seconds: float, *, preliminary: bool = False) -> dict[str, Any]:
    step = {"seconds": seconds, "cpu_seconds": seconds / 2, "peak_mib": 300.0}
    steps = ("init-datasets", "facts", "neighbours", "train", "evaluate", "visualize", "predict")
    return {
        "steps": dict.fromkeys(steps, step),
        "images_mib": 7.5,
        "checkpoint_mib": 0.3,
        "environment": describe_environment(),
        "preliminary": preliminary,
    }


def test_cells_are_chosen_by_name_and_all_without_one(growth: ModuleType) -> None:
    assert len(growth.cells_named("")) == 27
    assert growth.cells_named("100000/10/28,10000/1000/224") == [(10**5, 10, 28), (10**4, 1000, 224)]
    with pytest.raises(typer.BadParameter, match="no cell is named 5/10/28; choose from 10000/10/28, "):
        growth.cells_named("10000/10/28,5/10/28")


def test_cells_too_large_for_disk_or_memory_are_left_out_with_the_reason(growth: ModuleType) -> None:
    assert growth.Cell(10**6, 10, 28).left_out(10, 8) is None
    assert growth.Cell(10**6, 10, 224).left_out(10, 8) == "the images take 47 GiB"
    assert growth.Cell(10**6, 1000, 28).left_out(10, 8) == "the probabilities of all images take 19 GiB in training"


def test_only_cells_that_are_not_recorded_are_measured(growth: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    run: list[str] = []
    monkeypatch.setattr(growth, "run_cell", lambda cell, directory: run.append(cell.name) or a_result(1))
    growth.RESULTS.write_text(json.dumps({"10000/10/28": a_result(2)}))
    options = {"work_dir": None, "disk_gib": 10, "memory_gib": 8, "preliminary": True}
    growth.main("10000/10/28,10000/10/64,1000000/10/224", again=False, **options)
    results = json.loads(growth.RESULTS.read_text())
    assert run == ["10000/10/64"]
    assert results["10000/10/28"]["steps"]["train"]["seconds"] == 2
    assert results["10000/10/64"]["preliminary"]
    assert results["1000000/10/224"] == {"left_out": "the images take 47 GiB"}
    growth.main("10000/10/28", again=True, **options)
    assert run == ["10000/10/64", "10000/10/28"]


def test_time_and_memory_are_of_the_process(growth: ModuleType, tmp_path: Path) -> None:
    code = "import time; x = bytearray(200 << 20); time.sleep(0.2)"
    with (tmp_path / "log").open("w") as log:
        measured = growth.measure([sys.executable, "-c", code], log)
        assert measured["peak_mib"] > 200  # at least that of the process that starts it
        assert measured["seconds"] >= 0.2
        with pytest.raises(Exception, match="exit status 3"):
            growth.measure([sys.executable, "-c", "raise SystemExit(3)"], log)


def test_the_configuration_is_valid(growth: ModuleType) -> None:
    SemiSupervisedConfig.model_validate(yaml.safe_load(growth.CONFIG)["semi_supervised"])


def test_drawn_images_are_split_with_labels_of_each_class(modules: dict[str, ModuleType], tmp_path: Path) -> None:
    steps = modules["growth_steps"]
    steps.draw(tmp_path, 2000, 20, 28)
    steps.init_datasets(tmp_path)
    data = DataDirectory(tmp_path / "data")
    assert [data.size(name) for name in ("train_labeled", "train_unlabeled", "validation", "test")] == [
        200,
        1600,
        200,
        0,
    ]
    assert np.bincount(data.load("train_labeled").labels).tolist() == [10] * 20
    assert len(list((tmp_path / "files").glob("*.png"))) == steps.N_FILES
    assert steps.n_labeled(10_000, 1000) == 2000


def test_letters_are_as_many_as_classes_and_alike_within_a_class(
    modules: dict[str, ModuleType], tmp_path: Path
) -> None:
    glyphs = modules["many_glyphs"]
    assert len(set(glyphs.letters(1000))) == 1000
    assert glyphs.letters(3) == ["A", "B", "C"]
    with pytest.raises(ValueError, match=r"the fonts share \d+ letters; 100000 are asked for"):
        glyphs.letters(100_000)
    labels = glyphs.draw_many(tmp_path / "a.npy", 1500, 3, 20)
    images = np.load(tmp_path / "a.npy")
    assert images.shape == (1500, 1, 20, 20)
    assert images.dtype == np.uint8
    assert sorted(np.unique(labels)) == [0, 1, 2]
    assert np.array_equal(glyphs.draw_many(tmp_path / "b.npy", 1500, 3, 20), labels)
    assert np.array_equal(np.load(tmp_path / "b.npy"), images)
    means = np.stack([images[labels == c].mean(axis=0) for c in range(3)]).reshape(3, -1)
    nearest = np.square(images.reshape(1500, 1, -1) - means).sum(axis=2).argmin(axis=1)
    assert (nearest == labels).mean() > 0.6


def test_the_page_has_a_row_a_cell_and_says_what_is_preliminary_and_left_out(
    modules: dict[str, ModuleType], tmp_path: Path
) -> None:
    page = modules["growth_page"]
    results = {
        "100000/10/28": a_result(30, preliminary=True),
        "10000/10/28": a_result(3),
        "1000000/10/224": {"left_out": "the images take 47 GiB"},
    }
    text = page.section(results)
    rows = [line for line in text.splitlines() if line.startswith("| 10")]
    assert [row.split(" | ")[0] for row in rows] == ["| 10 000", "| 100 000"]
    assert " | 3.0, 300 | " in rows[0]
    assert " | (15.0), 300 | " in rows[1]
    assert "Times in brackets are preliminary" in text
    assert "- 1 000 000 images, 10 classes, 224 x 224 pixels: the images take 47 GiB." in text
    assert page.series(results, 0, lambda n, k, side: side == 28, "train", "seconds") == ([10**4, 10**5], [3, 30])
    page.draw(results, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 10_000


def test_a_generated_section_replaces_the_last_one(modules: dict[str, ModuleType]) -> None:
    page = modules["growth_page"]
    whole = (REPOSITORY / "docs" / "scaling.md").read_text()
    once = page.with_section(whole, "First table.")
    assert page.with_section(once, "Second table.").replace("Second", "First") == once
    assert once.count("\nFirst table.\n") == 1
    with pytest.raises(ValueError, match="lost the marks"):
        page.with_section("# Page", "one")
