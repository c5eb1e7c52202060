"""Checksums, and refusals of files that are absent, damaged, or links to another directory."""

from __future__ import annotations

import hashlib
from pathlib import Path

from aae_toolkit.errors import AaeError


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def require_own(path: Path) -> None:
    """Raise `AaeError` if `path` is a link that leads outside of its directory, such as to another user's file."""
    if path.is_symlink() and not path.resolve().is_relative_to(path.parent.resolve()):
        raise AaeError(f"{path} is a link that leads outside of its directory; put the file itself there")


def verify_sha256(path: Path, expected: str) -> None:
    """Raise `AaeError` unless `path` exists, lies in its directory, and has the recorded checksum."""
    require_present(path)
    require_equal_sha256(path, sha256(path), expected)


def require_present(path: Path) -> None:
    """Raise `AaeError` unless a file that the index of its directory lists exists and lies in it."""
    require_own(path)
    if not path.is_file():
        raise AaeError(f"{path} is missing, though the index of its directory lists it; write the directory again")


def require_equal_sha256(path: Path, actual: str, expected: str) -> None:
    """Raise `AaeError` unless the checksum of `path` is the recorded one."""
    if actual != expected:
        raise AaeError(f"{path} is damaged: SHA-256 is {actual[:12]}…, recorded {expected[:12]}…; write it again")
