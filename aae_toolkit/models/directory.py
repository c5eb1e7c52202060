"""Networks of a model directory: safetensors files beside `model.json`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from aae_toolkit.errors import AaeError
from aae_toolkit.files import require_own, sha256, verify_sha256, write_bytes, write_text
from aae_toolkit.models.deployed import DeployedClassifier, DeployedDecoder, DeployedEncoder
from aae_toolkit.models.description import FILE_NAME, Architecture, ModelDescription, read_description
from aae_toolkit.models.networks import Decoder, Encoder, ModeDecoder, Networks


@dataclass(frozen=True)
class TrainedModel:
    """A trained model for use: in eval mode, fp32, without discriminators."""

    description: ModelDescription
    encoder: Encoder
    decoder: Decoder
    mode_decoder: ModeDecoder | None = None

    @property
    def architecture(self) -> Architecture:
        """Kind and sizes of the networks."""
        return self.description.architecture

    def deployed(self) -> dict[str, nn.Module]:
        """Return the exported modules by artifact name, in eval mode."""
        d = self.description
        return {
            "classifier": DeployedClassifier(self.encoder, d.category_to_class, len(d.class_names)).eval(),
            "encoder": DeployedEncoder(self.encoder).eval(),
            "decoder": DeployedDecoder(self.decoder, d.architecture.image_shape).eval(),
        }


def weights_path(directory: Path, network: str, variant: str) -> Path:
    """Return the path of a network's weights in a model directory."""
    return directory / f"{network}_{variant}.safetensors"


def save_model(directory: Path, networks: Networks | TrainedModel, description: ModelDescription) -> None:
    """Write the trained networks, then `model.json` with their checksums, which completes a model directory."""
    (directory / FILE_NAME).unlink(missing_ok=True)  # an earlier training's: a mix of both must not look complete
    checksums = {}
    for name in ("encoder", "decoder", "mode_decoder"):
        path = weights_path(directory, name, description.variant)
        network = getattr(networks, name)
        if network is None:
            path.unlink(missing_ok=True)  # an earlier training may have had a mode decoder
        else:
            write_bytes(path, save({k: v.contiguous() for k, v in network.state_dict().items()}))
            checksums[path.name] = sha256(path)
    described = description.model_copy(update={"sha256": checksums})
    write_text(directory / FILE_NAME, described.model_dump_json(indent=2) + "\n")


def load_model(directory: Path, device: torch.device | str = "cpu") -> TrainedModel:
    """Read a model directory.

    Raises:
        AaeError: a file is absent or damaged, or does not fit `model.json`.
    """
    description = read_description(directory)
    a = description.architecture
    mode_path = weights_path(directory, "mode_decoder", description.variant)
    for name, checksum in description.sha256.items():
        verify_sha256(directory / Path(name).name, checksum)
    require_weights(a, Encoder, weights_path(directory, "encoder", description.variant))
    require_weights(a, Decoder, weights_path(directory, "decoder", description.variant))
    model = TrainedModel(description, Encoder(a), Decoder(a), ModeDecoder(a) if mode_path.exists() else None)
    for name in ("encoder", "decoder", "mode_decoder"):
        network = getattr(model, name)
        if network is not None:
            load_weights(network, weights_path(directory, name, description.variant))
            network.eval().requires_grad_(False).to(device)
    return model


def load_single_file(description: ModelDescription, path: Path) -> TrainedModel:
    """Rebuild encoder and decoder on the CPU from one file whose tensors are named `<network>.<weight>`.

    Raises:
        AaeError: the file is absent, damaged, or does not fit `description`.
    """
    a = description.architecture
    for kind in (Encoder, Decoder):
        require_weights(a, kind, path)
    tensors = _read_tensors(path)
    model = TrainedModel(description, Encoder(a), Decoder(a))
    for name, network in (("encoder", model.encoder), ("decoder", model.decoder)):
        prefix = f"{name}."
        own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        _load_tensors(network, own, path)
        network.eval().requires_grad_(False)
    return model


def require_weights(architecture: Architecture, kind: type[nn.Module], path: Path) -> None:
    """Raise `AaeError` if a file is too small for a network's weights, before memory is allocated for them."""
    require_own(path)
    with torch.device("meta"):
        n_bytes = sum(p.numel() * p.element_size() for p in kind(architecture).parameters())
    if path.is_file() and path.stat().st_size < n_bytes:
        raise AaeError(f"{path} does not fit model.json, whose {kind.__name__.lower()} has {n_bytes} bytes of weights")


def load_weights(network: nn.Module, path: Path) -> None:
    """Load the tensors of a safetensors file into `network`.

    Raises:
        AaeError: the file is absent, damaged, or from another architecture.
    """
    _load_tensors(network, _read_tensors(path), path)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise AaeError(f"{path} is missing; train the model again, or name another directory")
    try:
        return load_file(path)
    except Exception as error:  # safetensors' own, and what its header's types and shapes lead to
        raise AaeError(f"{path} is damaged: {' '.join(str(error).split())[:200]}") from error


def _load_tensors(network: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:  # load_state_dict lists every mismatch on a line
        raise AaeError(f"{path} does not fit model.json: {' '.join(str(error).split())[:200]}") from error
    except Exception as error:  # odd types and shapes
        raise AaeError(f"{path} is damaged: {' '.join(str(error).split())[:200]}") from error
