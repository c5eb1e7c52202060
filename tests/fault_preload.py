"""What the fork server imports before it forks: all that `aae` imports, also what exporters import when they run."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import conftest  # noqa: F401  (with what it imports)
import torch
import torch._dynamo

from aae_toolkit.export.contract import Contract, TensorSpec
from aae_toolkit.export.formats import DEFAULT_FORMATS, write_artifact
from aae_toolkit.visualization.canvas import figure

spec = TensorSpec(name="x", dtype="float32", shape=("N", 2), meaning="anything")
contract = Contract(inputs=(spec,), outputs=(spec.model_copy(update={"name": "y"}),))
with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for format_ in DEFAULT_FORMATS:
        write_artifact(format_, torch.nn.Linear(2, 2).eval(), contract, Path(directory) / f"warm.{format_}", {})
    with figure(Path(directory) / "warm.png", 1, 1) as drawn:
        drawn.subplots().plot([0, 1])
