"""Writing an export directory from a model directory."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from aae_toolkit import __version__
from aae_toolkit.errors import AaeError
from aae_toolkit.export.card import model_card
from aae_toolkit.export.contract import ARTIFACTS, REDUCED, Format, contract_of
from aae_toolkit.export.formats import OPSET, SUFFIXES, metadata_of, write_artifact
from aae_toolkit.export.manifest import FILE_NAME as MANIFEST_FILE
from aae_toolkit.export.manifest import WEIGHTS_FILE, ArtifactEntry, Manifest, golden_file, reduced_file
from aae_toolkit.files import atomic_path, sha256, write_bytes, write_text
from aae_toolkit.files.lock import lock_directory
from aae_toolkit.models.description import FILE_NAME as DESCRIPTION_FILE
from aae_toolkit.models.description import read_description
from aae_toolkit.models.directory import TrainedModel, load_model, load_weights, require_weights
from aae_toolkit.models.networks import Decoder, Encoder, decode_modes
from aae_toolkit.progress import Progress

CARD_FILE = "MODEL_CARD.md"

_N_GOLDEN_NOISE = 16


def export_model(
    model_dir: Path,
    output_dir: Path,
    formats: tuple[Format, ...],
    progress: Progress,
    *,
    opset: int = OPSET,
    device: str = "cpu",
) -> Manifest:
    """Write every artifact in every format, then the manifest that makes the directory an export.

    Args:
        model_dir: a trained model.
        output_dir: where to write; an earlier export there is removed first.
        formats: at least one.
        progress: told of each artifact.
        opset: of ONNX files.
        device: that AOTInductor compiles for.

    Raises:
        AaeError: an unreadable model, or a directory that cannot be written or that another process writes to.
    """
    model = load_model(model_dir)
    try:
        with lock_directory(output_dir, progress):
            return _write(model, output_dir, formats, progress, opset, device)
    except OSError as error:
        raise AaeError(f"export directory {output_dir} cannot be written: {error.strerror or error}") from error


def _write(
    model: TrainedModel, output_dir: Path, formats: tuple[Format, ...], progress: Progress, opset: int, device: str
) -> Manifest:
    """Remove an earlier export, its manifest first, and write this one, its manifest after all that it names."""
    description, modules = model.description, model.deployed()
    artifacts = [f"{artifact}{suffix}" for artifact in ARTIFACTS for suffix in SUFFIXES.values()]
    reduced = [name(p) for p in REDUCED for name in (reduced_file, golden_file)]
    for stale in (MANIFEST_FILE, CARD_FILE, *artifacts, *reduced):
        (output_dir / stale).unlink(missing_ok=True)
    weights = {"encoder": model.encoder.state_dict(), "decoder": model.decoder.state_dict()}
    flat = {f"{network}.{k}": v.contiguous() for network, tensors in weights.items() for k, v in tensors.items()}
    write_bytes(output_dir / WEIGHTS_FILE, save(flat))
    weights_sha256 = sha256(output_dir / WEIGHTS_FILE)
    write_text(output_dir / DESCRIPTION_FILE, description.model_dump_json(indent=2) + "\n")
    with atomic_path(output_dir / golden_file()) as temporary:
        np.savez(temporary, **golden(model))  # type: ignore[arg-type]  # numpy's stub takes kwargs for a flag
    wanted = [(format_, artifact) for format_ in formats for artifact in ARTIFACTS]
    entries = []
    for format_, artifact in progress.track(wanted, "export", len(wanted)):
        contract = contract_of(artifact, description)
        metadata = metadata_of(artifact, contract, description, weights_sha256)
        path = output_dir / f"{artifact}{SUFFIXES[format_]}"
        facts = write_artifact(format_, modules[artifact], contract, path, metadata, opset=opset, device=device)
        entries.append(
            ArtifactEntry(
                file=path.name,
                artifact=artifact,
                format=format_,
                contract=contract,
                size_bytes=path.stat().st_size,
                **facts,
            )
        )
    names = [WEIGHTS_FILE, DESCRIPTION_FILE, golden_file(), *(entry.file for entry in entries)]
    manifest = Manifest(
        toolkit_version=__version__,
        variant=description.variant,
        versions={package: version(package) for package in ("torch", "onnx", "onnxscript", "numpy")},
        artifacts=tuple(entries),
        sha256={name: sha256(output_dir / name) for name in names},
    )
    manifest.save(output_dir)
    write_text(output_dir / CARD_FILE, model_card(description, manifest))
    return manifest


def load_exported(directory: Path, device: str = "cpu") -> TrainedModel:
    """Rebuild the trained model from an export directory alone: the reference that artifacts are compared with.

    Raises:
        AaeError: absent or damaged files.
    """
    description = read_description(directory)
    for kind in (Encoder, Decoder):
        require_weights(description.architecture, kind, directory / WEIGHTS_FILE)
    model = TrainedModel(description, Encoder(description.architecture), Decoder(description.architecture))
    for name, network in (("encoder", model.encoder), ("decoder", model.decoder)):
        load_weights(network, directory / WEIGHTS_FILE, prefix=f"{name}.")
        network.eval().requires_grad_(False).to(device)
    return model


@torch.inference_mode()
def golden(model: TrainedModel) -> dict[str, NDArray[np.generic]]:
    """Inputs and the outputs they must give, by `<artifact>.<tensor>`.

    The images need no data set: black, white, seeded noise, and the model's own modes, which look like real images.
    """
    c, h, w = model.architecture.image_shape
    modes = (decode_modes(model.decoder, model.architecture).sigmoid() * 255).round().to(torch.uint8)
    noise = torch.randint(0, 256, (_N_GOLDEN_NOISE, c, h, w), generator=torch.Generator().manual_seed(0))
    flat = torch.tensor([0, 255]).reshape(2, 1, 1, 1).expand(2, c, h, w)
    images = torch.cat([flat.to(torch.uint8), noise.to(torch.uint8), modes.reshape(-1, c, h, w)])
    modules = model.deployed()
    feeds = {"classifier": (images,), "encoder": (images,), "decoder": modules["encoder"](images)}
    vectors: dict[str, NDArray[np.generic]] = {}
    for artifact in ARTIFACTS:
        contract = contract_of(artifact, model.description)
        outputs = modules[artifact](*feeds[artifact])
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        for side, names, tensors in (
            ("input", contract.input_names, feeds[artifact]),
            ("output", contract.output_names, outputs),
        ):
            vectors |= {f"{artifact}.{side}.{k}": t.numpy() for k, t in zip(names, tensors, strict=True)}
    return vectors
