"""Latency of one run of the classifier on each backend, after its outputs were compared with eager's."""

from pathlib import Path

import numpy as np
import pytest

from aae_toolkit.backends.base import BACKENDS, open_backend, runnables
from aae_toolkit.export.manifest import read_manifest
from aae_toolkit.export.writer import WEIGHTS_FILE
from aae_toolkit.parity import TOLERANCE


@pytest.mark.parametrize("batch_size", [1, 32, 256, 1024])
@pytest.mark.parametrize("backend", BACKENDS)
def test_classifier(facts, export_dir: Path, backend: str, batch_size: int) -> None:
    found = {r.backend: r for r in runnables(read_manifest(export_dir), "classifier", WEIGHTS_FILE)}
    images = np.random.default_rng(0).integers(0, 256, (batch_size, 1, 28, 28), dtype=np.uint8)
    eager, opened = (open_backend(export_dir, found[name]) for name in ("eager", backend))
    expected, outputs = (b.run({"images": images}) for b in (eager, opened))
    assert np.abs(expected["probabilities"] - outputs["probabilities"]).max() <= TOLERANCE
    facts.group = f"classifier, batch {batch_size}"
    facts.extra_info |= {"backend": backend, "batch_size": batch_size, "device": opened.device}
    facts(opened.run, {"images": images})
    opened.close()
