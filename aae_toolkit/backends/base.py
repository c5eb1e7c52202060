"""The backend protocol, and the table of backends. Nothing heavy is imported until a backend is opened."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from numpy.typing import NDArray

from aae_toolkit.errors import UsageError
from aae_toolkit.export.contract import ArtifactName, Format, Precision
from aae_toolkit.export.manifest import WEIGHTS_FILE, ArtifactEntry, Manifest
from aae_toolkit.machine.environment import can_compile

Tensors = dict[str, NDArray[Any]]
BackendName = Literal["eager", "compiled", "torchscript", "torch-export", "aoti", "onnxruntime", "onnx-reference"]
ARBITER: BackendName = "onnx-reference"  # too slow for anything but parity
BACKENDS: tuple[BackendName, ...] = tuple(name for name in get_args(BackendName) if name != ARBITER)
WEIGHTS_BACKENDS: tuple[BackendName, ...] = ("eager", "compiled")  # run the weights file, not an exported graph

_FORMAT_OF: dict[BackendName, Format] = {
    "torchscript": Format.TORCHSCRIPT,
    "torch-export": Format.TORCH_EXPORT,
    "aoti": Format.AOTI,
    "onnxruntime": Format.ONNX,
}
_DEVICE = re.compile(r"cpu|cuda(:\d+)?")


@dataclass(frozen=True)
class Bound:
    """A run whose inputs are in place already, and whose outputs stay where they arise.

    Attributes:
        run: runs once; returns when the device has finished.
        outputs: what the last run gave, read back to the host.
    """

    run: Callable[[], None]
    outputs: Callable[[], Tensors]


class Backend(Protocol):
    """An artifact, loaded and ready to run.

    Attributes:
        name: the backend's.
        artifact: name of the file that it runs.
        input_names: what `run` must be fed.
        device: the device that really runs it, with the provider where the runtime has several.
        nodes: of the graph, by the execution provider that runs them; empty where the runtime does not say.
        metadata: strings that an ONNX file carries; None of other formats.
    """

    name: BackendName
    artifact: str
    input_names: list[str]
    device: str
    nodes: dict[str, int]

    @property
    def metadata(self) -> dict[str, str] | None:
        """As above."""
        ...

    def run(self, feeds: Tensors) -> Tensors:
        """Run one batch; arrays in, arrays out, by the contract's names."""
        ...

    def bind(self, feeds: Tensors) -> Bound:
        """Put one batch on the device, to be run there any number of times."""
        ...

    def close(self) -> None:
        """Free what it holds; it cannot run afterwards."""
        ...


@dataclass(frozen=True)
class Runnable:
    """One (artifact, backend) pair that an export directory offers."""

    artifact: ArtifactName
    backend: BackendName
    file: str
    precision: Precision = "fp32"


def runnables(manifest: Manifest, artifact: ArtifactName, device: str = "cpu") -> list[Runnable]:
    """Every backend that can run `artifact` of an export on `device`, the reference (`eager`) first."""
    found = [Runnable(artifact, name, WEIGHTS_FILE) for name in WEIGHTS_BACKENDS if name == "eager" or can_compile()]
    return found + [
        Runnable(artifact, backend, entry.file, entry.precision)
        for backend, format_ in _FORMAT_OF.items()
        for entry in manifest.artifacts
        if (entry.artifact, entry.format) == (artifact, format_) and is_for(entry, device)
    ]


def is_for(entry: ArtifactEntry, device: str) -> bool:
    """Whether a file is meant for `device`: int8 is for processors, and AOTInductor's for what it was compiled for."""
    kind = device.partition(":")[0]
    return (entry.precision != "int8" or kind == "cpu") and (entry.compiled_for or kind).startswith(kind)


def open_backend(directory: Path, runnable: Runnable, *, device: str = "cpu", threads: int | None = None) -> Backend:
    """Load an artifact of an export directory.

    Args:
        directory: the export.
        runnable: which artifact, on which backend.
        device: `cpu`, `cuda` or `cuda:i`.
        threads: within one operator; None leaves the runtime's default. For torch this is the process's setting.

    Raises:
        AaeError: the file cannot be loaded.
        DeviceError: another device or provider ran than was asked for.
        UsageError: a device that is not a name of one.
    """
    require_device_name(device)
    if runnable.backend == "onnxruntime":
        from aae_toolkit.backends.onnxruntime_backend import OnnxRuntimeBackend

        return OnnxRuntimeBackend(directory / runnable.file, device=device, threads=threads)
    if runnable.backend == ARBITER:
        from aae_toolkit.backends.onnx_reference import OnnxReferenceBackend

        return OnnxReferenceBackend(directory / runnable.file)
    from aae_toolkit.backends.torch_backends import TorchBackend

    return TorchBackend(directory, runnable, device=device, threads=threads)


def require_device_name(device: str) -> None:
    """Raise `UsageError` unless this names a device; whether it is there is found out by opening a backend."""
    if not _DEVICE.fullmatch(device):
        raise UsageError(f"--device {device} is no device that artifacts run on; choose cpu, cuda or cuda:<index>")


def parse_backends(names: str | None) -> tuple[BackendName, ...]:
    """A comma-separated list of backend names; None is all of them.

    Raises:
        UsageError: an unknown name, or none.
    """
    if names is None:
        return BACKENDS
    asked = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in asked if name not in BACKENDS]
    if unknown or not asked:
        raise UsageError(f"--backends {names!r}: choose from {', '.join(BACKENDS)}")
    return tuple(name for name in BACKENDS if name in asked)
