"""Golden vectors: test images of an export, with the outputs that every file must reproduce without a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aae_toolkit.errors import AaeError
from aae_toolkit.export.contract import ARTIFACTS, ArtifactName, Precision, Tensors, TensorSpec, contract_of
from aae_toolkit.export.manifest import golden_file
from aae_toolkit.files import atomic_path
from aae_toolkit.files.archives import read_npz
from aae_toolkit.models.description import ModelDescription

if TYPE_CHECKING:
    from aae_toolkit.models.directory import TrainedModel

_N_NOISE = 16


@dataclass(frozen=True)
class GoldenVectors:
    """Inputs and expected outputs, by artifact and by the names of the contract, each [N, ...]."""

    inputs: dict[ArtifactName, Tensors]
    outputs: dict[ArtifactName, Tensors]

    def __len__(self) -> int:
        """Number of images, N."""
        return len(self.inputs["classifier"]["images"])


def compute_golden(model: TrainedModel) -> GoldenVectors:
    """Run the trained model on the golden images: black, white, seeded noise, and the decoded modes of the model."""
    import torch

    from aae_toolkit.models.networks import decode_modes, enlarge

    c, h, w = model.architecture.image_shape
    inputs: dict[ArtifactName, Tensors] = {}
    outputs: dict[ArtifactName, Tensors] = {}
    with torch.inference_mode():
        decoded = model.decoder.images(decode_modes(model.decoder, model.architecture))
        decoded = enlarge(decoded.reshape(-1, *model.architecture.picture_shape), (c, h, w))
        modes = (decoded * 255).round().to(torch.uint8)
        noise = torch.randint(0, 256, (_N_NOISE, c, h, w), generator=torch.Generator().manual_seed(0))
        flat = torch.tensor([0, 255]).reshape(2, 1, 1, 1).expand(2, c, h, w)
        images = torch.cat([flat.to(torch.uint8), noise.to(torch.uint8), modes])
        modules = model.deployed()
        feeds = {"classifier": (images,), "encoder": (images,), "decoder": modules["encoder"](images)}
        for artifact in ARTIFACTS:
            contract = contract_of(artifact, model.description)
            given = modules[artifact](*feeds[artifact])
            given = given if isinstance(given, tuple) else (given,)
            inputs[artifact] = {k: t.numpy() for k, t in zip(contract.input_names, feeds[artifact], strict=True)}
            outputs[artifact] = {k: t.numpy() for k, t in zip(contract.output_names, given, strict=True)}
    return GoldenVectors(inputs, outputs)


def write_golden(directory: Path, vectors: GoldenVectors) -> None:
    """Write the golden vectors of every artifact, whole or not at all."""
    named: Tensors = {}
    for artifact in ARTIFACTS:
        named |= _prefixed(f"{artifact}.input", vectors.inputs[artifact])
        named |= _prefixed(f"{artifact}.output", vectors.outputs[artifact])
    with atomic_path(directory / golden_file()) as temporary:
        np.savez(temporary, **named)  # type: ignore[arg-type]  # numpy's stub takes kwargs for a flag


def write_reduced_golden(path: Path, outputs: Tensors) -> None:
    """Write the outputs of a classifier of reduced precision for the golden images."""
    np.savez(path, **_prefixed("classifier.output", outputs))  # type: ignore[arg-type]  # as above


def read_golden(directory: Path, description: ModelDescription) -> GoldenVectors:
    """Read the golden vectors of an export, and check that they fit its contracts.

    Raises:
        AaeError: the vectors are damaged, or of another model.
    """
    path = directory / golden_file()
    vectors = _read(path)
    n = len(vectors.get("classifier.input.images", ()))
    inputs: dict[ArtifactName, Tensors] = {}
    outputs: dict[ArtifactName, Tensors] = {}
    for artifact in ARTIFACTS:
        contract = contract_of(artifact, description)
        inputs[artifact] = _checked(path, vectors, f"{artifact}.input", contract.inputs, n)
        outputs[artifact] = _checked(path, vectors, f"{artifact}.output", contract.outputs, n)
    return GoldenVectors(inputs, outputs)


def read_reduced_golden(directory: Path, description: ModelDescription, precision: Precision, n: int) -> Tensors:
    """Read the recorded outputs of a classifier of reduced precision for the `n` golden images.

    Raises:
        AaeError: the vectors are damaged, or of another model.
    """
    path, outputs = directory / golden_file(precision), contract_of("classifier", description).outputs
    return _checked(path, _read(path), "classifier.output", outputs, n)


def _read(path: Path) -> Tensors:
    try:
        return read_npz(path)
    except (OSError, ValueError) as error:
        raise AaeError(f"{path} is damaged or not npz; run aae export again") from error


def _prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _checked(path: Path, vectors: Tensors, prefix: str, specs: tuple[TensorSpec, ...], n: int) -> Tensors:
    """Return the inputs or outputs of an artifact, checked for type, shape and number of images."""
    for spec in specs:
        tensor = vectors.get(f"{prefix}.{spec.name}")
        if tensor is None or tensor.dtype != spec.dtype or tensor.shape != (n, *spec.shape[1:]) or n == 0:
            raise AaeError(f"{path} has no vectors {prefix}.{spec.name} of this model; export again")
    return {spec.name: vectors[f"{prefix}.{spec.name}"] for spec in specs}
