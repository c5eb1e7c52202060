"""Metadata inside exported files: `aae.*` strings that let each file describe itself.

This module imports neither torch nor pydantic, because `aae predict` uses it without them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from aae_toolkit import __version__
from aae_toolkit.data.preparation import DEFAULT, Preparation
from aae_toolkit.errors import AaeError
from aae_toolkit.models.array_input import require_pixels

if TYPE_CHECKING:
    from aae_toolkit.export.contract import ArtifactName, Contract, Precision
    from aae_toolkit.models.description import ModelDescription

ARTIFACT = "aae.artifact"
VARIANT = "aae.variant"
CLASS_NAMES = "aae.class_names"
CONTRACT = "aae.contract"
VALIDATION_ACCURACY = "aae.validation_accuracy"
BORDER_BRIGHTNESS = "aae.border_brightness"
PREPARATION = "aae.preparation"
ARRAYS = "aae.arrays"
WEIGHTS_SHA256 = "aae.weights_sha256"
TOOLKIT_VERSION = "aae.toolkit_version"
PRECISION = "aae.precision"  # reduced precision only

_UNKNOWN = "null"

Metadata = Mapping[str, str]


def metadata_of(
    artifact: ArtifactName,
    contract: Contract,
    description: ModelDescription,
    weights_sha256: str,
    precision: Precision = "fp32",
) -> dict[str, str]:
    """Build the metadata of an artifact of a model."""
    metadata = {
        ARTIFACT: artifact,
        VARIANT: description.variant,
        CLASS_NAMES: json.dumps(description.class_names),
        CONTRACT: contract.model_dump_json(),
        VALIDATION_ACCURACY: json.dumps(description.validation_accuracy),
        BORDER_BRIGHTNESS: json.dumps(description.border_brightness),
        PREPARATION: _preparation_of(description),
        ARRAYS: "null" if description.arrays is None else description.arrays.model_dump_json(),
        WEIGHTS_SHA256: weights_sha256,
        TOOLKIT_VERSION: __version__,
    }
    return metadata if precision == "fp32" else metadata | {PRECISION: precision}


def contradiction(
    metadata: Metadata, artifact: ArtifactName, contract: Contract, description: ModelDescription
) -> str | None:
    """Describe metadata of a file that contradicts the model, such as other class names; None if all of it agrees."""
    expected = {
        ARTIFACT: artifact,
        CLASS_NAMES: json.dumps(description.class_names),
        CONTRACT: contract.model_dump_json(),
    }
    for key, value in expected.items():
        if metadata.get(key) != value:
            return f"its metadata say {key} is {str(metadata.get(key))[:80]}, the model's is {value[:80]}"
    own = metadata.get(PREPARATION, _UNKNOWN)  # absent in files of an earlier version
    if own != _preparation_of(description):
        return f"its metadata say {PREPARATION} is {own[:200]}, the model's is {_preparation_of(description)}"
    if not _has_arrays_of(metadata, description):
        return (
            f"its metadata say {ARRAYS} is {metadata.get(ARRAYS, _UNKNOWN)[:200]}, the model's labels or scale differ"
        )
    border = border_brightness_in(metadata)
    if border is not None and border != description.border_brightness:
        return f"its metadata say {BORDER_BRIGHTNESS} is {border:g}, the model's is {description.border_brightness}"
    return None


def _has_arrays_of(metadata: Metadata, description: ModelDescription) -> bool:
    """Tell whether a file has the labels and the scale of a model of arrays, or none if the model is of images."""
    own, arrays = metadata.get(ARRAYS, _UNKNOWN), description.arrays
    if own == _UNKNOWN or arrays is None:
        return own == _UNKNOWN and arrays is None
    try:
        return type(arrays).model_validate_json(own) == arrays  # an earlier version wrote fewer keys
    except ValueError:
        return False


def _preparation_of(description: ModelDescription) -> str:
    return _UNKNOWN if description.preparation is None else description.preparation.to_json()


def class_names_in(metadata: Metadata, file: str) -> list[str]:
    """Read the class names in the metadata of a classifier file.

    Raises:
        AaeError: the file is not a classifier exported by this tool.
    """
    if metadata.get(ARTIFACT) == "image_classifier":
        raise AaeError(f"{file} prepares decoded images itself; give the classifier.onnx beside it, which takes files")
    if metadata.get(ARTIFACT) != "classifier":
        raise AaeError(f"{file} is not a classifier written by aae export: its metadata does not say so")
    try:
        return [str(name) for name in json.loads(metadata[CLASS_NAMES])]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise AaeError(f"{file} is damaged: it names no classes; run aae export again") from error


def border_brightness_in(metadata: Metadata) -> float | None:
    """Read the mean brightness at the borders of the training images, 0-255; None where it is not recorded."""
    try:
        return float(json.loads(metadata[BORDER_BRIGHTNESS]))
    except Exception:  # an earlier version, data without images, or damage
        return None


def require_pixels_in(metadata: Metadata, file: str, shape: tuple[int, int, int]) -> None:
    """Refuse image files for a classifier of features, or of other numbers than pixels; `shape` is its (C, H, W).

    Raises:
        AaeError: it is one, or it is damaged.
    """
    text = metadata.get(ARRAYS, _UNKNOWN)
    if text == _UNKNOWN:
        return
    try:
        scaling = json.loads(text)["scaling"]
        offset, span = ([float(one) for one in scaling[key]] for key in ("offset", "span"))
        require_pixels(file, offset, span, shape)
    except (KeyError, TypeError, ValueError, IndexError, RecursionError) as error:
        raise AaeError(f"{file} is damaged: it does not say what it takes; run aae export again") from error


def preparation_in(metadata: Metadata, file: str) -> Preparation:
    """Read what was done to the image files that a classifier was trained on; where it is not recorded, the default.

    Raises:
        AaeError: it is damaged, or of a newer version.
    """
    text = metadata.get(PREPARATION, _UNKNOWN)
    try:
        return DEFAULT if text == _UNKNOWN else Preparation.from_json(text)
    except (ValueError, RecursionError) as error:
        raise AaeError(
            f"{file} does not say how to prepare images: {str(error)[:200]}; run aae export again"
        ) from error
