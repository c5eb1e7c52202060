"""Names of devices, resolved to devices of this machine."""

from __future__ import annotations

import torch

from aae_toolkit.errors import DeviceError, UsageError


def resolve_device(device: str) -> torch.device:
    """Return the device named `auto`, `cpu`, `cuda` or `cuda:i`.

    Raises:
        DeviceError: the machine has no such device.
        UsageError: not the name of a supported device.
    """
    if device == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"--device {device} is not a device; choose auto, cpu, cuda or cuda:N") from error
    if resolved.type not in ("cpu", "cuda"):
        raise UsageError(f"--device {device} is not supported; choose auto, cpu, cuda or cuda:N")
    if resolved.type == "cuda":
        n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (resolved.index or 0) >= n_devices:
            raise DeviceError(f"--device {device} asked for, {n_devices} CUDA devices found; see aae doctor")
        return torch.device("cuda", resolved.index or 0)
    return resolved
