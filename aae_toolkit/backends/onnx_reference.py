"""Reference evaluator of ONNX, written in numpy: slow, and independent of the kernels of any runtime."""

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
    """Load an artifact; the evaluator always runs on the CPU, on one thread."""
    return OnnxReferenceBackend(export.path / runnable.file)


class OnnxReferenceBackend(Closing):
    """ONNX file in the reference evaluator of the ONNX project; see `Backend` for the attributes."""

    name: BackendName = "onnx-reference"
    device = "cpu"

    def __init__(self, path: Path) -> None:
        """Load an ONNX file.

        Raises:
            AaeError: the file is absent or not an ONNX model.
        """
        from onnx.reference import ReferenceEvaluator

        if not path.is_file():
            raise AaeError(f"{path} does not exist; write it with aae export")
        try:
            self._evaluator = ReferenceEvaluator(str(path))
        except Exception as error:  # errors of protobuf, onnx and numpy alike
            raise AaeError(f"{path} is damaged or not ONNX; run aae export again") from error
        self.artifact = path.name
        self.nodes: dict[str, int] = {}
        self.metadata: dict[str, str] | None = None
        self.input_names: list[str] = list(self._evaluator.input_names)

    def run(self, feeds: Tensors) -> Tensors:
        """Run one batch."""
        with np.errstate(all="ignore"):  # overflow shows as non-finite outputs
            outputs = self._evaluator.run(None, feeds)
        return dict(zip(self._evaluator.output_names, outputs, strict=True))

    def bind(self, feeds: Tensors) -> Bound:
        """Keep one batch in host memory, since the evaluator runs on the CPU."""
        outputs: Tensors = {}
        return Bound(lambda: outputs.update(self.run(feeds)), lambda: outputs)

    def close(self) -> None:
        """Free the model."""
        del self._evaluator
