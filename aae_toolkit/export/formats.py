"""Writers of artifacts, one for each file format."""

from __future__ import annotations

import copy
import io
import json
import logging
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aae_toolkit.errors import AaeError
from aae_toolkit.export.contract import BATCH_AXIS, Contract, Format
from aae_toolkit.export.input_checks import checked, checks_in_aoti
from aae_toolkit.files import atomic_path
from aae_toolkit.files.archives import check_archive

SUFFIXES = {
    Format.ONNX: ".onnx",
    Format.TORCHSCRIPT: ".torchscript.pt",
    Format.TORCH_EXPORT: ".pt2",
    Format.AOTI: ".aoti.pt2",
}
DEFAULT_FORMATS = tuple(format_ for format_ in Format if format_ is not Format.AOTI)  # these run on any machine

OPSET = 18
_SAMPLE_BATCH_SIZE = 2  # 0 and 1 would be specialized by the tracers


def write_artifact(
    format_: Format,
    module: nn.Module,
    contract: Contract,
    path: Path,
    metadata: dict[str, str],
    *,
    opset: int = OPSET,
    device: str = "cpu",
) -> dict[str, Any]:
    """Write `module` to `path` atomically; return facts read back from the file, as fields of its manifest entry.

    They are the opset and IR version of ONNX, and the target of AOTInductor, which alone uses `device`.

    Archives are built in memory, because PyTorch stores the name of the file inside, which is temporary here, and its
    writer ends the process if the disk is full.
    """
    with atomic_path(path) as temporary:
        match format_:
            case Format.ONNX:
                return _write_onnx(module, contract, temporary, metadata, opset)
            case Format.TORCHSCRIPT:
                return _write_torchscript(module, contract, temporary, metadata)
            case Format.TORCH_EXPORT:
                return _write_torch_export(module, contract, temporary, metadata)
            case Format.AOTI:
                return _write_aoti(module, contract, temporary, metadata, device)


def _sample(contract: Contract) -> tuple[Tensor, ...]:
    """Create inputs with the types and shapes of the contract, of batch size 2."""
    shapes = [(_SAMPLE_BATCH_SIZE, *(int(size) for size in spec.shape[1:])) for spec in contract.inputs]
    dtypes = [getattr(torch, spec.dtype) for spec in contract.inputs]
    return tuple(torch.zeros(shape, dtype=dtype) for shape, dtype in zip(shapes, dtypes, strict=True))


def _dynamic_batch(contract: Contract) -> tuple[dict[int, Any], ...]:
    batch = torch.export.Dim(BATCH_AXIS)
    return tuple({0: batch} for _ in contract.inputs)


def to_onnx(module: nn.Module, contract: Contract, opset: int = OPSET) -> torch.onnx.ONNXProgram:
    """Export `module` in memory; return the ONNX graph with its source, the PyTorch graph."""
    with warnings.catch_warnings():
        # the two inputs of the decoder share their batch axis on purpose
        warnings.filterwarnings("ignore", message=".*axis name: N will not be used.*")
        program = torch.onnx.export(
            module,
            _sample(contract),
            dynamo=True,
            input_names=contract.input_names,
            output_names=contract.output_names,
            opset_version=opset,
            dynamic_shapes=_dynamic_batch(contract),
            external_data=False,
            verbose=False,
        )
    assert program is not None
    return program


def _write_onnx(
    module: nn.Module, contract: Contract, path: Path, metadata: dict[str, str], asked: int
) -> dict[str, Any]:
    import onnx

    program = to_onnx(module, contract, asked)
    program.model.metadata_props.update(metadata)
    program.save(str(path), external_data=False)
    written = onnx.load(path)
    onnx.checker.check_model(written, full_check=True)
    facts = onnx_facts(written)
    if facts["opset"] != asked:  # the exporter can convert silently
        raise AaeError(
            f"the exporter wrote ONNX opset {facts['opset']} where {asked} was asked for; nothing was written"
        )
    return facts


def onnx_facts(model: Any) -> dict[str, Any]:
    """Return the opset and IR version of an ONNX model."""
    opset = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}["ai.onnx"]
    return {"opset": opset, "ir_version": model.ir_version}


def _write_torchscript(module: nn.Module, contract: Contract, path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad(), checked(module, contract):
        warnings.filterwarnings(
            "ignore", category=FutureWarning, message=".*torch.jit.*"
        )  # deprecated upstream, still supported here
        warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*torch.jit.*")
        frozen = torch.jit.freeze(torch.jit.trace(module, _sample(contract)))  # type: ignore[no-untyped-call]
        with io.BytesIO() as archive:
            torch.jit.save(frozen, archive, _extra_files=metadata)
            path.write_bytes(archive.getbuffer())
    return {}


def _write_torch_export(module: nn.Module, contract: Contract, path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    with checked(module, contract):
        program = torch.export.export(module, _sample(contract), dynamic_shapes=_dynamic_batch(contract))
    with warnings.catch_warnings():
        # weights that are slices of a larger tensor are saved completely, which parity checks
        warnings.filterwarnings("ignore", message="No complete tensor found in the group")
        with io.BytesIO() as archive:
            torch.export.save(program, archive, extra_files=metadata)
            path.write_bytes(archive.getbuffer())
    return {}


def _write_aoti(
    module: nn.Module, contract: Contract, path: Path, metadata: dict[str, str], device: str
) -> dict[str, Any]:
    """Compile machine code for the type of processor or GPU of this machine alone."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # warns of a CUDA toolkit without a GPU
    with torch.no_grad(), checks_in_aoti(contract):
        sample = tuple(tensor.to(device) for tensor in _sample(contract))
        program = torch.export.export(copy.deepcopy(module).to(device), sample, dynamic_shapes=_dynamic_batch(contract))
        torch._inductor.aoti_compile_and_package(
            program, package_path=str(path), inductor_configs={"aot_inductor.metadata": metadata}
        )
    return {"compiled_for": compiled_for(path)}


def compiled_for(path: Path) -> str:
    """Read the target of an AOTInductor package without loading its code.

    The target is the device, the machine, and the instruction sets of the CPU or the compute capability of the GPU.

    Raises:
        AaeError: the file is not such a package, or would be unpacked outside its directory.
    """
    try:
        names = check_archive(path, inflated=2**26)
    except (OSError, ValueError) as error:
        raise AaeError(f"{path} is damaged or not an AOTInductor package: {error}; run aae export again") from error
    try:
        with zipfile.ZipFile(path) as package:
            facts = json.loads(package.read(next(name for name in names if name.endswith(".wrapper_metadata.json"))))
        device = facts["AOTI_DEVICE_KEY"]
        kind = facts["AOTI_CPU_ISA" if device == "cpu" else "AOTI_COMPUTE_CAPABILITY"]
        return f"{device}, {facts['AOTI_MACHINE']}, {kind.lower()}"
    except (OSError, zipfile.BadZipFile, StopIteration, KeyError, TypeError, AttributeError, ValueError) as error:
        raise AaeError(f"{path} is damaged or not an AOTInductor package; run aae export again") from error
