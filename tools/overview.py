"""Picture of the whole, docs/images/overview.png: from images over categories and proven files to labels.

    make demo
    python tools/overview.py --demo aae-demo

Everything in it is read from the directory of a demo: images, the categories that training found without labels, the
verdict on each exported file, and the labels that the exported classifier gives to the sample images.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.evaluation import encode
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.models.directory import load_model
from aae_toolkit.predict import predict
from aae_toolkit.visualization.canvas import save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ACCENT, _FAINT = "#0b5cad", "#5a606b"
_ROWS, _WIDE, _MEMBERS = 5, 4, 3  # rows of images; images in one of the first column; images of a category
_COLUMNS = ((0.015, 0.205), (0.26, 0.32), (0.62, 0.19), (0.84, 0.15))  # left edge and width, of the figure's
_TITLES = ("Images", "Categories", "Files", "Labels")
_COMMANDS = ("aae init-datasets", "aae train unsupervised", "aae export, aae parity", "aae predict")


def main() -> None:
    """Draw the picture of a demo."""
    parser = argparse.ArgumentParser(description="Draw the picture of the whole from a demo.")
    parser.add_argument("--demo", type=Path, default=Path("aae-demo"), help="Directory written by aae demo.")
    parser.add_argument("--output", type=Path, default=Path("docs/images/overview.png"), help="PNG file.")
    arguments = parser.parse_args()
    save(draw(arguments.demo), arguments.output)
    print(f"written to {arguments.output}")


def draw(demo: Path) -> Figure:
    """Draw four columns, one for each step, from the directory of a demo."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.4), dpi=100, facecolor="white")
    columns = [figure.add_axes((left, 0.1, width, 0.7)) for left, width in _COLUMNS]
    data = DataDirectory(demo / "data")
    notes = [
        _images(columns[0], data),
        _categories(columns[1], demo / "unsupervised", data),
        _files(columns[2], ExportDirectory.open(demo / "unsupervised" / "export")),
        _labels(columns[3], demo / "unsupervised" / "export", demo / "samples", data.image_shape),
    ]
    for axes, title, command, note in zip(columns, _TITLES, _COMMANDS, notes, strict=True):
        axes.set_axis_off()
        axes.set_anchor("NW")
        box = axes.get_position()
        figure.text(box.x0, 0.93, title, fontsize=15, weight="bold", color=_ACCENT)
        figure.text(box.x0, 0.86, command, fontsize=10, family="monospace", color=_FAINT)
        figure.text(box.x0, 0.03, note, fontsize=9.5, color=_FAINT)
    for left, right in pairwise(columns):
        start, end = left.get_position().x1, right.get_position().x0
        figure.text((start + end) / 2, 0.93, "→", fontsize=22, color=_ACCENT, ha="center")
    return figure


def _show(axes: Axes, image: Any, x: float, y: float) -> None:
    """Show an image [H, W] or [H, W, 3] in the unit square whose upper left corner is (x, -y)."""
    axes.imshow(image, cmap="gray", extent=(x, x + 0.92, -y - 0.92, -y), interpolation="bicubic")


def _grid(axes: Axes, rows: list[list[NDArray[Any]]], gap_after: int | None = None) -> None:
    """Show images in rows; a gap follows the image number `gap_after` of each."""
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            _show(axes, image, x + (0.25 if gap_after and x >= gap_after else 0), y)
    axes.set_xlim(0, max(map(len, rows)) + (0.25 if gap_after else 0))
    axes.set_ylim(-_ROWS, 0)


def _as_shown(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return images [N, C, H, W] as matplotlib takes them: [N, H, W], or [N, H, W, 3]."""
    shown: NDArray[np.uint8] = images[:, 0] if images.shape[1] == 1 else images.transpose(0, 2, 3, 1)
    return shown


def _images(axes: Axes, data: DataDirectory) -> str:
    """Show unlabelled images; return their number in words."""
    images = _as_shown(data.load("train_unlabeled").images)
    _grid(axes, [list(images[y * _WIDE : (y + 1) * _WIDE]) for y in range(_ROWS)])
    return f"{data.size('train_unlabeled') + data.size('train_labeled'):,} images, no labels"


def _categories(axes: Axes, model_dir: Path, data: DataDirectory) -> str:
    """Show validation images by the category that they are in; return a line about the categories."""
    model, images = load_model(model_dir), data.load("validation").images
    y, _ = encode(model.image_encoder, images)
    categories, shown = y.argmax(axis=1), _as_shown(images)
    used = [k for k in range(y.shape[1]) if (categories == k).any()][: 2 * _ROWS]
    members = [shown[np.argsort(-y[:, k] * (categories == k), kind="stable")[:_MEMBERS]] for k in used]
    rows = [[*members[i], *(members[i + _ROWS] if i + _ROWS < len(used) else [])] for i in range(min(_ROWS, len(used)))]
    _grid(axes, rows, gap_after=_MEMBERS)
    return f"{y.shape[1]} categories found without labels, three images of each"


def _files(axes: Axes, export: ExportDirectory) -> str:
    """List the exported files with their verdicts; return a line about the proof."""
    parity = export.manifest.parity
    if parity is None:
        raise SystemExit(f"{export.path} is not proven; run: aae parity --export {export.path} --data DATA")
    refused = {result["artifact"] for result in parity["results"] if not result["passed"]}
    axes.set_xlim(0, 1)
    axes.set_ylim(-len(export.artifacts), 0)
    for y, entry in enumerate(export.artifacts):
        mark, color = ("≠", "#a4200d") if entry.file in refused else ("=", "#17714f")
        axes.text(0.0, -y - 0.5, mark, fontsize=13, weight="bold", color=color, va="center")
        axes.text(0.1, -y - 0.5, entry.file, fontsize=10, family="monospace", va="center")
    verdict = f"{len(refused)} REFUSED" if refused else "same as the model"
    return f"{verdict} on {parity['n']} images"


def _labels(axes: Axes, export_dir: Path, samples: Path, shape: tuple[int, int, int]) -> str:
    """Show sample images with the labels that the exported classifier gives; return a line about the file."""
    from PIL import Image

    files = sorted(samples.glob("*.png"))[: 2 * _ROWS]
    for index, (file, found) in enumerate(zip(files, predict(export_dir / "classifier.onnx", files), strict=True)):
        x, y = 1.7 * (index // _ROWS), index % _ROWS
        with Image.open(file) as image:
            _show(axes, image.resize((shape[2], shape[1]), Image.Resampling.BOX), x, y)
        axes.text(x + 1.05, -y - 0.46, found.class_name, fontsize=12, weight="bold", va="center", color=_ACCENT)
    axes.set_xlim(0, 3.1)
    axes.set_ylim(-_ROWS, 0)
    return "given by classifier.onnx"


if __name__ == "__main__":
    main()
