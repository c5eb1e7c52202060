"""PyTorch backends: eager, compiled, TorchScript, torch.export and AOTInductor."""

from __future__ import annotations

import logging
import os
import platform
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export.passes import move_to_device_pass

from aae_toolkit.backends.programs import check_torch_export, check_torchscript
from aae_toolkit.backends.protocol import Bound, Closing, Runnable
from aae_toolkit.errors import AaeError, DeviceError
from aae_toolkit.export.contract import Tensors
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.export.formats import compiled_for
from aae_toolkit.machine.device import resolve_device
from aae_toolkit.text import one_line

_FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


def open_artifact(export: ExportDirectory, runnable: Runnable, device: str, threads: int | None) -> TorchBackend:
    """Load an artifact; `threads` sets the number of PyTorch threads for the whole process."""
    return TorchBackend(export, runnable, device=device, threads=threads)


class TorchBackend(Closing):
    """Artifact in PyTorch; see `Backend` for the attributes."""

    def __init__(
        self, export: ExportDirectory, runnable: Runnable, *, device: str = "cpu", threads: int | None = None
    ) -> None:
        """Load the artifact; `threads` sets the number of PyTorch threads for the whole process.

        Raises:
            AaeError: the file is absent or damaged.
            DeviceError: the device is not available.
        """
        resolved = resolve_device(device)
        if resolved.type == "cuda":  # parity needs full float32
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        if threads is not None:
            torch.set_num_threads(threads)
        self.name = runnable.backend
        self.artifact = runnable.file
        self.nodes: dict[str, int] = {}
        self.metadata: dict[str, str] | None = None
        self.device = str(resolved)
        self._on_cuda = resolved.type == "cuda"
        contract = export.contract(runnable.artifact)
        self.input_names = contract.input_names
        self._output_names = contract.output_names
        path = export.path / runnable.file
        if not path.is_file():
            raise AaeError(f"{path} does not exist; write it with aae export")
        loaders: dict[str, Callable[[], Callable[..., Any]]] = {
            "eager": lambda: export.module(runnable.artifact, resolved),
            "compiled": lambda: _compiled(export.module(runnable.artifact, resolved)),
            "torchscript": lambda: _load_torchscript(path, self.device),
            "torch-export": lambda: _load_torch_export(path, resolved),
            "aoti": lambda: _load_aoti(path, resolved),
        }
        # PyTorch warns on every compilation where a CUDA toolkit is installed without a GPU
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        self._call = loaders[runnable.backend]()

    @torch.inference_mode()
    def run(self, feeds: Tensors) -> Tensors:
        """Run one batch."""
        return self._to_host(self._call(*self._to_device(feeds)))

    def bind(self, feeds: Tensors) -> Bound:
        """Put one batch on the device as tensors."""
        tensors = self._to_device(feeds)
        outputs: list[Any] = []

        @torch.inference_mode()
        def run() -> None:
            outputs[:] = [self._call(*tensors)]
            if self._on_cuda:
                torch.cuda.synchronize(self.device)

        return Bound(run, lambda: self._to_host(outputs[0]))

    def _to_device(self, feeds: Tensors) -> list[Tensor]:
        return [torch.from_numpy(feeds[name]).to(self.device) for name in self.input_names]

    def _to_host(self, outputs: Any) -> Tensors:
        outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        return {name: tensor.cpu().numpy() for name, tensor in zip(self._output_names, outputs, strict=True)}

    def close(self) -> None:
        """Free the module."""
        del self._call


def _compiled(module: torch.nn.Module) -> Callable[..., Any]:
    """Compile a module for batches of any size; sides of images that may vary too would take a backbone minutes."""
    call = torch.compile(module)

    def run(*tensors: Tensor) -> Any:
        for tensor in tensors:
            torch._dynamo.maybe_mark_dynamic(tensor, 0)
        return call(*tensors)

    return run


def _load_torchscript(path: Path, device: str) -> Callable[..., Any]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.*")  # deprecated upstream, still supported here
        try:
            check_torchscript(path)
            return torch.jit.load(str(path), map_location=device)  # type: ignore[no-any-return, no-untyped-call]
        except Exception as error:  # damage surfaces anywhere in the deserializer
            raise _refusal(path, "TorchScript", error) from error


def _load_torch_export(path: Path, device: torch.device) -> Callable[..., Any]:
    logging.getLogger("torch.export").setLevel(logging.ERROR)  # it logs a traceback and raises as well
    try:
        check_torch_export(path)
        with _only_weights():
            program = torch.export.load(path)
    except Exception as error:  # damage surfaces anywhere in the deserializer
        raise _refusal(path, "a torch.export archive", error) from error
    if device.type != "cpu":  # Module.to() would not change the device that the graph itself names
        program = move_to_device_pass(program, device)
    return program.module()


def _refusal(path: Path, kind: str, error: Exception) -> AaeError:
    """Build a one-line error; those of PyTorch fill pages and name no cause that a user could act on."""
    reason = f" ({one_line(str(error), 200)})" if type(error) is ValueError else ""
    return AaeError(f"{path} is damaged or not {kind}{reason}; run aae export again")


@contextmanager
def _only_weights() -> Iterator[None]:
    """Keep PyTorch from unpickling objects, to which torch.export.load falls back for anything but tensors."""
    before = os.environ.get(_FORCE)
    os.environ[_FORCE] = "1"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # refusals are raised as well
            yield
    finally:
        if before is None:
            del os.environ[_FORCE]
        else:
            os.environ[_FORCE] = before


def _load_aoti(path: Path, device: torch.device) -> Callable[..., Any]:
    """Load an AOTInductor package, if this machine can run it: unsupported instructions would end the process."""
    from torch._inductor.codecache import get_device_information
    from torch._inductor.cpu_vec_isa import valid_vec_isa_list

    kind, machine, needs = compiled_for(path).split(", ")
    if kind == "cpu":
        here = " ".join(sorted({name for isa in valid_vec_isa_list() for name in str(isa).split()}))
    else:
        here = get_device_information(kind)["AOTI_COMPUTE_CAPABILITY"].lower() if kind == device.type else "none"
    if (kind, machine) != (device.type, platform.machine()) or not set(needs.split()) <= set(here.split()):
        raise DeviceError(
            f"{path.name} was compiled for {compiled_for(path)}; this is {device.type}, {platform.machine()},"
            f" {here}; run aae export --format aoti here"
        )
    try:
        index = -1 if device.index is None else device.index
        loaded: Callable[..., Any] = torch._inductor.aoti_load_package(str(path), device_index=index)
    except Exception as error:  # damage surfaces anywhere in the loader
        raise AaeError(f"{path} is damaged or not an AOTInductor package; run aae export again") from error
    return loaded
