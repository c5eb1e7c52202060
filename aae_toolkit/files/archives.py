"""Zip archives (npz, checkpoints, TorchScript, torch.export), looked at before anything unpacks them."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAX_MEMBERS = 100_000


def check_archive(path: Path, *, whole: bool = True, inflated: int = 0) -> list[str]:
    """The member names of an archive, each once and inside it, which is no larger unpacked than it may be.

    Args:
        path: the file.
        whole: compare every member with its checksum too, which reads the file.
        inflated: bytes that all compressed members may come to.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such archive; the message says why.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > _MAX_MEMBERS or len({m.filename.lower() for m in members}) < len(members):
                raise ValueError("its members are too many, or have the same name")
            for member in members:
                _check_member(member)
            if sum(m.file_size for m in members if m.compress_type != zipfile.ZIP_STORED) > inflated:
                raise ValueError("it is compressed, and would come to more than it may hold")
            if whole and (damaged := archive.testzip()) is not None:
                raise ValueError(f"member {damaged!r} does not have its checksum")
            return [member.filename for member in members]
    except (ValueError, OSError):
        raise
    except Exception as error:  # zipfile's own, struct's, NotImplementedError: none of them is documented
        raise ValueError("it is no zip archive, or a damaged one") from error


def _check_member(member: zipfile.ZipInfo) -> None:
    parts = member.filename.replace("\\", "/").split("/")
    if member.filename.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
        raise ValueError(f"member {member.filename!r} leads outside of it; it cannot be trusted")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise ValueError(f"member {member.filename!r} is a link; it cannot be trusted")


def read_npz(path: Path, wanted: tuple[str, ...] | None = None, *, inflated: int = 0) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file, all or those `wanted`; no object in it is ever built.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, lacks an array, or would come to more than `inflated` bytes; the message says why.
    """
    check_archive(path, whole=False, inflated=inflated)  # zipfile compares what numpy reads with its checksum
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in (content.files if wanted is None else wanted)}
    except KeyError as error:
        raise ValueError(f"it holds no {error.args[0].split()[0]}") from error
    except Exception as error:  # zipfile's and numpy's header readers raise half a dozen kinds
        raise ValueError(" ".join(str(error).split()) or "it ends early") from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # a member that does not begin as arrays do comes as bytes
            raise ValueError(f"its member {name!r} is no array")
    return arrays
