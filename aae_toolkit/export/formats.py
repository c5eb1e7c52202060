"""One writer per format: a deployed module to a file that has its contract."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aae_toolkit import __version__
from aae_toolkit.errors import AaeError
from aae_toolkit.export.contract import BATCH_AXIS, ArtifactName, Contract, Format
from aae_toolkit.files import atomic_path
from aae_toolkit.models.description import ModelDescription

SUFFIXES = {Format.ONNX: ".onnx", Format.TORCHSCRIPT: ".torchscript.pt", Format.TORCH_EXPORT: ".pt2"}

OPSET = 18
_SAMPLE_BATCH_SIZE = 2  # 0 and 1 would be specialized by the tracers


def write_artifact(
    format_: Format, module: nn.Module, contract: Contract, path: Path, metadata: dict[str, str], opset: int = OPSET
) -> dict[str, Any]:
    """Write `module` to `path` atomically; return what was read back of the file (opset and IR version of ONNX)."""
    with atomic_path(path) as temporary:
        match format_:
            case Format.ONNX:
                return _write_onnx(module, contract, temporary, metadata, opset)
            case Format.TORCHSCRIPT:
                return _write_torchscript(module, contract, temporary, metadata)
            case Format.TORCH_EXPORT:
                return _write_torch_export(module, contract, temporary, metadata)


def _sample(contract: Contract) -> tuple[Tensor, ...]:
    """Inputs of the contract's types and shapes, batch 2."""
    shapes = [(_SAMPLE_BATCH_SIZE, *(int(size) for size in spec.shape[1:])) for spec in contract.inputs]
    dtypes = [getattr(torch, spec.dtype) for spec in contract.inputs]
    return tuple(torch.zeros(shape, dtype=dtype) for shape, dtype in zip(shapes, dtypes, strict=True))


def _dynamic_batch(contract: Contract) -> tuple[dict[int, Any], ...]:
    batch = torch.export.Dim(BATCH_AXIS)
    return tuple({0: batch} for _ in contract.inputs)


def _write_onnx(
    module: nn.Module, contract: Contract, path: Path, metadata: dict[str, str], asked: int
) -> dict[str, Any]:
    import onnx

    with warnings.catch_warnings():
        # the decoder's two inputs share their batch axis, which is what its name says
        warnings.filterwarnings("ignore", message=".*axis name: N will not be used.*")
        program = torch.onnx.export(
            module,
            _sample(contract),
            dynamo=True,
            input_names=contract.input_names,
            output_names=contract.output_names,
            opset_version=asked,
            dynamic_shapes=_dynamic_batch(contract),
            external_data=False,
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props.update(metadata)
    program.save(str(path), external_data=False)
    written = onnx.load(path)
    onnx.checker.check_model(written, full_check=True)
    opset = {entry.domain or "ai.onnx": entry.version for entry in written.opset_import}["ai.onnx"]
    if opset != asked:  # the exporter can convert silently
        raise AaeError(f"the exporter wrote ONNX opset {opset} where {asked} was asked for; nothing was written")
    return {"opset": opset, "ir_version": written.ir_version}


def _write_torchscript(module: nn.Module, contract: Contract, path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.filterwarnings(
            "ignore", category=FutureWarning, message=".*torch.jit.*"
        )  # deprecated upstream, still asked for
        warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*torch.jit.*")
        frozen = torch.jit.freeze(torch.jit.trace(module, _sample(contract)))  # type: ignore[no-untyped-call]
        torch.jit.save(frozen, str(path), _extra_files=metadata)
    return {}


def _write_torch_export(module: nn.Module, contract: Contract, path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    program = torch.export.export(module, _sample(contract), dynamic_shapes=_dynamic_batch(contract))
    torch.export.save(program, path, extra_files=metadata)
    return {}


def metadata_of(
    artifact: ArtifactName, contract: Contract, description: ModelDescription, weights_sha256: str
) -> dict[str, str]:
    """Strings that travel inside an artifact, so that the file alone says what it is."""
    return {
        "aae.artifact": artifact,
        "aae.variant": description.variant,
        "aae.class_names": json.dumps(description.class_names),
        "aae.contract": contract.model_dump_json(),
        "aae.validation_accuracy": json.dumps(description.validation_accuracy),
        "aae.weights_sha256": weights_sha256,
        "aae.toolkit_version": __version__,
    }
