"""Exported classifier for arrays, with scikit-learn's methods; needs only ONNX Runtime and numpy."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aae_toolkit.errors import AaeError
from aae_toolkit.export import metadata
from aae_toolkit.models import scaling
from aae_toolkit.models.description import ArrayFacts
from aae_toolkit.predict.classifier_file import ClassifierFile, find_classifier

_BATCH_SIZE = 1024


class OnnxClassifier:
    """Classifier in `classifier.onnx`, which labels arrays.

    X has the form and scale that the exported estimator was fitted with; for a model from `aae train` it is uint8
    pixels in 0-255. Its shape is [n, C, H, W], [n, H, W], or [n, C·H·W].

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
        self._scaling = None if arrays is None else arrays.scaling
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
        images = self._images(np.asarray(X))
        batches = [images[first : first + _BATCH_SIZE] for first in range(0, len(images), _BATCH_SIZE)]
        return np.concatenate([self._file.run(batch)[output] for batch in batches])

    def _images(self, samples: NDArray[Any]) -> NDArray[np.uint8]:
        if samples.ndim < 2 or len(samples) == 0 or math.prod(samples.shape[1:]) != self.n_features_in_:
            raise ValueError(f"X has shape {samples.shape}; expected [n, {', '.join(map(str, self.image_shape))}]")
        rows = samples.reshape(len(samples), -1)
        if self._scaling is None:
            if rows.dtype != np.uint8:
                raise ValueError(f"X is {rows.dtype}; this classifier takes pixels, uint8 from 0 to 255")
            return rows.reshape(-1, *self.image_shape)
        if not np.isfinite(rows).all():
            raise ValueError("X holds NaN or infinity")
        return scaling.to_uint8(scaling.to_images(rows, self._scaling, self.image_shape))


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
