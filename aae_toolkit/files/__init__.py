"""Atomic writes, checksums, locks, archives and documents."""

from aae_toolkit.files.atomic import (
    NativeSink,
    atomic_path,
    native_sink,
    remove_leftovers,
    write_bytes,
    write_json,
    write_text,
)
from aae_toolkit.files.checksums import require_own, sha256, verify_sha256

__all__ = [
    "NativeSink",
    "atomic_path",
    "native_sink",
    "remove_leftovers",
    "require_own",
    "sha256",
    "verify_sha256",
    "write_bytes",
    "write_json",
    "write_text",
]
