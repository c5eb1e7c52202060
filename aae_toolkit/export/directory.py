"""An export directory, opened and verified once and passed from room to room. Opening it imports no torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aae_toolkit.export.card import model_card
from aae_toolkit.export.contract import ArtifactName, Contract, Precision, Tensors, contract_of
from aae_toolkit.export.golden import GoldenVectors, read_golden, read_reduced_golden
from aae_toolkit.export.manifest import WEIGHTS_FILE, ArtifactEntry, Manifest, read_manifest
from aae_toolkit.files import write_text
from aae_toolkit.files.checksums import require_present
from aae_toolkit.models.description import FILE_NAME as DESCRIPTION_FILE
from aae_toolkit.models.description import ModelDescription, read_description

if TYPE_CHECKING:
    import torch
    from torch import nn

    from aae_toolkit.models.directory import TrainedModel

CARD_FILE = "MODEL_CARD.md"


@dataclass(frozen=True)
class ExportDirectory:
    """An export whose index and checksums were read and verified when it was opened.

    It is immutable: `recorded` writes a new manifest and returns the export with it. The reference networks and the
    golden vectors are read when they are first asked for, and kept.

    Attributes:
        path: the directory.
        manifest: the content of `manifest.json`.
        description: the content of `model.json`.
    """

    path: Path
    manifest: Manifest
    description: ModelDescription

    @classmethod
    def open(cls, path: Path, *, trust: bool = False) -> ExportDirectory:
        """Read the index of an export and verify the checksum of every file.

        Args:
            path: written by `aae export`, here or elsewhere.
            trust: accept artifacts that the manifest has no checksum of.

        Raises:
            AaeError: a missing or damaged file, or an artifact without a checksum.
        """
        manifest = read_manifest(path, trust=trust)
        for name in manifest.sha256:
            if name != DESCRIPTION_FILE:
                manifest.verify(path, name)
        require_present(path / DESCRIPTION_FILE)
        return cls(path, manifest, read_description(path, sha256=manifest.sha256[DESCRIPTION_FILE]))

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: a process that is sent an export reads the weights itself, if it needs them."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @property
    def artifacts(self) -> tuple[ArtifactEntry, ...]:
        """The exported files."""
        return self.manifest.artifacts

    @property
    def weights_sha256(self) -> str:
        """The checksum of the weights, which tells one model from another."""
        return self.manifest.sha256[WEIGHTS_FILE]

    def entry(self, file: str) -> ArtifactEntry | None:
        """The exported file of that name; None where there is none."""
        return next((entry for entry in self.artifacts if entry.file == file), None)

    def contract(self, artifact: ArtifactName) -> Contract:
        """The inputs and outputs of an artifact."""
        return contract_of(artifact, self.description)

    @cached_property
    def reference(self) -> TrainedModel:
        """The trained model, rebuilt on the CPU from the export's weights alone.

        Raises:
            AaeError: damaged weights, or weights that do not fit `model.json`.
        """
        from aae_toolkit.models.directory import load_single_file

        return load_single_file(self.description, self.path / WEIGHTS_FILE)

    @cached_property
    def _modules(self) -> dict[str, nn.Module]:
        return self.reference.deployed()

    def module(self, artifact: ArtifactName, device: torch.device | str = "cpu") -> nn.Module:
        """The module that an artifact was exported from, in eval mode; on the CPU, the same one every time."""
        import copy

        import torch

        module = self._modules[artifact]
        return module if torch.device(device).type == "cpu" else copy.deepcopy(module).to(device)

    @cached_property
    def golden(self) -> GoldenVectors:
        """The golden vectors of every artifact.

        Raises:
            AaeError: damaged vectors, or vectors of another model.
        """
        return read_golden(self.path, self.description)

    def reduced_golden(self, precision: Precision) -> Tensors:
        """Outputs that the classifier of reduced precision gave for the golden images where it was written.

        Raises:
            AaeError: damaged vectors, or vectors of another model.
        """
        return read_reduced_golden(self.path, self.description, precision, len(self.golden))

    def recorded(self, **changes: Any) -> ExportDirectory:
        """Write a manifest with these changes, and the model card; return the export with it.

        Raises:
            OSError: the directory cannot be written.
        """
        changed = dataclasses.replace(self, manifest=self.manifest.model_copy(update=changes))
        changed.manifest.save(self.path)
        write_text(self.path / CARD_FILE, model_card(self.description, changed.manifest))
        kept = {name: value for name, value in vars(self).items() if name not in self.__getstate__()}
        vars(changed).update(kept)  # what was read already
        return changed
