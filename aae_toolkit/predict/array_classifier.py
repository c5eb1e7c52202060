"""Exported classifier for arrays, with scikit-learn's methods; needs only ONNX Runtime and numpy."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aae_toolkit.data.borders import opposite_borders
from aae_toolkit.errors import AaeError
from aae_toolkit.export import metadata
from aae_toolkit.models import scaling
from aae_toolkit.models.description import ArrayFacts
from aae_toolkit.predict.classifier_file import ClassifierFile, find_classifier

_BATCH_SIZE = 1024


class OnnxClassifier:
    """Classifier in `classifier.onnx`, which labels arrays.

    X has the form and scale that the exported estimator was fitted with; for a model from `aae train` it is uint8
    pixels in 0-255. Its shape is [n, C, H, W], [n, H, W] where C is 1, or [n, C·H·W] in that order; any other is
    refused, such as [n, H, W, C]. Values that seem to be of another scale, such as 0-1 for 0-255, give a warning, and
    so do images whose border is light where it was dark in training, or the reverse, and columns of a data frame that
    cannot be compared with those of `fit`.

    Attributes:
        classes_: the class labels of an estimator, of their dtype; for a clusterer or a model from `aae train`, the
            class names.
        image_shape: (C, H, W) in pixels.
        n_features_in_: C·H·W.
    """

    def __init__(self, path: Path, *, device: str = "cpu", threads: int | None = None) -> None:
        """Load a classifier file; see `load_classifier`."""
        self._file = ClassifierFile(path, device=device, threads=threads)
        facts = self._file.metadata.get(metadata.ARRAYS, "null")
        try:
            arrays = None if facts == "null" else ArrayFacts.model_validate_json(facts)
        except ValueError as error:
            raise AaeError(f"{path} is damaged: its metadata does not say what it takes; export it again") from error
        self._is_of_pixels = arrays is None
        self._scaling = scaling.PIXELS if arrays is None else arrays.scaling
        self._features = () if arrays is None else arrays.features
        self.classes_: NDArray[Any] = (
            arrays.labels if arrays is not None and arrays.classes else np.array(self._file.class_names)
        )
        _, c, h, w = self._file.input_shape
        self.image_shape: tuple[int, int, int] = (c, h, w)
        self.n_features_in_ = math.prod(self.image_shape)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the label of each sample, [n].

        Raises:
            ValueError: X has a wrong shape, type or value.
        """
        labels: NDArray[Any] = self.classes_[self._run(X, "label")]
        return labels

    def predict_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Return the probability of each of `classes_`, float32 [n, number of classes].

        Raises:
            ValueError: X has a wrong shape, type or value.
        """
        return self._run(X, "probabilities")

    def _run(self, X: ArrayLike, output: str) -> NDArray[Any]:
        images = self._images(X)
        batches = [images[first : first + _BATCH_SIZE] for first in range(0, len(images), _BATCH_SIZE)]
        return np.concatenate([self._file.run(batch)[output] for batch in batches])

    def _images(self, X: ArrayLike) -> NDArray[np.uint8]:
        self._require_columns(X)
        scaling.require_numbers(X)
        samples = np.asarray(X)
        scaling.require_form(samples.shape, self.image_shape)
        if self._is_of_pixels and samples.dtype != np.uint8:
            raise ValueError(f"X is {samples.dtype}; this classifier takes pixels, uint8 from 0 to 255")
        if samples.dtype.kind not in "biuf":
            raise ValueError(f"X is {samples.dtype}; this classifier takes numbers, such as those of X.astype(float)")
        rows = samples.reshape(len(samples), -1)
        if not np.isfinite(rows).all():
            raise ValueError("X holds NaN or infinity")
        scaling.require_scale(rows, self._scaling, samples)
        images = scaling.to_uint8(scaling.to_images(rows, self._scaling, self.image_shape))
        doubt = opposite_borders(images, self._file.border_brightness) if self._is_of_pixels else None
        if doubt:
            warnings.warn(f"{doubt}; if X was not inverted as those were, give 255 - X", UserWarning, stacklevel=4)
        return images

    def _require_columns(self, X: Any) -> None:
        """Compare the columns of a data frame with those of the estimator's `fit`, as scikit-learn does."""
        columns = getattr(X, "columns", ())
        kinds = {isinstance(name, str) for name in columns}
        if len(kinds) > 1:
            raise ValueError(f"X has columns with and without names, {list(columns)[:8]}; name all or none")
        names = tuple(columns) if True in kinds else ()
        if names and self._features and names != self._features:
            if len(names) == len(self._features):
                at = next(i for i, pair in enumerate(zip(names, self._features, strict=True)) if pair[0] != pair[1])
                raise ValueError(f"column {at} of X is {names[at]!r}; expected {self._features[at]!r}, as in fit")
            raise ValueError(f"X has {len(names)} columns; expected {len(self._features)}, as in fit")
        if bool(names) != bool(self._features):
            which = "X has feature names, but fit had none" if names else "X has no feature names, but fit had some"
            warnings.warn(f"{which}: its columns are taken in their order", UserWarning, stacklevel=5)


def load_classifier(path: str | Path, *, device: str = "cpu", threads: int | None = None) -> OnnxClassifier:
    """Load an exported classifier, without torch.

    Args:
        path: `classifier.onnx`, or the export directory that holds it.
        device: `cpu`, `cuda` or `cuda:i`.
        threads: number of threads; None is one per core.

    Raises:
        AaeError: the file is absent or damaged.
        DeviceError: the requested device did not run.
    """
    return OnnxClassifier(find_classifier(Path(path)), device=device, threads=threads)
