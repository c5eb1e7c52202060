"""An exported classifier over arrays, in scikit-learn's form, with ONNX Runtime and numpy alone."""

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
from aae_toolkit.predict.classifier_file import ClassifierFile

_BATCH_SIZE = 1024


class OnnxClassifier:
    """`classifier.onnx`, ready to label arrays.

    X is as the estimator took it that was exported, or of a model trained by `aae train` uint8 pixels, 0-255:
    [n, C, H, W], [n, H, W], or rows of C·H·W numbers.

    Attributes:
        classes_: the labels; of a clusterer, and of a model trained by `aae train`, the names.
        image_shape: (C, H, W).
        n_features_in_: C·H·W.
    """

    def __init__(self, path: Path, *, device: str = "cpu", threads: int | None = None) -> None:
        """Load a file; see `load_classifier`."""
        self._file = ClassifierFile(path, device=device, threads=threads)
        facts = self._file.metadata.get(metadata.ARRAYS, "null")
        try:
            arrays = None if facts == "null" else ArrayFacts.model_validate_json(facts)
        except ValueError as error:
            raise AaeError(f"{path} is damaged: its metadata does not say what it takes; export it again") from error
        self._scaling = None if arrays is None else arrays.scaling
        self.classes_: NDArray[Any] = np.array(
            arrays.classes if arrays is not None and arrays.classes else self._file.class_names
        )
        _, c, h, w = self._file.input_shape
        self.image_shape: tuple[int, int, int] = (c, h, w)
        self.n_features_in_ = math.prod(self.image_shape)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The label of each sample, [n].

        Raises:
            ValueError: X is not what the classifier takes.
        """
        labels: NDArray[Any] = self.classes_[self._run(X, "label")]
        return labels

    def predict_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Probability of each of `classes_`, float32 [n, number of classes].

        Raises:
            ValueError: X is not what the classifier takes.
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
    """The classifier that was exported to `path`, which needs no torch.

    Args:
        path: `classifier.onnx`, or the export directory that holds it.
        device: `cpu`, `cuda` or `cuda:i`.
        threads: that it runs on; None: one a core.

    Raises:
        AaeError: there is none, or it is damaged.
        DeviceError: the asked-for device did not run.
    """
    file = Path(path)
    return OnnxClassifier(file / "classifier.onnx" if file.is_dir() else file, device=device, threads=threads)
