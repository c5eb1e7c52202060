import json
from pathlib import Path
from typing import Any

import pytest
from refusals import refused

from aae_toolkit.bench.baseline import Key, parse_regression, read_baseline
from aae_toolkit.bench.results import BenchReport, Measurement
from aae_toolkit.errors import SlowerError, UsageError

HERE = {"cpu": "Some CPU", "cores": 2}


def measured(low: float, high: float, **different: Any) -> Measurement:
    content: dict[str, Any] = {"backend": "onnxruntime", "artifact": "classifier.onnx", "precision": "fp32"}
    content |= {"device": "cpu", "batch_size": 1, "threads": 1, "scenario": "single-stream", "io": "end-to-end"}
    return Measurement(**content | {"latency_interval_ms": (low, high)} | different)


def key_of(measurement: Measurement) -> Key:
    return Key(*(getattr(measurement, name) for name in Key._fields))


def saved(path: Path, *results: Measurement, **environment: Any) -> Path:
    path.write_text(json.dumps(BenchReport(HERE | environment, list(results)).to_json()))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return saved(tmp_path / "baseline.json", measured(1.0, 1.2), measured(5.0, 6.0, batch_size=32, scenario="offline"))


def test_overlapping_intervals_and_those_within_the_allowance_pass(path: Path) -> None:
    baseline = read_baseline(path)
    assert "in any of 1 cells" in baseline.judge([measured(1.15, 9.0)], 0.0)
    assert "in any of 2 cells" in baseline.judge(
        [measured(1.31, 1.4), measured(0.1, 0.2, batch_size=32, scenario="offline")], 0.1
    )


def test_slower_by_the_whole_interval_is_refused_and_the_worst_is_named(path: Path) -> None:
    slower = [measured(1.33, 1.4), measured(12.0, 13.0, batch_size=32, scenario="offline")]
    worst = "worst onnxruntime on classifier.onnx (batch 32, 1 thread, end-to-end, offline)"
    with refused(
        f"slower than {path} by more than 10% in 2 of 2 cells",
        worst,
        "12.000-13.000 ms, was 5.000-6.000",
        kind=SlowerError,
    ):
        read_baseline(path).judge(slower, 0.1)
    with refused("more than 7.5% in 1 of 1 cells", kind=SlowerError):
        read_baseline(path).judge(slower[:1], 0.075)
    assert SlowerError.exit_status == 6


def test_two_equally_slow_server_and_batch_cells_can_be_told_apart(tmp_path: Path) -> None:
    cells = [{}, {"scenario": "server", "rate": 200.0}]
    path = saved(tmp_path / "baseline.json", *(measured(1, 1, **cell) for cell in cells))
    with refused("in 2 of 2 cells", kind=SlowerError):
        read_baseline(path).judge([measured(2, 2, **cell) for cell in cells], 0.1)
    with refused("of 200 queries/s", kind=SlowerError):
        read_baseline(path).judge([measured(2, 2, **cells[1])], 0.1)


@pytest.mark.parametrize(
    "different",
    [
        *({"backend": "eager"}, {"artifact": "other.onnx"}, {"precision": "int8"}, {"batch_size": 2}, {"threads": 2}),
        *({"scenario": "server"}, {"io": "bound"}, {"rate": 200.0}),
    ],
)
def test_what_differs_in_one_respect_is_another_cell(path: Path, different: dict[str, Any]) -> None:
    baseline = read_baseline(path)
    with refused("has no cell in common with this run"):
        baseline.require_comparable(HERE, [key_of(measured(1, 1, **different))])
    with refused("nothing was compared"):
        baseline.judge([measured(99, 99, **different)], 0.1)
    baseline.require_comparable(HERE, [key_of(measured(1, 1))])


def test_cells_without_an_interval_are_none_to_compare_with(tmp_path: Path) -> None:
    path = saved(tmp_path / "baseline.json", measured(1, 1, latency_interval_ms=None))
    with refused("has no cell in common"):
        read_baseline(path).require_comparable(HERE, [key_of(measured(1, 1))])


@pytest.mark.parametrize(
    ("then", "said"),
    [
        ({"cpu": "Another CPU"}, "is not comparable: its cpu is Another CPU, here it is Some CPU"),
        ({"cores": 64}, "is not comparable: its cores is 64, here it is 2"),
        ({"gpu": "Some GPU"}, "is not comparable: its gpu is Some GPU, here it is None"),
    ],
)
def test_another_machine_is_refused(tmp_path: Path, then: dict[str, Any], said: str) -> None:
    path = saved(tmp_path / "baseline.json", measured(1, 1), **then)
    with refused(path, said):
        read_baseline(path).require_comparable(HERE, [key_of(measured(1, 1))])


FOREIGN = [
    ("", "is no JSON"),
    ("{", "is no JSON"),
    ("[]", "is not a report of this version of aae bench"),
    ("null", "is not a report"),
    ("{}", "is not a report"),
    ('{"environment": {}, "results": [{"backend": "eager"}]}', "is not a report"),
    ('{"environment": 3, "results": []}', "is not a report"),
    ('{"environment": {}, "results": 3}', "is not a report"),
]


@pytest.mark.parametrize(("content", "said"), FOREIGN)
def test_what_is_no_report_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(content)
    with refused(f"--baseline {path}", said):
        read_baseline(path)


@pytest.mark.parametrize("interval", ["fast", [1], [1, 2, 3], {"low": 1}, [None, 1]])
def test_intervals_that_are_none_are_refused(tmp_path: Path, interval: object) -> None:
    with refused("is not a report"):
        read_baseline(saved(tmp_path / "baseline.json", measured(1, 1, latency_interval_ms=interval)))


def test_a_baseline_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with refused(f"--baseline {tmp_path / 'absent.json'} cannot be read: No such file"):
        read_baseline(tmp_path / "absent.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with refused("is no JSON"):
        read_baseline(tmp_path / "binary.json")


def test_the_allowance_is_a_percentage() -> None:
    assert parse_regression("10%") == 0.1
    assert parse_regression(" 7.5% ") == 0.075
    assert parse_regression("0%") == 0


@pytest.mark.parametrize("text", ["10", "0.1", "", "%", "-5%", "ten%", "1e3%", "10%%"])
def test_another_allowance_is_wrong_usage(text: str) -> None:
    with refused(f"--max-regression {text!r}: give a percentage such as 10%", kind=UsageError):
        parse_regression(text)
