"""What this machine is: said in every benchmark and by `aae doctor`. No torch is imported here."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

PACKAGES = ("torch", "torchvision", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu", "numpy", "scikit-learn")


def installed_versions() -> dict[str, str]:
    """Versions of the packages that matter to results, of those installed."""
    from importlib.metadata import PackageNotFoundError, version  # slow to import; `aae predict` does without

    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def cpu_model() -> str:
    """The processor's name, as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def can_compile() -> bool:
    """Whether torch.compile finds the C++ compiler that it needs."""
    import shutil  # brings compression, which `aae predict` can do without

    return shutil.which(os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")) is not None


def describe_environment() -> dict[str, object]:
    """Machine and versions, for a report."""
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "versions": installed_versions(),
    }
