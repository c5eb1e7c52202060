"""Files of one split: npz archives with images and labels, read whole or through a memory map."""

from __future__ import annotations

import math
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.errors import AaeError
from aae_toolkit.files.archives import read_npz
from aae_toolkit.text import one_line

_ZIP_NAME_LENGTH_AT = 26  # offset in a member's local header, before the name and the extra field


def read_split(
    path: Path, shape: tuple[int, ...], n_classes: int, *, mapped: bool
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read the images and labels of a file whose checksum was verified.

    Args:
        path: the npz file.
        shape: shape of the images, [N, C, H, W].
        n_classes: number of classes that a label may name.
        mapped: leave the images in the file until they are used.

    Raises:
        AaeError: the file is damaged, or holds anything else.
    """
    try:
        content = read_npz(path, ("labels",) if mapped else ("images", "labels"), inflated=_most_bytes(shape))
        images, labels = map_images(path) if mapped else content["images"], content["labels"]
    except Exception as error:  # numpy's header reader raises several types
        raise AaeError(f"{path} is not a split of a data directory: {one_line(str(error))}") from error
    if images.shape != shape or images.dtype != np.uint8 or labels.shape != shape[:1]:
        raise AaeError(f"{path} holds {images.dtype} {images.shape}; dataset.json says uint8 {shape}")
    known = range(UNLABELED, n_classes)
    if labels.dtype != np.int64 or not np.isin(labels, known).all():
        raise AaeError(f"{path} holds {labels.dtype} labels; expected int64 from -1 to {known[-1]}")
    return images, labels


def _most_bytes(shape: tuple[int, ...]) -> int:
    """Return the size in bytes of images of `shape` with labels, with room for the headers."""
    return math.prod(shape) + 8 * shape[0] + 2**16


def map_images(path: Path) -> NDArray[np.uint8]:
    """Return the images of a split as a private memory map; numpy itself cannot map members of an npz file.

    Raises:
        ValueError: the images are not stored as `write_data_directory` stores them.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo("images.npy")
    except (KeyError, zipfile.BadZipFile) as error:
        raise ValueError("it holds no images") from error
    with path.open("rb") as file:
        file.seek(member.header_offset + _ZIP_NAME_LENGTH_AT)
        name_length, extra_length = struct.unpack("<HH", file.read(4))
        file.seek(name_length + extra_length, os.SEEK_CUR)
        np.lib.format.read_magic(file)
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
        if member.compress_type != zipfile.ZIP_STORED or dtype != np.uint8 or fortran_order:
            raise ValueError("its images are compressed, or not uint8 in C order")
        return np.memmap(file, np.uint8, mode="c", offset=file.tell(), shape=shape)
