"""Description of this machine for benchmarks, reports and `aae doctor`; does not import torch."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from aae_toolkit import __version__

PACKAGES = (
    "torch",
    "torchvision",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "onnxruntime-gpu",
    "numpy",
    "scikit-learn",
    "optuna",
    "faiss-cpu",
)


def installed_versions() -> dict[str, str]:
    """Return the versions of the installed packages that affect results."""
    from importlib.metadata import PackageNotFoundError, version  # slow to import, and not needed by `aae predict`

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def cpu_model() -> str:
    """Return the name of the processor, as the system reports it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def can_compile() -> bool:
    """Whether torch.compile can find a C++ compiler."""
    import shutil  # imports compression modules, which `aae predict` does not need

    return shutil.which(os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")) is not None


def describe_environment() -> dict[str, object]:
    """Return machine and package versions, as reports and JSON output show them."""
    return {
        "aae_toolkit": __version__,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "versions": installed_versions(),
    }
