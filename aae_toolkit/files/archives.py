"""Zip archives (npz, checkpoints, TorchScript, torch.export), checked before they are unpacked."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAX_MEMBERS = 100_000


def check_archive(path: Path, *, whole: bool = True, inflated: int = 0) -> list[str]:
    """Check an archive of an untrusted file; return its member names.

    Members must have different names, lie inside the archive's directory, and decompress to a limited size.

    Args:
        path: the archive.
        whole: verify the checksum of every member too, which reads the whole file.
        inflated: maximum total size of compressed members once decompressed, in bytes.

    Raises:
        OSError: the file cannot be read.
        ValueError: a check failed; the message says which.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > _MAX_MEMBERS or len({m.filename.lower() for m in members}) < len(members):
                raise ValueError("it has too many members, or several of the same name")
            for member in members:
                _check_member(member)
            if sum(m.file_size for m in members if m.compress_type != zipfile.ZIP_STORED) > inflated:
                raise ValueError("it is compressed, and would decompress to more than allowed")
            if whole and (damaged := archive.testzip()) is not None:
                raise ValueError(f"member {damaged!r} does not match its checksum")
            return [member.filename for member in members]
    except (ValueError, OSError):
        raise
    except Exception as error:  # zipfile's own, struct's, NotImplementedError; none is documented
        raise ValueError("it is not a zip archive, or a damaged one") from error


def _check_member(member: zipfile.ZipInfo) -> None:
    parts = member.filename.replace("\\", "/").split("/")
    if member.filename.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
        raise ValueError(f"member {member.filename!r} leads outside of it; it cannot be trusted")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise ValueError(f"member {member.filename!r} is a link; it cannot be trusted")


def read_npz(path: Path, wanted: tuple[str, ...] | None = None, *, inflated: int = 0) -> dict[str, NDArray[Any]]:
    """Read arrays of an npz file, without ever unpickling an object.

    Args:
        path: the npz file.
        wanted: names of the arrays to read; None reads all.
        inflated: maximum total size of compressed arrays once decompressed, in bytes.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, lacks an array, or exceeds `inflated`; the message says which.
    """
    check_archive(path, whole=False, inflated=inflated)  # zipfile verifies the checksums of members that numpy reads
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in (content.files if wanted is None else wanted)}
    except KeyError as error:
        raise ValueError(f"it holds no {error.args[0].split()[0]}") from error
    except Exception as error:  # the header readers of zipfile and numpy raise several types
        raise ValueError(" ".join(str(error).split()) or "it ends early") from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # numpy returns bytes for a member without an array header
            raise ValueError(f"its member {name!r} is not an array")
    return arrays
