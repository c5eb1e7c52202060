"""Backend protocol: the interface of everything that runs an exported artifact, free of any implementation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, Self

if TYPE_CHECKING:  # keep imports of `aae predict` light
    from aae_toolkit.export.contract import ArtifactName, Precision, Tensors

BackendName = Literal["eager", "compiled", "torchscript", "torch-export", "aoti", "onnxruntime", "onnx-reference"]


@dataclass(frozen=True)
class Runnable:
    """Pair of an exported file and a backend that can run it."""

    artifact: ArtifactName
    backend: BackendName
    file: str
    precision: Precision = "fp32"


@dataclass(frozen=True)
class Bound:
    """Inference on inputs that are already on the device, with outputs that stay there.

    Attributes:
        run: runs once; returns when the device has finished.
        outputs: copies the outputs of the last run to the host.
    """

    run: Callable[[], None]
    outputs: Callable[[], Tensors]


class Backend(Protocol):
    """Artifact that is loaded and ready to run; a context manager that closes on exit.

    Attributes:
        name: name of the backend.
        artifact: name of the loaded file.
        input_names: inputs that `run` needs.
        device: device that actually runs the artifact, with the execution provider where the runtime has several.
        nodes: number of graph nodes by execution provider; empty where the runtime does not report it.
        metadata: strings in an ONNX file, by key; None for other formats.
    """

    name: BackendName
    artifact: str
    input_names: list[str]
    device: str
    nodes: dict[str, int]

    @property
    def metadata(self) -> dict[str, str] | None:
        """Strings in an ONNX file, by key; None for other formats."""
        ...

    def run(self, feeds: Tensors) -> Tensors:
        """Run one batch; inputs and outputs are arrays by the names of the contract."""
        ...

    def bind(self, feeds: Tensors) -> Bound:
        """Put one batch on the device, to run it there any number of times."""
        ...

    def close(self) -> None:
        """Free the resources of the backend; it cannot run afterwards."""
        ...

    def __enter__(self) -> Self:
        """Return the backend itself."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the backend."""
        ...


class Closing(ABC):
    """Context manager of the backends: closes on exit, even after an error."""

    @abstractmethod
    def close(self) -> None:
        """Free the resources."""

    def __enter__(self) -> Self:
        """Return the backend itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close after use."""
        self.close()
