"""Checksums of files, and refusals of files that are absent, damaged, or not the directory's own."""

from __future__ import annotations

import hashlib
from pathlib import Path

from aae_toolkit.errors import AaeError


def why_absent(path: Path) -> str:
    """Why `path`, which makes its directory what it should be, is no file: the end of a sentence on the directory."""
    directory = path.parent
    if directory.is_dir():
        return f"holds no {path.name}"
    return "is a file, not a directory" if directory.exists() else "does not exist"


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def require_own(path: Path) -> None:
    """Raise `AaeError` where `path` is a link that leads outside of its directory: it may be to another's file."""
    if path.is_symlink() and not path.resolve().is_relative_to(path.parent.resolve()):
        raise AaeError(f"{path} is a link that leads outside of its directory; put the file itself there")


def verify_sha256(path: Path, expected: str) -> None:
    """Raise `AaeError` unless `path` exists, is its directory's own, and has the checksum recorded at its writing."""
    require_present(path)
    require_equal_sha256(path, sha256(path), expected)


def require_present(path: Path) -> None:
    """Raise `AaeError` unless a file that its directory's index names is there, and the directory's own."""
    require_own(path)
    if not path.is_file():
        raise AaeError(f"{path} is missing, though its directory's index names it; write the directory again")


def require_equal_sha256(path: Path, actual: str, expected: str) -> None:
    """Raise `AaeError` unless the checksum of `path` is the recorded one."""
    if actual != expected:
        raise AaeError(f"{path} is damaged: SHA-256 is {actual[:12]}…, recorded {expected[:12]}…; write it again")
