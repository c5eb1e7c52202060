"""Export directory, opened and verified once and passed between packages. Opening it imports no torch."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aae_toolkit.export.card import model_card
from aae_toolkit.export.contract import ArtifactName, Contract, Precision, Tensors, contract_of
from aae_toolkit.export.golden import GoldenVectors, read_golden, read_reduced_golden
from aae_toolkit.export.manifest import FILE_NAME as MANIFEST_FILE
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
    """Export whose manifest was read and whose checksums were verified when it was opened.

    It is immutable: `recorded` writes a new manifest and returns a new object. The reference networks and the golden
    vectors are read on first use, and cached.

    Attributes:
        path: the directory.
        manifest: content of `manifest.json`.
        description: content of `model.json`.
    """

    path: Path
    manifest: Manifest
    description: ModelDescription

    @classmethod
    def open(cls, path: Path, *, trust: bool = False) -> ExportDirectory:
        """Read the manifest of an export and verify the checksum of every file.

        Args:
            path: directory written by `aae export`, on any machine.
            trust: accept artifacts without a checksum in the manifest.

        Raises:
            AaeError: a file is missing or damaged, or an artifact has no checksum.
        """
        manifest = read_manifest(path, trust=trust)
        for name in manifest.sha256:
            if name != DESCRIPTION_FILE:
                manifest.verify(path, name)
        require_present(path / DESCRIPTION_FILE)
        return cls(path, manifest, read_description(path, sha256=manifest.sha256[DESCRIPTION_FILE]))

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields without the caches: a process that receives the object reads the weights if needed."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def unlisted(self) -> list[str]:
        """Return the names of files in the directory that the manifest does not list, and nothing verifies."""
        known = {MANIFEST_FILE, CARD_FILE, *self.manifest.sha256, *(entry.file for entry in self.artifacts)}
        return sorted(path.name for path in self.path.iterdir() if path.is_file() and path.name not in known)

    @property
    def artifacts(self) -> tuple[ArtifactEntry, ...]:
        """Entries of the exported files."""
        return self.manifest.artifacts

    @property
    def weights_sha256(self) -> str:
        """Checksum of the weights, which identifies the model."""
        return self.manifest.sha256[WEIGHTS_FILE]

    def entry(self, file: str) -> ArtifactEntry | None:
        """Return the entry of a file; None if the export has no such file."""
        return next((entry for entry in self.artifacts if entry.file == file), None)

    def contract(self, artifact: ArtifactName) -> Contract:
        """Return the inputs and outputs of an artifact."""
        return contract_of(artifact, self.description)

    @cached_property
    def reference(self) -> TrainedModel:
        """Trained model, rebuilt on the CPU from the weights in the export.

        Raises:
            AaeError: the weights are damaged, or do not fit `model.json`.
        """
        from aae_toolkit.models.directory import load_single_file

        return load_single_file(self.description, self.path / WEIGHTS_FILE)

    @cached_property
    def _modules(self) -> dict[str, nn.Module]:
        return self.reference.deployed()

    def module(self, artifact: ArtifactName, device: torch.device | str = "cpu") -> nn.Module:
        """Return the module that an artifact was exported from, in eval mode; a shared object on the CPU."""
        import torch

        module = self._modules[artifact]
        return module if torch.device(device).type == "cpu" else copy.deepcopy(module).to(device)

    @cached_property
    def golden(self) -> GoldenVectors:
        """Golden vectors of every artifact.

        Raises:
            AaeError: the vectors are damaged, or of another model.
        """
        return read_golden(self.path, self.description)

    def reduced_golden(self, precision: Precision) -> Tensors:
        """Read the outputs for the golden images that were recorded when the reduced classifier was written.

        Raises:
            AaeError: the vectors are damaged, or of another model.
        """
        return read_reduced_golden(self.path, self.description, precision, len(self.golden))

    def recorded(self, **changes: Any) -> ExportDirectory:
        """Write the manifest with changed fields, and the model card; return the changed export.

        Raises:
            OSError: the directory cannot be written.
        """
        changed = dataclasses.replace(self, manifest=self.manifest.model_copy(update=changes))
        changed.manifest.save(self.path)
        write_text(self.path / CARD_FILE, model_card(self.description, changed.manifest))
        kept = {name: value for name, value in vars(self).items() if name not in self.__getstate__()}
        vars(changed).update(kept)  # cached properties
        return changed
