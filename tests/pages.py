"""Helpers for tests of pages: made-up benchmarks, and a reader of what a page refers to and says."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from aae_toolkit.bench.results import BenchReport, Measurement
from aae_toolkit.machine.environment import describe_environment


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


class Reader(HTMLParser):
    """Collects a page's tags with their attributes, the addresses it refers to, and its words, styles aside."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words = self.styles = ""
        self.feed(page)
        self.words = " ".join(self.words.split())

    @property
    def tags(self) -> list[str]:
        return [tag for tag, _ in self.elements]

    @property
    def addresses(self) -> list[str]:
        referring = ("src", "href", "srcset", "data", "action", "poster", "background")
        return [value for _, attributes in self.elements for name, value in attributes.items() if name in referring]

    def all(self, tag: str) -> list[dict[str, str]]:
        """The attributes of every such element."""
        return [attributes for found, attributes in self.elements if found == tag]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] == ["style"]:
            self.styles += data
        else:
            self.words += f"{data} "
