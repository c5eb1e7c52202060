"""Pinned version of ONNX Runtime for browsers (the npm package onnxruntime-web), verified by checksums."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from aae_toolkit.errors import AaeError
from aae_toolkit.files import write_bytes

PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"
# checksum of the package in the form of npm's lock files, equal to that in examples/node/package-lock.json
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="

# smallest build: WebAssembly on the CPU, with or without threads. The script is renamed to .js on the page, because
# some servers do not know .mjs. The licence is named in package.json.
_FILES = {
    "dist/ort.wasm.bundle.min.mjs": "ort.js",
    "dist/ort-wasm-simd-threaded.wasm": "ort.wasm",
    "package.json": "package.json",
}
_SHA256 = {
    "dist/ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "dist/ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    "package.json": "16f69f755509990539aeb1c8445884960e91adcacab2e8dca8e44ee43601df5c",
}
_DOWNLOAD_SECONDS = 300
_BRING_ONE = f"--web-runtime takes the package from disk: the file of `npm pack {PACKAGE}@{VERSION}`, or its folder"


def runtime_files(own: Path | None = None) -> dict[str, bytes]:
    """Read the files of the runtime, and verify that they are those of the pinned version.

    Args:
        own: package file of npm (.tgz), or the directory of an installed or unpacked package
            (`node_modules/onnxruntime-web`); None for the cache of the user, which npm fills by download if empty.

    Returns:
        Content by file name on the page.

    Raises:
        AaeError: npm, its registry or the file is not available, or the content is not that of the pinned version.
    """
    if own is None:
        files = _unpacked(_cached())
    elif own.is_dir():
        files = _read(own)
    elif own.is_file():
        files = _unpacked(own)
    else:
        raise AaeError(f"--web-runtime {own} does not exist; {_BRING_ONE}")
    return {name: files[path] for path, name in _FILES.items()}


def _read(package: Path) -> dict[str, bytes]:
    """Read the files of an unpacked package."""
    files = {}
    for path, expected in _SHA256.items():
        file = package / path
        if not file.is_file():
            raise AaeError(f"{package} holds no {path}; {_BRING_ONE}")
        files[path] = file.read_bytes()
        if hashlib.sha256(files[path]).hexdigest() != expected:
            raise AaeError(f"{file} is not that of {PACKAGE} {VERSION}, the version that pages are tested with")
    return files


def _unpacked(archive: Path) -> dict[str, bytes]:
    """Read the files of a package file, after its checksum was verified."""
    content = archive.read_bytes()
    if _integrity(content) != INTEGRITY:
        raise AaeError(f"{archive} is not {PACKAGE} {VERSION} as npm packs it, the version that pages are tested with")
    with tarfile.open(fileobj=io.BytesIO(content)) as package:
        members = {path: package.extractfile(f"package/{path}") for path in _FILES}
        return {path: member.read() for path, member in members.items() if member is not None}


def _integrity(content: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()


def _cached() -> Path:
    """Return the path of the package file in the cache of the user, after a download if it is absent or damaged."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aae_toolkit"
    archive = cache / f"{PACKAGE}-{VERSION}.tgz"
    if not archive.is_file() or _integrity(archive.read_bytes()) != INTEGRITY:
        content = _download()
        try:
            write_bytes(archive, content)
        except OSError as error:
            raise AaeError(f"cache {cache} cannot be written: {error.strerror or error}; {_BRING_ONE}") from error
    return archive


def _download() -> bytes:
    """Download the package file with npm, from its configured registry."""
    npm = shutil.which("npm")
    if npm is None:
        raise AaeError(f"npm, which gets {PACKAGE} {VERSION}, is not installed; {_BRING_ONE}")
    with tempfile.TemporaryDirectory() as directory:
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--silent", "--pack-destination", directory]
        try:
            done = subprocess.run(  # noqa: S603  (a fixed command)
                command, cwd=directory, capture_output=True, text=True, check=False, timeout=_DOWNLOAD_SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise AaeError(f"npm had not got {PACKAGE} {VERSION} in {_DOWNLOAD_SECONDS} s; {_BRING_ONE}") from error
        packed = list(Path(directory).glob("*.tgz"))
        if done.returncode != 0 or not packed:
            said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[0]
            raise AaeError(f"npm could not get {PACKAGE} {VERSION} ({said}); {_BRING_ONE}")
        content = packed[0].read_bytes()
    if _integrity(content) != INTEGRITY:
        raise AaeError(f"npm got another content of {PACKAGE} {VERSION} than {INTEGRITY}; {_BRING_ONE}")
    return content
