"""Description of a trained model, `model.json`: all that is needed to rebuild its networks and to name its classes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from aae_toolkit.backbones.description import BackboneDescription, thumbnail_shape
from aae_toolkit.config import Reconstruction, Variant
from aae_toolkit.data.kinds import require_kind
from aae_toolkit.data.preparation import Preparation
from aae_toolkit.errors import AaeError
from aae_toolkit.files import require_own
from aae_toolkit.files.checksums import require_equal_sha256
from aae_toolkit.files.documents import Name, brief, parse_document, parse_json, read_limited
from aae_toolkit.models.array_input import require_pixels
from aae_toolkit.models.diagnosis import Diagnosis
from aae_toolkit.models.epochs import Epochs
from aae_toolkit.models.labels import DTYPE_PATTERN, Label, label_array

if TYPE_CHECKING:
    from aae_toolkit.data.directory import DataDirectory

FILE_NAME = "model.json"
CHECKPOINT_FILE = "checkpoint.pt"  # state of the training, from which it can go on


Size = Annotated[int, Field(ge=1, le=2**16)]


class Architecture(BaseModel):
    """The networks' kind and sizes.

    With a `backbone` the encoder takes its embeddings, and the decoder gives pictures of `thumbnail_shape`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoder: Literal["mlp", "conv"]
    hidden_size: int = Field(ge=1, le=2**16)
    conv_channels: tuple[Size, ...] = Field(min_length=1, max_length=64)
    early_pool: bool = True
    encoder_dropout: float = Field(ge=0, lt=1)
    image_shape: tuple[Size, Size, Size]  # C, H, W, in pixels
    n_classes: int = Field(ge=2, le=2**16)  # K, units of y
    z_size: int = Field(ge=1, le=2**16)  # Z
    standardize: bool = False  # the encoder standardizes its input
    reconstruction: Reconstruction = "bernoulli"  # distribution that the decoder's output describes
    backbone: BackboneDescription | None = None
    thumbnail_shape: tuple[Size, Size, Size] | None = None  # C, H, W, in pixels

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of the pictures that the decoder gives."""
        return self.thumbnail_shape or self.image_shape

    @model_validator(mode="after")
    def _backbone_fits(self) -> Architecture:
        if self.backbone is None:
            if self.thumbnail_shape is not None:
                raise ValueError("thumbnail_shape without a backbone")
        elif self.encoder != "mlp" or self.image_shape[0] not in (1, 3):
            raise ValueError("a backbone takes grey or RGB images and comes before an encoder of type mlp")
        elif self.thumbnail_shape != thumbnail_shape(self.image_shape):
            raise ValueError(f"thumbnail_shape must be {thumbnail_shape(self.image_shape)} for these images")
        return self


class FeatureScaling(BaseModel):
    """Scaling of feature values to pixels: (x - `offset`) / `span`, clipped to [0, 1].

    There is one offset and one span for all features, or one of each for every feature.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    offset: tuple[float, ...]
    span: tuple[float, ...]


class ArrayFacts(BaseModel):
    """Facts about the arrays of a fit.

    `classes` are their labels as given, and `dtype` is their numpy type, which files of an earlier version lack.
    `features` are the names of their columns, if they were a data frame.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    scaling: FeatureScaling
    classes: tuple[Label, ...]
    dtype: str | None = Field(default=None, pattern=DTYPE_PATTERN)
    features: tuple[str, ...] = ()

    @property
    def labels(self) -> NDArray[Any]:
        """Class labels in the type in which they were given, [number of classes]."""
        return np.array(self.classes) if self.dtype is None else label_array(self.classes, self.dtype)

    @model_validator(mode="after")
    def _labels_fit(self) -> ArrayFacts:
        _ = self.labels  # raises ValueError where the labels of a file are not of its type
        return self


class ModelDescription(BaseModel):
    """The content of `model.json`.

    `category_to_class[k]` is the class index that category k stands for; `category_to_class_from` is the source of
    that map. `class_names` are the data's, or names of the categories where the data has no labels; those of
    `given_names` were added by `aae name-categories`.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: Literal["aae-model-1"] = "aae-model-1"
    toolkit_version: Name
    variant: Variant
    architecture: Architecture
    class_names: tuple[Name, ...]
    category_to_class: tuple[int, ...]
    category_to_class_from: Name
    given_names: tuple[Name, ...] = ()
    validation_accuracy: float | None = None  # accuracy of the label, a fraction; None without validation labels
    validation_images: int | None = None  # labelled ones behind `validation_accuracy`; absent in earlier files
    decoder_is_trained: bool = True  # False after a training of y alone, without the autoencoder
    diagnosis: Diagnosis | None = None  # of the training; None without validation images and in earlier files
    epochs: Epochs | None = None  # None for arrays and in files of an earlier version
    border_brightness: float | None = None  # of validation images, else of training images, 0-255
    sha256: dict[str, str] = {}  # checksums of the weights' files by name; empty in files of an earlier version
    preparation: Preparation | None = None  # of image files; None for arrays and in files of an earlier version
    arrays: ArrayFacts | None = None  # only for models trained through the Python API

    @model_validator(mode="after")
    def _map_is_total(self) -> ModelDescription:
        if len(self.category_to_class) != self.architecture.n_classes:
            raise ValueError(f"{len(self.category_to_class)} mapped categories of {self.architecture.n_classes}")
        if not all(0 <= c < len(self.class_names) for c in self.category_to_class):
            raise ValueError(f"a category maps outside the {len(self.class_names)} classes")
        return self

    @property
    def unfinished(self) -> str | None:
        """Progress of an unfinished training, such as "epoch 12 of 60"; None if finished or unknown."""
        return None if self.epochs is None else self.epochs.unfinished

    def require_decoder(self) -> None:
        """Raise `AaeError` if the decoder was never trained."""
        if not self.decoder_is_trained:
            raise AaeError(
                "the model has no trained decoder, because it was trained with use_autoencoder: false; train it with"
                " use_autoencoder: true"
            )

    def require_preparation(self) -> Preparation:
        """Return the preparation of image files; raise `AaeError` for a model of arrays."""
        if self.preparation is None:
            raise AaeError(
                "the model was trained on arrays, or by an earlier version: it does not say how images are prepared;"
                " leave out --input image, or train on a data directory that init-datasets made of image files"
            )
        return self.preparation

    def require_image_shape(self, shape: tuple[int, ...]) -> None:
        """Raise `AaeError` unless the model takes images of `shape` (C, H, W), and pixels from 0 to 255."""
        self.require_pixels()
        wanted = self.architecture.image_shape
        if tuple(shape) != wanted:
            raise AaeError(
                f"the model takes images {wanted}, the data's are {tuple(shape)} (C, H, W); give data of its shape"
            )

    def require_pixels(self) -> None:
        """Raise `AaeError` for a model that an estimator fitted on features, or on other numbers than pixels."""
        if self.arrays is not None:
            scaling = self.arrays.scaling
            require_pixels("the model", scaling.offset, scaling.span, self.architecture.image_shape)

    def preparation_note(self, data: DataDirectory) -> str | None:
        """Describe how a folder's images were prepared otherwise than the model's; None if they were not."""
        if self.preparation is None or data.preparation is None or data.index.source != "folder":
            return None
        if not (differences := self.preparation.differences(data.preparation)):
            return None
        return f"the images of {data.path} were prepared otherwise than the model's: {differences}"


def read_description(directory: Path, *, sha256: str | None = None) -> ModelDescription:
    """Read `model.json` of a model or export directory; its checksum is verified where `sha256` is given.

    Raises:
        AaeError: the directory or the file is absent or damaged.
    """
    path = directory / FILE_NAME
    if not path.is_file():
        require_kind(directory, "model directory")
    require_own(path)
    try:
        content = read_limited(path)
        if sha256 is not None:
            require_equal_sha256(path, hashlib.sha256(content).hexdigest(), sha256)
        return _parse(path, content)
    except (OSError, ValueError) as error:
        raise AaeError(f"{path} does not describe a model: {error}") from error


def _parse(path: Path, content: bytes) -> ModelDescription:
    description, own = parse_json(content), ModelDescription.model_fields["format"].default
    if isinstance(description, dict) and description.get("format", own) != own:
        raise AaeError(
            f"{path} is of format {brief(description['format'])}, written by version"
            f" {brief(description.get('toolkit_version'))} of aae-toolkit; this one reads {own}: use that version, or"
            " train again"
        )
    return parse_document(description, ModelDescription)
