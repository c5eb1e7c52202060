"""A `classifier.onnx` that anybody may have written, read with care: its metadata, its input, its outputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aae_toolkit.backends.onnxruntime_backend import OnnxRuntimeBackend
from aae_toolkit.backends.protocol import Closing
from aae_toolkit.data.formats import SUFFIXES
from aae_toolkit.data.kinds import is_a, near, require_kind
from aae_toolkit.errors import AaeError
from aae_toolkit.export.metadata import (
    border_brightness_in,
    class_names_in,
    preparation_in,
    require_pixels_in,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from aae_toolkit.data.preparation import Preparation
    from aae_toolkit.export.contract import Tensors

_MAX_SIDE = 4096  # pixels
_OTHER_FILES = SUFFIXES | {".json", ".md", ".npz", ".pt", ".pt2", ".safetensors", ".yaml", ".yml"}
_CLASSIFIER, _DESCRIPTION = "classifier.onnx", "model.json"


def find_classifier(path: Path) -> Path:
    """Return the classifier file that `path` names.

    That is the path itself; `classifier.onnx` in an export directory; or, of a model directory, that in its `export/`,
    if it is of the same training.

    Raises:
        AaeError: there is no such file; the message says what the path is, and what would work.
    """
    if path.is_file():
        if path.suffix.lower() in _OTHER_FILES:
            found = near(path, "export directory")
            advice = f"pass {found[0]}" if found else "give classifier.onnx, or the directory that aae export wrote"
            raise AaeError(f"{path} is no ONNX file, which aae predict runs; {advice}")
        return path
    if (file := path / _CLASSIFIER).is_file():
        return file
    if is_a(path, "model directory") and (export := path / "export").is_dir():
        if not (export / _CLASSIFIER).is_file():
            raise AaeError(f"{export} holds no {_CLASSIFIER}; write it with: aae export --model {path}")
        if (export / _DESCRIPTION).read_bytes() != (path / _DESCRIPTION).read_bytes():
            raise AaeError(f"{export} is not of the model as it is now; write it again: aae export --model {path}")
        return export / _CLASSIFIER
    if is_a(path, "export directory"):
        raise AaeError(f"export directory {path} holds no {_CLASSIFIER}; aae export writes it with --format onnx")
    if not path.exists() and path.suffix:
        return path  # what opens it says so
    require_kind(path, "export directory")
    raise AssertionError("an export directory was refused")


class ClassifierFile(Closing):
    """A classifier file in ONNX Runtime; leaving its context closes it.

    Attributes:
        name: the file's name.
        class_names: names of the classes, by label.
    """

    def __init__(self, path: Path, *, device: str = "cpu", threads: int | None = None, prepacked: bool = True) -> None:
        """Load `path`; see `OnnxRuntimeBackend` for the arguments.

        Raises:
            AaeError: the file is absent, damaged, or not a classifier of this tool.
            DeviceError: the asked-for provider did not run.
        """
        self._backend = OnnxRuntimeBackend(path, device=device, threads=threads, prepacked=prepacked)
        self.name = path.name
        self.class_names: list[str] = class_names_in(self._backend.metadata, path.name)

    @property
    def metadata(self) -> Mapping[str, str]:
        """Strings that the file carries."""
        return self._backend.metadata

    @property
    def input_shape(self) -> list[Any]:
        """Shape of its input `images`; a dynamic axis is a string or None."""
        shape: list[Any] = self._backend.input_shapes["images"]
        return shape

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images that it takes, in pixels.

        Raises:
            AaeError: it takes something else, such as features.
        """
        match list(self._backend.input_shapes.items()):
            case [("images", [_, int(c), int(h), int(w)])] if c in (1, 3) and 0 < h <= _MAX_SIDE and 0 < w <= _MAX_SIDE:
                require_pixels_in(self.metadata, self.name, (c, h, w))
                return c, h, w
        raise AaeError(f"{self.name} takes no images of 1 or 3 channels up to {_MAX_SIDE} pixels wide and high")

    @property
    def border_brightness(self) -> float | None:
        """Mean brightness of the training images' borders, 0-255; None where the file does not say."""
        return border_brightness_in(self.metadata)

    @property
    def preparation(self) -> Preparation:
        """Preparation of the training images; the default where the file does not say.

        Raises:
            AaeError: the file is damaged, or of a newer version.
        """
        return preparation_in(self.metadata, self.name)

    def run(self, images: NDArray[np.uint8]) -> Tensors:
        """Run images [N, C, H, W]; outputs by the contract's names."""
        return self._backend.run({"images": images})

    def classify(self, images: NDArray[np.uint8]) -> Tensors:
        """Run images [N, C, H, W] and make sure that the outputs are a classifier's.

        Raises:
            AaeError: the file cannot run them, or gives something else.
        """
        n, n_classes = len(images), len(self.class_names)
        try:
            outputs = self.run(images)
        except Exception as error:  # its exception types are not public
            raise AaeError(f"{self.name} cannot label images: {' '.join(str(error).split())[:200]}") from error
        label, probabilities = outputs.get("label"), outputs.get("probabilities")
        if (
            label is None
            or probabilities is None
            or (label.shape, probabilities.shape) != ((n,), (n, n_classes))
            or label.dtype != np.int64
            or not ((label >= 0) & (label < n_classes)).all()
        ):
            raise AaeError(f"{self.name} does not give a label and {n_classes} probabilities; run aae export again")
        return outputs

    def close(self) -> None:
        """Free the session."""
        self._backend.close()
