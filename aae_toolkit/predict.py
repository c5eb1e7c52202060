"""Labels for image files from `classifier.onnx`, with ONNX Runtime, numpy and pillow alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.backends.onnxruntime_backend import OnnxRuntimeBackend
from aae_toolkit.data.images import read_image
from aae_toolkit.errors import AaeError

_BATCH_SIZE = 64


@dataclass(frozen=True)
class Prediction:
    """One image: its class index and name, and that class's probability in [0, 1]; or `error`."""

    path: str
    label: int | None = None
    class_name: str | None = None
    probability: float | None = None
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The object that `aae predict --json` prints: `path` with `error`, or with the other keys."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def predict(model: Path, paths: Iterable[Path]) -> Iterator[Prediction]:
    """Label image files, in their order, a batch at a time; a file that cannot be read gives an `error`.

    Args:
        model: `classifier.onnx` written by `aae export`.
        paths: image files; each is converted to the model's channels and size.

    Raises:
        AaeError: the model is absent, damaged, or no classifier of this tool.
    """
    backend = OnnxRuntimeBackend(model)
    class_names = backend.class_names
    channels, height, width = backend.image_shape
    remaining = iter(paths)
    while batch := list(islice(remaining, _BATCH_SIZE)):
        images: list[NDArray[np.uint8]] = []
        errors: dict[Path, str] = {}
        for path in batch:
            try:
                images.append(read_image(path, (channels, height, width)))
            except AaeError as error:
                errors[path] = str(error).removeprefix(f"{path}: ")
        outputs = backend.classify(np.stack(images)) if images else {"label": np.empty(0), "probabilities": np.empty(0)}
        found = zip(outputs["label"].tolist(), outputs["probabilities"].tolist(), strict=True)
        for path in batch:
            if path in errors:
                yield Prediction(str(path), error=errors[path])
            else:
                label, probabilities = next(found)
                yield Prediction(str(path), label, class_names[label], probabilities[label])
    backend.close()
