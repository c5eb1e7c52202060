"""Image files with more than 8 bits per channel, byte by byte, since pillow writes few of them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # of PNG, by channels


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png16(path: Path, values: NDArray[Any], transparent: int | None = None, filters: bool = False) -> Path:
    """A PNG file of 16 bits, [H, W] or [H, W, C]; `filters` uses each of the five filters of rows in turn."""
    height, width = values.shape[:2]
    channels = 1 if values.ndim == 2 else values.shape[2]
    rows = values.astype(">u2").reshape(height, -1).view(np.uint8).astype(int)
    n = 2 * channels
    left, up, corner = np.zeros_like(rows), np.zeros_like(rows), np.zeros_like(rows)
    left[:, n:], up[1:], corner[1:, n:] = rows[:, :-n], rows[:-1], rows[:-1, :-n]
    away = [np.abs(left + up - corner - x) for x in (left, up, corner)]
    paeth = np.where((away[0] <= away[1]) & (away[0] <= away[2]), left, np.where(away[1] <= away[2], up, corner))
    predicted = [np.zeros_like(rows), left, up, (left + up) // 2, paeth]
    raw = b""
    for y in range(height):
        kind = y % 5 if filters else 0
        raw += bytes([kind]) + ((rows[y] - predicted[kind][y]) % 256).astype(np.uint8).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0)
    key = b"" if transparent is None else _chunk(b"tRNS", struct.pack(">H", transparent))
    chunks = _chunk(b"IHDR", header) + key + _chunk(b"IDAT", zlib.compress(raw)) + _chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path


def tiff(path: Path, values: NDArray[Any], sample_format: int = 1, photometric: int | None = None) -> Path:
    """An uncompressed TIFF file, [H, W] or [H, W, C]; `sample_format` 1: unsigned, 2: signed, 3: floating-point."""
    height, width = values.shape[:2]
    channels, bits = 1 if values.ndim == 2 else values.shape[2], 8 * values.dtype.itemsize
    photometric = (1 if channels == 1 else 2) if photometric is None else photometric
    start = 8 + 2 + 12 * 10 + 4
    depths = struct.pack(f"<{channels}H", *[bits] * channels) if channels > 1 else b""
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, channels, start if depths else bits), (259, 3, 1, 1)]
    entries += [(262, 3, 1, photometric), (273, 4, 1, start + len(depths)), (277, 3, 1, channels), (278, 4, 1, height)]
    entries += [(279, 4, 1, values.nbytes), (339, 3, 1, sample_format)]
    content = b"II*\0" + struct.pack("<IH", 8, len(entries))
    for tag, kind, count, value in entries:
        packed = struct.pack("<HH", value, 0) if kind == 3 and count == 1 else struct.pack("<I", value)
        content += struct.pack("<HHI", tag, kind, count) + packed
    path.write_bytes(content + bytes(4) + depths + values.astype(values.dtype.newbyteorder("<")).tobytes())
    return path
