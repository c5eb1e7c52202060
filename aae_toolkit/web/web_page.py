"""Writer of the page: its static files, the runtime and the files of the model. This module imports no torch."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.data.directory import INDEX as DATA_INDEX
from aae_toolkit.data.split import UNLABELED, Split
from aae_toolkit.errors import AaeError
from aae_toolkit.export.contract import ArtifactName, Tensors
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.export.manifest import FILE_NAME as MANIFEST_FILE
from aae_toolkit.files import write_bytes
from aae_toolkit.models.description import FILE_NAME as DESCRIPTION_FILE

INDEX = "index.html"
CHECKSUMS = "SHA256SUMS"
RUNTIME_DIR = "runtime"
_ON_PAGE: tuple[ArtifactName, ...] = ("classifier", "decoder")
_INDEXES = (MANIFEST_FILE, DATA_INDEX, "config.yml", "checkpoint.pt")  # found where a page must not be written
_MARK = b'<meta name="generator" content="aae_toolkit">'  # identifies an earlier page


def require_place(directory: Path) -> None:
    """Raise `AaeError` if a page would replace files that `aae web` did not write.

    Data, model and export directories are refused: a page has files of the same names.
    """
    if own := next((name for name in _INDEXES if (directory / name).exists()), None):
        raise AaeError(f"{directory} holds {own}, so a page would replace files of it; give a directory of its own")
    index = directory / INDEX
    if index.exists() and _MARK not in index.read_bytes():
        raise AaeError(f"{index} was not written by aae web, and is kept; give a directory without one")


def write_page(
    export: ExportDirectory, directory: Path, runtime: dict[str, bytes], samples: Split | None = None
) -> dict[str, int]:
    """Write the page of an export.

    `index.html` is removed first and written last, so a directory that has one is complete.

    Args:
        export: the opened export, with ONNX files.
        directory: directory of the page; an earlier page is replaced, other files stay.
        runtime: content by file name, from `runtime_files`.
        samples: images to try, with labels of the model's classes, from `sample_images`.

    Returns:
        Sizes of the files in bytes, by path in `directory`.

    Raises:
        AaeError: the export has no ONNX files or takes no pixels, or the directory cannot be written or has another
            `index.html`.
    """
    require_place(directory)
    export.description.require_pixels()
    files = _own_files() | {f"{RUNTIME_DIR}/{name}": content for name, content in runtime.items()}
    files |= _model_files(export) | {"samples.json": _sample_file(samples)}
    index = files.pop(INDEX)
    sums = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in {**files, INDEX: index}.items()]
    files[CHECKSUMS] = "".join(sums).encode()
    files[INDEX] = index  # written last
    try:
        (directory / INDEX).unlink(missing_ok=True)
        for name, content in files.items():
            write_bytes(directory / name, content)
    except OSError as error:
        raise AaeError(f"page {directory} cannot be written: {error.strerror or error}") from error
    return {name: len(content) for name, content in files.items()}


def _own_files() -> dict[str, bytes]:
    static = resources.files("aae_toolkit.web").joinpath("static")
    return {file.name: file.read_bytes() for file in sorted(static.iterdir(), key=lambda file: file.name)}


def _model_files(export: ExportDirectory) -> dict[str, bytes]:
    """Read the networks, the model description and the golden vectors."""
    networks = [f"{artifact}.onnx" for artifact in _ON_PAGE]
    if absent := sorted(name for name in networks if export.entry(name) is None):
        raise AaeError(f"{export.path} has no {', '.join(absent)}, which a page needs; export with --format onnx")
    files = {name: (export.path / name).read_bytes() for name in (*networks, DESCRIPTION_FILE)}
    vectors = {
        a: {"inputs": _encoded(export.golden.inputs[a]), "outputs": _encoded(export.golden.outputs[a])}
        for a in _ON_PAGE
    }
    return files | {"golden.json": json.dumps(vectors).encode()}


def _sample_file(samples: Split | None) -> bytes:
    """Encode images to try and their labels, null where unknown."""
    if samples is None:
        return json.dumps({"images": None, "labels": []}).encode()
    labels = [None if label == UNLABELED else label for label in samples.labels.tolist()]
    return json.dumps({"images": _tensor(samples.images), "labels": labels}).encode()


def _encoded(tensors: Tensors) -> dict[str, dict[str, object]]:
    return {name: _tensor(t) for name, t in tensors.items()}


def _tensor(tensor: NDArray[np.generic]) -> dict[str, object]:
    return {"type": str(tensor.dtype), "dims": tensor.shape, "base64": _base64(tensor)}


def _base64(tensor: NDArray[np.generic]) -> str:
    """Encode a tensor in little-endian order, as typed arrays of browsers have it."""
    return base64.b64encode(tensor.astype(tensor.dtype.newbyteorder("<")).tobytes()).decode()
