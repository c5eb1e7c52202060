"""Writing the page: its own files, the runtime, and the model's, from an export directory. No torch here."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.backends.base import Tensors
from aae_toolkit.errors import AaeError
from aae_toolkit.export.contract import ArtifactName
from aae_toolkit.export.manifest import golden_file, read_manifest
from aae_toolkit.files import verify_sha256, write_bytes
from aae_toolkit.models.description import FILE_NAME as DESCRIPTION_FILE
from aae_toolkit.models.description import read_description
from aae_toolkit.parity.golden import golden_case

INDEX = "index.html"
CHECKSUMS = "SHA256SUMS"
RUNTIME_DIR = "runtime"
_ON_PAGE: tuple[ArtifactName, ...] = ("classifier", "decoder")
_MARK = b'<meta name="generator" content="aae_toolkit">'  # by which an earlier page is known


def require_place(directory: Path) -> None:
    """Raise `AaeError` where another page than an earlier one of `aae export --web` would be overwritten."""
    index = directory / INDEX
    if index.exists() and _MARK not in index.read_bytes():
        raise AaeError(f"{index} was not written by aae export --web, and is kept; give a directory without one")


def write_page(export_dir: Path, directory: Path, runtime: dict[str, bytes]) -> dict[str, int]:
    """Write the page of an export.

    `index.html` is removed first and written last, so that a directory with one is whole.

    Args:
        export_dir: an export with ONNX files.
        directory: where to write; an earlier page there is replaced, other files stay.
        runtime: content by file name, of `runtime_files`.

    Returns:
        Size in bytes of every file, by its path within `directory`.

    Raises:
        AaeError: an export without ONNX files, or a damaged one; a directory that cannot be written, or has another
            `index.html`.
    """
    require_place(directory)
    files = _own_files() | {f"{RUNTIME_DIR}/{name}": content for name, content in runtime.items()}
    files |= _model_files(export_dir)
    index = files.pop(INDEX)
    sums = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in {**files, INDEX: index}.items()]
    files[CHECKSUMS] = "".join(sums).encode()
    files[INDEX] = index  # last
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


def _model_files(export_dir: Path) -> dict[str, bytes]:
    """Networks, what they are, and the golden vectors, each with its recorded checksum."""
    manifest = read_manifest(export_dir)
    networks = [f"{artifact}.onnx" for artifact in _ON_PAGE]
    if absent := sorted(set(networks) - {entry.file for entry in manifest.artifacts}):
        raise AaeError(f"{export_dir} has no {', '.join(absent)}, which a page needs; export with --format onnx")
    for name in (*networks, DESCRIPTION_FILE, golden_file()):
        verify_sha256(export_dir / name, manifest.sha256[name])
    files = {name: (export_dir / name).read_bytes() for name in (*networks, DESCRIPTION_FILE)}
    case = golden_case(export_dir, read_description(export_dir))
    vectors = {a: {"inputs": _encoded(case.inputs[a]), "outputs": _encoded(case.expected[a])} for a in _ON_PAGE}
    return files | {"golden.json": json.dumps(vectors).encode()}


def _encoded(tensors: Tensors) -> dict[str, dict[str, object]]:
    return {name: {"type": str(t.dtype), "dims": t.shape, "base64": _base64(t)} for name, t in tensors.items()}


def _base64(tensor: NDArray[np.generic]) -> str:
    """Little-endian, as browsers' typed arrays are."""
    return base64.b64encode(tensor.astype(tensor.dtype.newbyteorder("<")).tobytes()).decode()
