"""Classifiers of reduced precision in ONNX: int8 for CPUs, fp16 for GPUs, and float32 from the logits on."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from aae_toolkit.export.contract import Contract, Format, Precision
from aae_toolkit.export.formats import OPSET, onnx_facts, write_artifact
from aae_toolkit.files import atomic_path
from aae_toolkit.models.deployed import DeployedClassifier

Feeds = dict[str, NDArray[np.uint8]]

_CALIBRATION_BATCH = 64
# Operators with int8 kernels, or that only move values; an operator left out would convert to float32 and back.
_QUANTIZED = ["Conv", "Gemm", "MatMul", "Relu", "MaxPool", "AveragePool", "Reshape", "Flatten"]


class HalfEncoder(nn.Module):
    """Encoder in float16 with float32 inputs and outputs."""

    def __init__(self, encoder: nn.Module) -> None:
        """Copy `encoder` and convert the copy to float16."""
        super().__init__()
        self.encoder = copy.deepcopy(encoder).half()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode images, float32 [N, C, H, W]; return logits of y and the style z, float32."""
        y_logits, z = self.encoder(images.half())
        return y_logits.float(), z.float()


def write_reduced(
    precision: Precision,
    classifier: DeployedClassifier,
    contract: Contract,
    path: Path,
    metadata: dict[str, str],
    calibration: NDArray[np.uint8],
    opset: int = OPSET,
) -> dict[str, Any]:
    """Write `classifier` at reduced precision to `path` atomically; return its opset and IR version, as read back.

    Args:
        precision: `fp16` or `int8`.
        classifier: the trained classifier, which is not changed.
        contract: inputs and outputs of the classifier.
        path: path of the file.
        metadata: strings to store in the file.
        calibration: training images, uint8 [N, C, H, W], which determine the value ranges of int8.
        opset: ONNX operator set of the file.
    """
    reduced = copy.deepcopy(classifier)
    if precision == "fp16":
        reduced.encoder = HalfEncoder(classifier.encoder)  # type: ignore[assignment]  # the same signature
        return write_artifact(Format.ONNX, reduced.eval(), contract, path, metadata, opset=opset)
    _activate_before_pooling(reduced)
    with tempfile.TemporaryDirectory() as scratch:
        full = Path(scratch) / "fp32.onnx"
        write_artifact(Format.ONNX, reduced, contract, full, metadata, opset=opset)
        with atomic_path(path) as temporary:
            return _quantize(full, temporary, calibration)


def _activate_before_pooling(module: nn.Module) -> None:
    """Swap max pooling with the ReLU after it, which gives the same values.

    A convolution with its ReLU directly after it becomes one int8 kernel.
    """
    for layers in module.modules():
        if isinstance(layers, nn.Sequential):
            for i, (first, second) in enumerate(pairwise(list(layers))):
                if isinstance(first, nn.MaxPool2d) and isinstance(second, nn.ReLU):
                    layers[i], layers[i + 1] = second, first


def _quantize(full: Path, path: Path, calibration: NDArray[np.uint8]) -> dict[str, Any]:
    """Quantize an ONNX file per channel, with static ranges: no label depends on the other images in the batch.

    Weights have seven bits: with eight, CPUs without VNNI instructions saturate and give other labels.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # the package has no types
        """Batches of the calibration images."""

        def __init__(self) -> None:
            self.batches: Iterator[Feeds] = self._cut()

        def _cut(self) -> Iterator[Feeds]:
            for start in range(0, len(calibration), _CALIBRATION_BATCH):
                yield {"images": calibration[start : start + _CALIBRATION_BATCH]}

        def get_next(self) -> Feeds | None:
            return next(self.batches, None)

    prepared = full.with_name("prepared.onnx")
    quant_pre_process(full, prepared)
    model = onnx.load(prepared)
    quantize_static(
        model,
        path,
        Reader(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=_QUANTIZED,
        nodes_to_exclude=_from_logits_on(model.graph),
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    exported, quantized = onnx.load(full), onnx.load(path)
    quantized.ir_version = exported.ir_version  # onnx writes one too new for runtimes
    del quantized.metadata_props[:]
    quantized.metadata_props.extend(exported.metadata_props)
    onnx.save(quantized, path)
    onnx.checker.check_model(quantized, full_check=True)
    return onnx_facts(quantized)


def _from_logits_on(graph: Any) -> list[str]:
    """Name the node that computes the logits, the softmax, and all nodes after it.

    Logits of 256 levels would tie categories, and cost little in float32.
    """
    softmax = [node for node in graph.node if node.op_type == "Softmax"][-1]  # a backbone may have others
    names = [node.name for node in graph.node if softmax.input[0] in node.output]
    after = set(softmax.input)
    for node in graph.node:
        if after & set(node.input):
            after |= set(node.output)
            names.append(node.name)
    return names
