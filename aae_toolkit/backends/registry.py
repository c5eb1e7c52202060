"""Registry of backends: the module, package and file format of each. A module is imported when first used."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import get_args

from aae_toolkit.backends.protocol import Backend, BackendName, Runnable
from aae_toolkit.errors import UsageError
from aae_toolkit.export.contract import ARTIFACTS, IMAGE, ArtifactName, Format
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.export.manifest import WEIGHTS_FILE, ArtifactEntry
from aae_toolkit.machine.environment import can_compile
from aae_toolkit.text import nearest


@dataclass(frozen=True)
class Engine:
    """Implementation of a backend.

    Attributes:
        module: module in this package; its `open_artifact(export, runnable, device, threads)` returns a `Backend`.
        package: package that the module depends on.
        format: format of the exported files that it runs; None where it runs the weights file.
    """

    module: str
    package: str
    format: Format | None


_ENGINES: dict[BackendName, Engine] = {
    "eager": Engine("torch_backends", "torch", None),
    "compiled": Engine("torch_backends", "torch", None),
    "torchscript": Engine("torch_backends", "torch", Format.TORCHSCRIPT),
    "torch-export": Engine("torch_backends", "torch", Format.TORCH_EXPORT),
    "aoti": Engine("torch_backends", "torch", Format.AOTI),
    "onnxruntime": Engine("onnxruntime_backend", "onnxruntime", Format.ONNX),
    "onnx-reference": Engine("onnx_reference", "onnx", Format.ONNX),
}
assert set(_ENGINES) == set(get_args(BackendName))

ARBITER: BackendName = "onnx-reference"  # used for parity alone, since it is slow
BACKENDS: tuple[BackendName, ...] = tuple(name for name in _ENGINES if name != ARBITER)
WEIGHTS_BACKENDS: tuple[BackendName, ...] = tuple(name for name in BACKENDS if _ENGINES[name].format is None)
_DEVICE = re.compile(r"cpu|cuda(:\d+)?")


def runnables(export: ExportDirectory, artifact: ArtifactName, device: str = "cpu") -> list[Runnable]:
    """List every backend that can run an artifact of an export on `device`, the reference (`eager`) first."""
    on_weights = WEIGHTS_BACKENDS if artifact in ARTIFACTS else ()
    weights = [Runnable(artifact, name, WEIGHTS_FILE) for name in on_weights if name == "eager" or can_compile()]
    return weights + [
        Runnable(artifact, backend, entry.file, entry.precision)
        for backend in BACKENDS
        for entry in export.artifacts
        if (entry.artifact, entry.format) == (artifact, _ENGINES[backend].format) and is_for(entry, device)
    ]


def is_for(entry: ArtifactEntry, device: str) -> bool:
    """Return whether a file runs on `device`: int8 and whole images need a CPU, AOTInductor its target device."""
    kind = device.partition(":")[0]
    for_cpu = entry.precision == "int8" or entry.artifact == IMAGE
    return (not for_cpu or kind == "cpu") and (entry.compiled_for or kind).startswith(kind)


def open_backend(
    export: ExportDirectory, runnable: Runnable, *, device: str = "cpu", threads: int | None = None
) -> Backend:
    """Load an artifact of an export.

    Args:
        export: the opened export.
        runnable: the artifact and its backend.
        device: `cpu`, `cuda` or `cuda:i`.
        threads: threads within one operator; None leaves the default of the runtime. PyTorch applies the number to
            the whole process.

    Raises:
        AaeError: the file cannot be loaded.
        DeviceError: another device or execution provider ran than was requested.
        UsageError: `device` is not the name of a device.
    """
    require_device_name(device)
    backend: Backend = import_engine(runnable.backend).open_artifact(export, runnable, device, threads)
    return backend


def import_engine(backend: BackendName) -> ModuleType:
    """Import the package that a backend depends on, then its module, and return the module."""
    import_module(_ENGINES[backend].package)
    return import_module(f"aae_toolkit.backends.{_ENGINES[backend].module}")


def require_device_name(device: str) -> None:
    """Raise `UsageError` unless `device` is the name of a device; opening a backend checks that it is available."""
    if not _DEVICE.fullmatch(device):
        raise UsageError(f"--device {device} is no device that artifacts run on; choose cpu, cuda or cuda:<index>")


def parse_backends(names: str | None) -> tuple[BackendName, ...]:
    """Parse a comma-separated list of backend names; None selects all.

    Raises:
        UsageError: an unknown name, or an empty list.
    """
    if names is None:
        return BACKENDS
    asked = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in asked if name not in BACKENDS]
    if unknown or not asked:
        near = nearest(unknown[0], BACKENDS) if unknown else []
        meant = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"--backends {names!r}: choose from {', '.join(BACKENDS)}{meant}")
    return tuple(name for name in BACKENDS if name in asked)
