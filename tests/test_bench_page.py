import base64
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from exports import one_variant
from pages import Reader, measured, report_of

from aae_toolkit.bench.bench_page import accuracy_of, render, write_page
from aae_toolkit.bench.charts import Point, pareto
from aae_toolkit.bench.results import BenchReport, Measurement
from aae_toolkit.export.manifest import Manifest, read_manifest
from aae_toolkit.machine.environment import describe_environment


@pytest.fixture
def manifest(export_dir: Path) -> Manifest:
    return read_manifest(export_dir)


def with_accuracies(manifest: Manifest) -> Manifest:
    rows = [{"artifact": "classifier.int8.onnx", "backend": "onnxruntime", "precision": "int8", "accuracy": 0.91}]
    return manifest.model_copy(update={"accuracy": 0.97, "parity": {"results": rows}})


@one_variant
def test_the_page_says_everything_and_loads_nothing(manifest: Manifest, tmp_path: Path) -> None:
    served = measured("eager", 3.0, rate=200.0, p99_bound_ms=2.0)
    results = [measured("eager", 2.0), measured("onnxruntime", 1.0), measured("eager", 9.0, 32)]
    report = report_of(*results, measured("onnxruntime", 1.0, precision="int8"), served)
    path = tmp_path / "new" / "page.html"
    write_page(path, report, with_accuracies(manifest), "aae bench --export 'my export'")
    page = Reader(path.read_text(encoding="utf-8"))
    assert page.tags.count("img") == 2
    assert all(address.startswith("data:image/svg+xml;base64,") for address in page.addresses)
    for address in page.addresses:
        assert ET.fromstring(base64.b64decode(address.partition(",")[2])).tag.endswith("svg")
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "@import" not in page.styles
    assert "url(" not in page.styles
    for said in ("aae bench --export 'my export'", "0123456789ab", str(describe_environment()["cpu"])):
        assert said in page.words
    for said in ("onnxruntime int8", "2.00x", "reference", "queries/s asked", "classifier.int8.onnx", "2.040"):
        assert said in page.words
    assert "3.120 2 no" in page.words  # the 99th percentile, its bound, and that it is beyond
    assert "run aae parity" not in page.words


@one_variant
def test_without_accuracies_and_queries_the_page_says_how_to_get_them(manifest: Manifest) -> None:
    page = Reader(render(report_of(measured("eager", 2.0)), manifest, "aae bench"))
    assert page.tags.count("img") == 1
    assert "run aae parity" in page.words
    assert "--server-rates" in page.words


@one_variant
def test_a_page_without_intervals_is_drawn(manifest: Manifest) -> None:
    short = Measurement("eager", "weights.safetensors", "fp32", "cpu", 1, 1, "single-stream", "bound")
    short.add_round([1.0], 0.001)
    short.summarize()
    assert "<td>-</td>" in render(BenchReport(describe_environment(), [short]), with_accuracies(manifest), "aae bench")


@one_variant
def test_no_difference_is_called_so(manifest: Manifest) -> None:
    page = Reader(render(report_of(measured("eager", 2.0), measured("onnxruntime", 2.0)), manifest, "aae bench"))
    assert "no difference" in page.words


@one_variant
def test_what_comes_from_outside_is_text_not_markup(manifest: Manifest) -> None:
    report = report_of(measured("eager", 2.0))
    report.environment["cpu"] = "<script>alert(1)</script>"
    page = Reader(render(report, manifest, "aae bench --output '<b>.json'"))
    assert not {"script", "b"} & set(page.tags)
    assert "<script>alert(1)</script>" in page.words


@one_variant
def test_accuracies_are_parity_s_and_the_trained_model_s_only_at_full_precision(manifest: Manifest) -> None:
    known = with_accuracies(manifest)
    int8 = measured("onnxruntime", 1.0, precision="int8")
    assert accuracy_of(int8, known) == 0.91
    assert accuracy_of(int8, known.model_copy(update={"parity": None})) is None
    assert accuracy_of(measured("eager", 1.0), known) == 0.97
    assert accuracy_of(measured("eager", 1.0), manifest) is None


def test_the_pareto_line_holds_those_that_nothing_beats() -> None:
    def point(accuracy: float, speed: float) -> Point:
        return Point(f"{accuracy} {speed}", accuracy, speed, 1, 1)

    best = [point(0.8, 300), point(0.9, 200), point(0.95, 100)]
    beaten = [point(0.8, 299), point(0.9, 100), point(0.7, 300), point(0.95, 99)]
    assert pareto([*beaten, *best]) == best
    assert pareto(best[:1]) == best[:1]
