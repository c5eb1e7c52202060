import base64
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from exports import one_variant

from aae_toolkit.bench.charts import Point, pareto
from aae_toolkit.bench.page import accuracy_of, render, write_page
from aae_toolkit.bench.results import BenchReport, Measurement
from aae_toolkit.environment import describe_environment
from aae_toolkit.export.manifest import Manifest, read_manifest


def measured(backend: str, latency: float, batch_size: int = 1, precision: str = "fp32", **more: Any) -> Measurement:
    file = "weights.safetensors" if backend == "eager" else "classifier.int8.onnx" if precision == "int8" else "c.onnx"
    scenario = "server" if "rate" in more else "offline"
    m = Measurement(backend, file, precision, "cpu", batch_size, 1, scenario, "end-to-end", **more)  # type: ignore[arg-type]
    for i in range(5):
        m.add_round([latency * (1 + i / 100)] * 2, 2 * latency / 1000)
    m.summarize()
    return m


def report_of(*results: Measurement) -> BenchReport:
    for m in (m for m in results if m.rate is None):
        m.compare_with(next(e for e in results if e.is_reference and e.batch_size == m.batch_size))
    return BenchReport(describe_environment() | {"threads": [1], "config_hash": "0123456789ab"}, list(results))


@pytest.fixture
def manifest(export_dir: Path) -> Manifest:
    return read_manifest(export_dir)


def with_accuracies(manifest: Manifest) -> Manifest:
    rows = [{"artifact": "classifier.int8.onnx", "backend": "onnxruntime", "precision": "int8", "accuracy": 0.91}]
    return manifest.model_copy(update={"accuracy": 0.97, "parity": {"results": rows}})


class Reader(HTMLParser):
    """Collects what a page refers to, and its words."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.words = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]

    def handle_data(self, data: str) -> None:
        self.words += f"{data} "


@one_variant
def test_the_page_says_everything_and_loads_nothing(manifest: Manifest, tmp_path: Path) -> None:
    served = measured("eager", 3.0, rate=200.0, p99_bound_ms=2.0)
    results = [measured("eager", 2.0), measured("onnxruntime", 1.0), measured("eager", 9.0, 32)]
    report = report_of(*results, measured("onnxruntime", 1.0, precision="int8"), served)
    path = tmp_path / "new" / "page.html"
    write_page(path, report, with_accuracies(manifest), "aae bench --export-dir-path 'my export'")
    page = Reader(path.read_text(encoding="utf-8"))
    assert page.tags.count("img") == 2
    assert all(address.startswith("data:image/svg+xml;base64,") for address in page.addresses)
    for address in page.addresses:
        assert ET.fromstring(base64.b64decode(address.partition(",")[2])).tag.endswith("svg")
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "@import" not in page.words
    assert "url(" not in page.words
    for said in ("aae bench --export-dir-path 'my export'", "0123456789ab", str(describe_environment()["cpu"])):
        assert said in page.words
    for said in ("onnxruntime int8", "2.00x", "reference", "queries/s asked", "classifier.int8.onnx", "2.040"):
        assert said in page.words
    assert re.search(r"2\s+no", page.words)  # beyond its bound
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
