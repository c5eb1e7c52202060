"""The page of results, from made-up ones."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from conftest import REPOSITORY

from aae_toolkit.cli.app import run
from aae_toolkit.config import VARIANTS, load_config
from aae_toolkit.machine.environment import describe_environment

SCRIPT = REPOSITORY / "benchmarks" / "accuracy.py"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="the source distribution is without benchmarks")


@pytest.fixture(scope="module")
def accuracy() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("accuracy_benchmark", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPT.parent)  # as for a script that is started
        patch.setitem(sys.modules, spec.name, module)  # dataclasses look there
        spec.loader.exec_module(module)
        yield module


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


def a_result(row: Any, found: float, minutes: float = 5.0) -> dict[str, Any]:
    kept = {"config_sha256": row.config_sha256, "minutes": minutes, "environment": describe_environment()}
    return {"accuracy": found, "validation_accuracy": found - 0.5} | kept


def lines_of(page: str) -> dict[str, str]:
    """The table's lines by title."""
    cells = [line.split("|") for line in page.splitlines() if line.startswith("|")]
    return {line[1].strip(): "|".join(line[2:]) for line in cells}


def test_a_row_shows_mean_spread_number_of_runs_and_longest_minutes(accuracy: ModuleType, rows: dict[str, Any]) -> None:
    runs = {"0": a_result(rows["good"], 98.0), "1": a_result(rows["good"], 98.4, 7.25)}
    page = accuracy.page({"good": runs})
    line = lines_of(page)["a good one"]
    assert [cell.strip() for cell in line.split("|")][:4] == ["97.5", "98.20 ± 0.28", "2", "7.2 at most (20)"]
    assert "0: 98.00 (97.50) in 5.0 min on A, 1: 98.40 (97.90) in 7.2 min on A" in page
    assert "**below**" not in page
    assert "**over**" not in page


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
    assert "python benchmarks/glyphs.py --output-dir-path glyphs" in page
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
    assert {row.variant for row in accuracy.ROWS} == set(VARIANTS)
    for row in accuracy.ROWS:
        assert load_config(row.config, row.variant).variant == row.variant
        assert len(row.config_sha256) == 64


def test_the_commands_are_those_of_the_command_line(accuracy: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    for row in accuracy.ROWS:
        for command in row.commands(3):
            flags = [word for word in command if word.startswith("--")]
            assert "--seed" in flags
            assert run([*command[: 2 if command[0] == "train" else 1], "--help"]) == 0
            shown = capsys.readouterr().out
            assert all(flag in shown for flag in flags)


def test_a_row_stands_beside_its_baseline_and_published_accuracies(accuracy: ModuleType, rows: dict[str, Any]) -> None:
    accuracy.ROWS.append(
        accuracy.Row("few", "few", "semi_supervised", "seed", None, 9, labeled=7, aae_paper="98.4 [1]")
    )
    svm = {"svm-7": {"0": {"accuracy": 80.0}, "1": {"accuracy": 81.0}}}
    assert lines_of(accuracy.page(svm))["few"].endswith("| 80.50 ± 0.71 | 98.4 [1] |  |")
    assert lines_of(accuracy.page({}))["few"].endswith("(9) |  | 98.4 [1] |  |")


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
        _, mean, n, _, *references, _ = (cell.strip() for cell in page[by_name[name].title].split("|"))
        expected = [mean.removesuffix(", **below**"), n, *(re.sub(r" \[.*", "", cell) for cell in references)]
        assert [cell.strip() for cell in cells.split("|")] == expected, name
