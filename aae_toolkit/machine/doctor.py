"""Diagnosis of this machine: tries every device and execution provider. Runs without torch too."""

from __future__ import annotations

import base64
import ctypes
import sys
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from aae_toolkit.machine.environment import describe_environment, installed_versions

# `y = Identity(x)` on one float32, opset 18: the smallest model that shows whether a provider loads.
_IDENTITY_ONNX = base64.b64decode(
    "CAg6NwoQCgF4EgF5IghJZGVudGl0eRIBZ1oPCgF4EgoKCAgBEgQKAggBYg8KAXkSCgoICAESBAoCCAFCBAoAEBI="
)
_CUDA = "CUDAExecutionProvider"
_DRIVER, _CUDNN = "libcuda.so.1", "libcudnn.so.9"


@dataclass
class Diagnosis:
    """Result of a diagnosis.

    Attributes:
        environment: machine and package versions.
        torch_devices: state of each torch device, by name.
        onnxruntime_providers: state of each execution provider, by name.
        problems: one line per problem, with the way to fix it.
    """

    environment: dict[str, object]
    torch_devices: dict[str, str] = field(default_factory=dict)
    onnxruntime_providers: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the object that `aae doctor --json` prints."""
        return asdict(self)


def diagnose() -> Diagnosis:
    """Try every device and provider, and check for conflicting packages."""
    diagnosis = Diagnosis(describe_environment())
    versions = installed_versions()
    if "onnxruntime" in versions and "onnxruntime-gpu" in versions:
        diagnosis.problems.append(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other;"
            " uninstall both, then install one of the extras cpu or gpu"
        )
    if find_spec("torch") is None:
        diagnosis.torch_devices["torch"] = 'not installed; training needs: pip install "aae-toolkit[train,cpu]"'
    else:
        diagnosis.torch_devices |= _torch_devices(diagnosis.problems)
    if find_spec("onnxruntime") is None:
        diagnosis.problems.append('onnxruntime is not installed; predict needs: pip install "aae-toolkit[cpu]"')
    else:
        diagnosis.onnxruntime_providers |= _providers(diagnosis.problems)
    return diagnosis


def _torch_devices(problems: list[str]) -> dict[str, str]:
    import torch

    capabilities = torch.cpu.get_capabilities()
    bf16 = [name for name in ("amx_bf16", "avx512_bf16") if capabilities.get(name)]
    devices = {"cpu": f"{torch.get_num_threads()} threads; bf16 in hardware: {', '.join(bf16) or 'no'}"}
    if not torch.cuda.is_available():
        devices["cuda"] = "none found" if torch.version.cuda else "this build of torch has no CUDA"
        return devices
    for index in range(torch.cuda.device_count()):
        device = f"cuda:{index}"
        try:
            torch.ones(2, 2, device=device).matmul(torch.ones(2, 2, device=device)).sum().item()
            memory = torch.cuda.get_device_properties(index).total_memory / 2**30
            devices[device] = f"{torch.cuda.get_device_name(index)}, {memory:.0f} GiB"
        except RuntimeError as error:
            devices[device] = "does not run"
            problems.append(f"{device} is there but does not run: {' '.join(str(error).split())[:160]}")
    return devices


def _providers(problems: list[str]) -> dict[str, str]:
    """Open a session on every provider that ONNX Runtime lists: a listed provider may fail to load."""
    import onnxruntime as ort

    with redirect_stdout(sys.stderr):  # it prints the libraries that fail to load
        ort.preload_dlls()  # loads the CUDA libraries of torch and of NVIDIA's packages
    ort.set_default_logger_severity(4)  # failures are part of the result
    states = {}
    for provider in ort.get_available_providers():
        try:
            session = ort.InferenceSession(_IDENTITY_ONNX, providers=[provider], enable_fallback=False)
            used = session.get_providers()
            states[provider] = "loads" if used[0] == provider else f"does not load: falls back to {used[0]}"
        except Exception as error:  # its exception types are not public
            states[provider] = f"does not load: {str(error).rsplit(') ', 1)[-1].splitlines()[0][:120]}"
    if states.get(_CUDA, "loads") != "loads":
        has_driver, causes = _why_no_cuda()
        states[_CUDA] += "".join(f"; {cause}" for cause in causes)
        if has_driver:  # without a driver, CUDA is not expected to load
            problems.append(f"there is an NVIDIA driver, but {_CUDA} {states[_CUDA]}")
    if states.get("CPUExecutionProvider") != "loads":
        problems.append("ONNX Runtime's CPU provider does not load; reinstall one of the extras cpu or gpu")
    return states


def _why_no_cuda() -> tuple[bool, list[str]]:
    """Return whether there is an NVIDIA driver, and the usual causes for a failing CUDA provider that apply here."""
    if not _loads(_DRIVER):
        return False, [f"no NVIDIA driver is found ({_DRIVER})"]
    causes = []
    built_for = getattr(import_module("onnxruntime.capi.build_and_package_info"), "cuda_version", None)
    of_torch = import_module("torch").version.cuda if find_spec("torch") is not None else None
    if built_for and of_torch and built_for.split(".")[0] != of_torch.split(".")[0]:
        causes.append(
            f"ONNX Runtime is built for CUDA {built_for} and torch brings CUDA {of_torch}; install builds of one major"
            " version"
        )
    if not _loads(_CUDNN):
        causes.append(f"cuDNN is not found ({_CUDNN}); torch's CUDA build brings it")
    return True, causes


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
