"""Contracts: inputs and outputs of each exported artifact, equal in all formats. This module imports no torch."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from aae_toolkit.models.description import ModelDescription

ArtifactName = Literal["classifier", "encoder", "decoder", "image_classifier"]
ARTIFACTS: tuple[ArtifactName, ...] = ("classifier", "encoder", "decoder")  # those that the networks make
IMAGE: ArtifactName = "image_classifier"  # the classifier behind the preparation of decoded images
Precision = Literal["fp32", "fp16", "int8"]
REDUCED: tuple[Precision, ...] = ("fp16", "int8")
BATCH_AXIS = "N"

Tensors = dict[str, NDArray[Any]]  # arrays by the names of the contract


class Format(StrEnum):
    """File formats of exported artifacts."""

    ONNX = "onnx"
    TORCHSCRIPT = "torchscript"
    TORCH_EXPORT = "torch-export"
    AOTI = "aoti"


class TensorSpec(BaseModel):
    """Input or output of an artifact; its first axis is the batch, N, of any size."""

    model_config = ConfigDict(frozen=True)

    name: str
    dtype: Literal["uint8", "float32", "int64"]
    shape: tuple[str | int, ...]
    meaning: str

    def __str__(self) -> str:
        """Return type and shape, such as `uint8 [N, 1, 28, 28]`."""
        return f"{self.dtype} [{', '.join(map(str, self.shape))}]"


class Contract(BaseModel):
    """Inputs and outputs of an artifact, in order."""

    model_config = ConfigDict(frozen=True)

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs."""
        return [spec.name for spec in self.inputs]

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs."""
        return [spec.name for spec in self.outputs]


def contract_of(artifact: ArtifactName, description: ModelDescription) -> Contract:
    """Return the contract of an artifact of a model."""
    a = description.architecture
    n = BATCH_AXIS
    pixels = TensorSpec(name="images", dtype="uint8", shape=(n, *a.image_shape), meaning="pixels, 0-255")
    y = TensorSpec(name="y", dtype="float32", shape=(n, a.n_classes), meaning="category probabilities")
    z = TensorSpec(name="z", dtype="float32", shape=(n, a.z_size), meaning="style")
    if artifact == "encoder":
        return Contract(inputs=(pixels,), outputs=(y, z))
    if artifact == "decoder":
        decoded = TensorSpec(name="images", dtype="float32", shape=(n, *a.picture_shape), meaning="pixels, 0-1")
        return Contract(inputs=(y, z), outputs=(decoded,))
    label = TensorSpec(name="label", dtype="int64", shape=(n,), meaning="class index")
    probabilities = TensorSpec(
        name="probabilities", dtype="float32", shape=(n, len(description.class_names)), meaning="by class, sums to 1"
    )
    category = TensorSpec(name="category", dtype="int64", shape=(n,), meaning="likeliest category, 0 to K-1")
    if artifact == IMAGE:
        kinds = "pixels, 0-255; C is 1 for grey, 2 for grey and alpha, 3 for RGB, 4 for RGBA"
        pixels = TensorSpec(name="image", dtype="uint8", shape=(n, "H", "W", "C"), meaning=kinds)
    return Contract(inputs=(pixels,), outputs=(label, probabilities, category))
