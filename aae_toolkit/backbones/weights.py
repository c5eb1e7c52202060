"""Weights of a backbone: from a file that somebody else may have made, or downloaded by the provider."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from aae_toolkit.backbones.provider import Provider
from aae_toolkit.errors import AaeError
from aae_toolkit.files import require_own
from aae_toolkit.text import reason_of

State = dict[str, Tensor]

_N_NAMES = 3  # most names of weights in an error
_COUNTER = "num_batches_tracked"  # BatchNorm's, which older files lack and nothing here reads


def read_state(path: Path) -> State:
    """Read a state dict, from safetensors or, without running code, from a file of `torch.save`.

    Raises:
        AaeError: the file is absent, damaged, needs code to run, or holds anything else.
    """
    if not path.is_file():
        raise AaeError(f"--backbone-weights {path} is no file; give a .safetensors file, or a state dict of torch.save")
    require_own(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the error below is clearer
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the readers raise several types
        raise AaeError(
            f"--backbone-weights {path} is not a state dict that loads without running code; give a .safetensors file,"
            " or torch.save(model.state_dict(), FILE)"
        ) from error
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise AaeError(
            f"--backbone-weights {path} holds no state dict; save one by torch.save(model.state_dict(), FILE)"
        )
    return state


def download(provider: Provider, name: str) -> State:
    """Download the weights of a network.

    Raises:
        AaeError: there are none, or they cannot be downloaded.
    """
    try:
        return provider.pretrained(name)
    except Exception as error:  # any of the provider's, urllib's and the hub's
        raise AaeError(
            f"weights of {name} cannot be downloaded ({reason_of(error)}); give a file with --backbone-weights"
        ) from error


def load_state(network: nn.Module, state: State, source: str, name: str, ignored: tuple[str, ...] = ()) -> None:
    """Load a state dict into `network`; weights of its classifier, whose names begin with `ignored`, are left out.

    Raises:
        AaeError: a weight is missing, unknown or of another shape.
    """
    own = network.state_dict()
    kept = {key: value for key, value in state.items() if key in own or not _begins(key, ignored)}
    missing = [key for key in own if key not in kept and not key.endswith(_COUNTER)]
    unknown = [key for key in kept if key not in own]
    other = [key for key in kept if key in own and kept[key].shape != own[key].shape]
    for keys, problem in ((missing, "it lacks"), (unknown, "unknown there:"), (other, "other shapes:")):
        if keys:
            more = f" and {len(keys) - _N_NAMES} more" if len(keys) > _N_NAMES else ""
            raise AaeError(f"{source} does not fit {name}: {problem} {', '.join(keys[:_N_NAMES])}{more}")
    network.load_state_dict(kept, strict=False)


def own_tensors(network: nn.Module) -> State:
    """Return copies of the weights, as safetensors takes them: contiguous, and of memory that no two share."""
    contiguous = torch.contiguous_format
    return {key: value.clone(memory_format=contiguous) for key, value in network.state_dict().items()}


def _begins(key: str, parts: tuple[str, ...]) -> bool:
    return any(key == part or key.startswith(f"{part}.") for part in parts)
