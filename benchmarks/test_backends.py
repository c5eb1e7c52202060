"""Latency of one run of the classifier on each backend and in each precision, with a check of its outputs."""

from pathlib import Path

import pytest

from aae_toolkit.backends.registry import BACKENDS, open_backend, runnables
from aae_toolkit.bench.expected import golden_by_precision
from aae_toolkit.export.contract import Precision
from aae_toolkit.export.directory import ExportDirectory

CASES: list[tuple[str, Precision]] = [(backend, "fp32") for backend in BACKENDS]
CASES += [("onnxruntime", "fp16"), ("onnxruntime", "int8")]


@pytest.mark.parametrize("batch_size", [1, 32, 256, 1024])
@pytest.mark.parametrize(("backend", "precision"), CASES)
def test_classifier(facts, export_dir: Path, backend: str, precision: Precision, batch_size: int) -> None:
    offered = runnables(ExportDirectory.open(export_dir), "classifier")
    found = [r for r in offered if (r.backend, r.precision) == (backend, precision)]
    if not found:
        pytest.skip(f"the export has no {precision} file for {backend}, or it cannot run here")
    golden = golden_by_precision(export_dir, {precision})[precision].batch(batch_size)
    opened = open_backend(ExportDirectory.open(export_dir), found[0])
    facts.group = f"classifier, batch {batch_size}"
    facts.extra_info |= {"backend": backend, "precision": precision, "batch_size": batch_size, "device": opened.device}
    assert golden.problem(opened.run({"images": golden.images})) is None
    outputs = facts(opened.run, {"images": golden.images})
    assert golden.problem(outputs) is None
    opened.close()
