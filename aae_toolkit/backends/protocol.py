"""The backend protocol: one small interface over everything that runs an exported artifact. It knows no engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, Self

if TYPE_CHECKING:  # `aae predict` starts without what these import
    from aae_toolkit.export.contract import ArtifactName, Precision, Tensors

BackendName = Literal["eager", "compiled", "torchscript", "torch-export", "aoti", "onnxruntime", "onnx-reference"]


@dataclass(frozen=True)
class Runnable:
    """One (artifact, backend) pair that an export offers."""

    artifact: ArtifactName
    backend: BackendName
    file: str
    precision: Precision = "fp32"


@dataclass(frozen=True)
class Bound:
    """A run whose inputs are in place already and whose outputs stay on the device.

    Attributes:
        run: runs once; returns when the device has finished.
        outputs: reads the last run's outputs back to the host.
    """

    run: Callable[[], None]
    outputs: Callable[[], Tensors]


class Backend(Protocol):
    """An artifact, loaded and ready to run; leaving its context closes it.

    Attributes:
        name: the backend's name.
        artifact: name of the file that it runs.
        input_names: inputs that `run` must be fed.
        device: the device that really runs it, with the provider where the runtime has several.
        nodes: number of graph nodes by execution provider; empty where the runtime does not say.
        metadata: strings that an ONNX file carries; None for other formats.
    """

    name: BackendName
    artifact: str
    input_names: list[str]
    device: str
    nodes: dict[str, int]

    @property
    def metadata(self) -> dict[str, str] | None:
        """Strings that an ONNX file carries; None for other formats."""
        ...

    def run(self, feeds: Tensors) -> Tensors:
        """Run one batch; arrays in, arrays out, by the contract's names."""
        ...

    def bind(self, feeds: Tensors) -> Bound:
        """Put one batch on the device, to be run there any number of times."""
        ...

    def close(self) -> None:
        """Free the backend's resources; it cannot run afterwards."""
        ...

    def __enter__(self) -> Self:
        """Return the backend itself."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the backend."""
        ...


class Closing:
    """Context manager of the backends: closes on the way out, whatever happens inside."""

    def close(self) -> None:
        """Free resources."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        """Return the object itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()
