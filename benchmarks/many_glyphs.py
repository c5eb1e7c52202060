"""Any number of letters in matplotlib's fonts, in up to 1000 classes and at any size, drawn a thousand at a time.

Like benchmarks/glyphs.py, but each letter of each font is set once and then turned, scaled, moved and noised.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from glyphs import font_files
from matplotlib.ft2font import FT2Font  # noqa: TID253
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch.nn import functional as F

_SET_SIDE = 64  # pixels of a letter as it is set
_SET_SIZE = 44  # of its font
_WIDE = ("DejaVuSans.", "DejaVuSans-Bold.", "DejaVuSerif.", "DejaVuSerif-Bold.")  # have a thousand letters
_AT_ONCE = 1000
_TURN, _SHIFT = np.pi / 12, 2 / 14  # radians; half sides
_SIZES = (0.7, 1.1)  # of the set size
_NOISE = 12  # standard deviation, of 255


def letters(n: int) -> list[str]:
    """First `n` letters, by their code points, that all fonts have."""
    common = set.intersection(*(set(FT2Font(str(font)).get_charmap()) for font in _fonts()))
    found = [chr(code) for code in sorted(common) if chr(code).isalpha()]
    if len(found) < n:
        raise ValueError(f"the fonts share {len(found)} letters; {n} are asked for")
    return found[:n]


def draw_many(path: Path, n: int, n_classes: int, side: int, seed: int = 0) -> NDArray[np.int64]:
    """Write `n` images, uint8 [n, 1, side, side], into the npy file `path`; return their classes, int64 [n]."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    set_letters = torch.from_numpy(_set_letters(n_classes))
    labels = rng.integers(n_classes, size=n)
    fonts = rng.integers(set_letters.shape[1], size=n)
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(n, 1, side, side))
    for first in range(0, n, _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        chosen = set_letters[labels[part], fonts[part]].unsqueeze(1).float()
        grid = F.affine_grid(_moves(rng, len(chosen)), [len(chosen), 1, side, side], align_corners=False)
        moved = F.grid_sample(chosen, grid, align_corners=False)
        faded = moved * (0.6 + 0.4 * torch.rand(len(chosen), 1, 1, 1, generator=generator))
        noise = _NOISE * torch.randn(faded.shape, generator=generator)
        images[part] = (faded + noise).clamp(0, 255).byte().numpy()
    images.flush()
    return labels


def _fonts() -> list[Path]:
    return [font for font in font_files() if font.name.startswith(_WIDE)]


def _set_letters(n_classes: int) -> NDArray[np.uint8]:
    """Each letter in each font, white on black, uint8 [n_classes, fonts, side, side]."""
    fonts = [ImageFont.truetype(font, _SET_SIZE) for font in _fonts()]
    drawn = np.empty((n_classes, len(fonts), _SET_SIDE, _SET_SIDE), np.uint8)
    for i, letter in enumerate(letters(n_classes)):
        for j, font in enumerate(fonts):
            canvas = Image.new("L", (_SET_SIDE, _SET_SIDE))
            ImageDraw.Draw(canvas).text((_SET_SIDE / 2,) * 2, letter, fill=255, font=font, anchor="mm")
            drawn[i, j] = np.asarray(canvas)
    return drawn


def _moves(rng: np.random.Generator, n: int) -> torch.Tensor:
    """Random turn, size and place of `n` letters, float32 [n, 2, 3]: where each pixel comes from."""
    angles, sizes = rng.uniform(-_TURN, _TURN, n), rng.uniform(*_SIZES, n)
    cosines, sines = np.cos(angles) / sizes, np.sin(angles) / sizes
    shifts = rng.uniform(-_SHIFT, _SHIFT, (2, n))
    rows = [[cosines, -sines, shifts[0]], [sines, cosines, shifts[1]]]
    return torch.from_numpy(np.array(rows, np.float32)).permute(2, 0, 1)
