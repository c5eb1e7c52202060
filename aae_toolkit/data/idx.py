"""IDX files, the format of MNIST: a header with the shape, then unsigned bytes; optionally gzipped.

Source: the page of the MNIST database, "File formats".
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.errors import AaeError

_UNSIGNED_BYTE = 0x08
_MAX_BYTES = 3 * 2**28  # the largest set of the MNIST family, EMNIST by class, has 547 MB


def read_idx(path: Path, n_axes: int) -> NDArray[np.uint8]:
    """Read an IDX file.

    Args:
        path: the file; if absent, `path` plus `.gz` is read.
        n_axes: number of axes that the array must have.

    Returns:
        uint8 array with `n_axes` axes.

    Raises:
        AaeError: the file is absent, damaged, or of another type or number of axes.
    """
    if not path.is_file():
        path = path.with_name(f"{path.name}.gz")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(4 + 4 * n_axes)
            if len(header) < 4 + 4 * n_axes or header[:4] != bytes((0, 0, _UNSIGNED_BYTE, n_axes)):
                raise AaeError(f"{path} is not an IDX file of bytes with {n_axes} axes")
            shape = struct.unpack(f">{n_axes}I", header[4:])
            size = math.prod(shape)
            if not 0 < size <= _MAX_BYTES:
                raise AaeError(f"{path} claims to hold {' x '.join(map(str, shape))} bytes; expected an image set")
            content = file.read(size + 1)  # a gzip bomb is read no further
    except FileNotFoundError as error:
        raise AaeError(
            f"{path.with_suffix('') if path.suffix == '.gz' else path} is missing, with .gz and without"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise AaeError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(content) != size:
        n_bytes = "more" if len(content) > size else str(len(content))
        raise AaeError(f"{path} holds {n_bytes} bytes where its header says {size}")
    return np.frombuffer(bytearray(content), np.uint8).reshape(shape)
