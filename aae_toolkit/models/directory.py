"""Networks of a model directory: safetensors files beside `model.json`."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from aae_toolkit.backbones.description import WEIGHTS_FILE as BACKBONE_FILE
from aae_toolkit.backbones.network import Backbone, embedding_size, n_weight_bytes
from aae_toolkit.backbones.weights import own_tensors
from aae_toolkit.data.kinds import require_kind
from aae_toolkit.errors import AaeError
from aae_toolkit.files import atomic_path, require_own, sha256, verify_sha256, write_bytes, write_text
from aae_toolkit.models.deployed import DeployedClassifier, DeployedDecoder, DeployedEncoder
from aae_toolkit.models.description import FILE_NAME, Architecture, ModelDescription, read_description
from aae_toolkit.models.networks import Decoder, Encoder, ImageEncoder, ModeDecoder, Networks


@dataclass(frozen=True)
class TrainedModel:
    """A trained model for use: in eval mode, fp32, without discriminators.

    Where its architecture has a backbone, `encoder` takes embeddings, and `backbone` is None only during training.
    """

    description: ModelDescription
    encoder: Encoder
    decoder: Decoder
    mode_decoder: ModeDecoder | None = None
    backbone: Backbone | None = None

    @cached_property
    def image_encoder(self) -> Encoder | ImageEncoder:
        """Encoder that takes images."""
        if self.architecture.backbone is None:
            return self.encoder
        assert self.backbone is not None
        return ImageEncoder(self.backbone, self.encoder).eval()

    @property
    def architecture(self) -> Architecture:
        """Kind and sizes of the networks."""
        return self.description.architecture

    def deployed(self) -> dict[str, nn.Module]:
        """Return the exported modules by artifact name, in eval mode."""
        d = self.description
        return {
            "classifier": DeployedClassifier(self.image_encoder, d.category_to_class, len(d.class_names)).eval(),
            "encoder": DeployedEncoder(self.image_encoder).eval(),
            "decoder": DeployedDecoder(self.decoder, d.architecture.picture_shape).eval(),
        }


def weights_path(directory: Path, network: str, variant: str) -> Path:
    """Return the path of a network's weights in a model directory."""
    return directory / f"{network}_{variant}.safetensors"


def save_model(
    directory: Path, networks: Networks | TrainedModel, description: ModelDescription, backbone: Path | None = None
) -> None:
    """Write the trained networks, then `model.json` with their checksums, which completes a model directory.

    `backbone` is the file with the weights of the model's backbone, which is linked or copied.
    """
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
    (directory / BACKBONE_FILE).unlink(missing_ok=True)
    if backbone is not None:
        assert description.architecture.backbone is not None
        verify_sha256(backbone, description.architecture.backbone.sha256)
        _link_or_copy(backbone, directory / BACKBONE_FILE)
        checksums[BACKBONE_FILE] = description.architecture.backbone.sha256
    described = description.model_copy(update={"sha256": checksums})
    write_text(directory / FILE_NAME, described.model_dump_json(indent=2) + "\n")


def load_model(directory: Path, device: torch.device | str = "cpu") -> TrainedModel:
    """Read a model directory.

    Raises:
        AaeError: a file is absent or damaged, or does not fit `model.json`.
    """
    require_kind(directory, "model directory")
    description = read_description(directory)
    a = description.architecture
    mode_path = weights_path(directory, "mode_decoder", description.variant)
    for name, checksum in description.sha256.items():
        verify_sha256(directory / Path(name).name, checksum)
    require_weights(a, Encoder, weights_path(directory, "encoder", description.variant))
    require_weights(a, Decoder, weights_path(directory, "decoder", description.variant))
    model = TrainedModel(
        description,
        Encoder(a),
        Decoder(a),
        ModeDecoder(a) if mode_path.exists() else None,
        _backbone(a, _read_tensors(directory / BACKBONE_FILE), directory / BACKBONE_FILE) if a.backbone else None,
    )
    for name in ("encoder", "decoder", "mode_decoder"):
        network = getattr(model, name)
        if network is not None:
            load_weights(network, weights_path(directory, name, description.variant))
            network.eval().requires_grad_(False).to(device)
    if model.backbone is not None:
        model.backbone.to(device)
    return model


def load_single_file(description: ModelDescription, path: Path) -> TrainedModel:
    """Rebuild encoder, decoder and backbone on the CPU from one file whose tensors are named `<network>.<weight>`.

    Raises:
        AaeError: the file is absent, damaged, or does not fit `description`.
    """
    a = description.architecture
    for kind in (Encoder, Decoder):
        require_weights(a, kind, path)
    tensors = _read_tensors(path)
    backbone = _backbone(a, _under("backbone.", tensors), path) if a.backbone else None
    model = TrainedModel(description, Encoder(a), Decoder(a), backbone=backbone)
    for name, network in (("encoder", model.encoder), ("decoder", model.decoder)):
        _load_tensors(network, _under(f"{name}.", tensors), path)
        network.eval().requires_grad_(False)
    return model


def single_file(model: TrainedModel) -> bytes:
    """Return the networks that are exported as the content of one file, which `load_single_file` reads."""
    networks = {"encoder": model.encoder, "decoder": model.decoder}
    tensors = {f"{name}.{k}": v.contiguous() for name, n in networks.items() for k, v in n.state_dict().items()}
    if model.backbone is not None:
        tensors |= {f"backbone.{k}": v for k, v in own_tensors(model.backbone.network).items()}
    return save(tensors)


def _backbone(architecture: Architecture, tensors: dict[str, Tensor], path: Path) -> Backbone:
    """Build the backbone of an architecture with weights from `path`."""
    described = architecture.backbone
    assert described is not None
    n_bytes = n_weight_bytes(described.name)
    if path.stat().st_size < n_bytes:
        raise AaeError(f"{path} does not fit model.json, whose backbone has {n_bytes} bytes of weights")
    backbone = Backbone(described, architecture.image_shape)
    _load_tensors(backbone.network, tensors, path)
    n_features = embedding_size(backbone.network, described.name, described.input_size)
    if n_features != described.embedding_size:
        raise AaeError(f"{path} gives {n_features} features; model.json says {described.embedding_size}")
    return backbone


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _link_or_copy(source: Path, target: Path) -> None:
    """Link a file that is only ever replaced, never changed; copy it where links are not possible."""
    with atomic_path(target) as temporary:
        try:
            temporary.hardlink_to(source.resolve())
        except OSError:
            shutil.copyfile(source, temporary)


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
