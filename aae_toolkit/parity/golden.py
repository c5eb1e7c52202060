"""The golden vectors of an export: images, and what its files must give for them. They need no data set."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from aae_toolkit.backends.base import Tensors
from aae_toolkit.errors import AaeError
from aae_toolkit.export.contract import ARTIFACTS, ArtifactName, Precision, TensorSpec, contract_of
from aae_toolkit.export.manifest import golden_file
from aae_toolkit.files.archives import read_npz
from aae_toolkit.models.description import ModelDescription
from aae_toolkit.parity.cases import Case


def golden_case(export_dir: Path, description: ModelDescription) -> Case:
    """The golden vectors of an export, found to be of its contracts."""
    path = export_dir / golden_file()
    vectors = _read_vectors(path)
    n = len(vectors.get("classifier.input.images", ()))
    sides: dict[str, dict[ArtifactName, Tensors]] = {"input": {}, "output": {}}
    for artifact in ARTIFACTS:
        contract = contract_of(artifact, description)
        sides["input"][artifact] = _checked(path, vectors, f"{artifact}.input", contract.inputs, n)
        sides["output"][artifact] = _checked(path, vectors, f"{artifact}.output", contract.outputs, n)
    return Case("golden images", sides["input"], sides["output"], (1, n), whole=True)


def reduced_golden_case(export_dir: Path, description: ModelDescription, precision: Precision, full: Case) -> Case:
    """The golden images, and what the classifier of reduced precision gave where it was written."""
    path, outputs = export_dir / golden_file(precision), contract_of("classifier", description).outputs
    given = _checked(path, _read_vectors(path), "classifier.output", outputs, len(full))
    return dataclasses.replace(full, expected=full.expected | {"classifier": given})


def _read_vectors(path: Path) -> Tensors:
    try:
        return read_npz(path)
    except (OSError, ValueError) as error:
        raise AaeError(f"{path} is damaged or not npz; run aae export again") from error


def _checked(path: Path, vectors: Tensors, prefix: str, specs: tuple[TensorSpec, ...], n: int) -> Tensors:
    """The vectors of one side of an artifact, of `n` images."""
    for spec in specs:
        found = vectors.get(f"{prefix}.{spec.name}")
        if found is None or found.dtype != spec.dtype or found.shape != (n, *spec.shape[1:]) or n == 0:
            raise AaeError(f"{path} has no vectors {prefix}.{spec.name} of this model; export again")
    return {spec.name: vectors[f"{prefix}.{spec.name}"] for spec in specs}
