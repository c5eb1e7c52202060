"""ONNX's own evaluator, in numpy: slow, and independent of every runtime's kernels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from aae_toolkit.backends.protocol import BackendName, Bound, Closing, Runnable
from aae_toolkit.errors import AaeError
from aae_toolkit.export.contract import Tensors
from aae_toolkit.export.directory import ExportDirectory


def open_artifact(
    export: ExportDirectory, runnable: Runnable, device: str, threads: int | None
) -> OnnxReferenceBackend:
    """Load an artifact; the evaluator runs on the host alone, on one thread."""
    return OnnxReferenceBackend(export.path / runnable.file)


class OnnxReferenceBackend(Closing):
    """An ONNX file in the evaluator of the standard's authors; see `Backend` for the attributes."""

    name: BackendName = "onnx-reference"
    device = "cpu"

    def __init__(self, path: Path) -> None:
        """Load `path`.

        Raises:
            AaeError: the file is absent or no ONNX model.
        """
        from onnx.reference import ReferenceEvaluator

        if not path.is_file():
            raise AaeError(f"{path} does not exist; write it with aae export")
        try:
            self._evaluator = ReferenceEvaluator(str(path))
        except Exception as error:  # protobuf's, onnx's and numpy's alike
            raise AaeError(f"{path} is damaged or not ONNX; run aae export again") from error
        self.artifact = path.name
        self.nodes: dict[str, int] = {}
        self.metadata: dict[str, str] | None = None
        self.input_names: list[str] = list(self._evaluator.input_names)

    def run(self, feeds: Tensors) -> Tensors:
        """Run one batch."""
        with np.errstate(all="ignore"):  # what is not finite shows in the outputs
            outputs = self._evaluator.run(None, feeds)
        return dict(zip(self._evaluator.output_names, outputs, strict=True))

    def bind(self, feeds: Tensors) -> Bound:
        """Keep one batch on the host, which is the device."""
        given: Tensors = {}
        return Bound(lambda: given.update(self.run(feeds)), lambda: given)

    def close(self) -> None:
        """Free the model."""
        del self._evaluator
