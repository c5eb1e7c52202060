"""Data set of ten letters in matplotlib's fonts, in MNIST's shape, without a download.

    python benchmarks/glyphs.py --output glyphs [--n 20000] [--seed 0]

Writes <letter>/<number>.png, grey, 28 x 28. Each letter is set in a random font, size, angle and place, on noise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import matplotlib  # noqa: TID253
import numpy as np
import typer
from PIL import Image, ImageDraw, ImageFont

LETTERS = "ABCDEFGHIJ"
SIDE = 28
_FAMILIES = ("DejaVuSans", "DejaVuSerif", "STIXGeneral", "cmb10", "cmr10", "cmss10", "cmtt10")  # with Latin capitals
_BLANK = ("Display", "NonUni", "NonUniBol", "NonUniBolIta", "NonUniIta")  # those of their files without


def font_files() -> list[Path]:
    """Fonts of the data set, in a fixed order."""
    directory = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return [p for p in sorted(directory.glob("*.ttf")) if p.stem.startswith(_FAMILIES) and not p.stem.endswith(_BLANK)]


def draw(letter: str, font: Path, random: np.random.Generator) -> Image.Image:
    """Letter in white on black, slightly rotated, shifted and noisy."""
    canvas = Image.new("L", (SIDE, SIDE))
    place = SIDE / 2 + random.uniform(-2, 2, size=2)
    size = int(random.integers(16, 25))
    ImageDraw.Draw(canvas).text(tuple(place), letter, fill=255, font=ImageFont.truetype(font, size), anchor="mm")
    turned = canvas.rotate(random.uniform(-15, 15), Image.Resampling.BILINEAR)
    noisy = np.asarray(turned) * random.uniform(0.6, 1) + random.normal(0, 12, (SIDE, SIDE))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def main(
    output: Annotated[Path, typer.Option(help="Folder of classes, as `init-datasets --source folder` takes.")],
    n: Annotated[int, typer.Option(help="Total number of pictures.")] = 20000,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
) -> None:
    """Draw every picture."""
    random = np.random.default_rng(seed)
    fonts = font_files()
    for number in range(n):
        letter = LETTERS[number % len(LETTERS)]
        directory = output / letter
        directory.mkdir(parents=True, exist_ok=True)
        draw(letter, fonts[random.integers(len(fonts))], random).save(directory / f"{number:05}.png")


if __name__ == "__main__":
    typer.run(main)
