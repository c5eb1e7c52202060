"""The eight pictures of a trained model, under the file names of the seed document ("Visualization of the Model")."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aae_toolkit.data.directory import Split
from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.errors import AaeError
from aae_toolkit.evaluation import encode
from aae_toolkit.models.directory import TrainedModel
from aae_toolkit.models.networks import decode_modes
from aae_toolkit.progress import Progress
from aae_toolkit.visualization.canvas import colors, figure, show_image, tile, tile_centres

_N_SAMPLES = 8  # real images beside each mode
_N_STYLES = 11  # steps of z
_N_TSNE = 3000
_SEED = 0


@dataclass(frozen=True)
class View:
    """What the pictures show: images of a split with their codes; arrays as in `encode`."""

    model: TrainedModel
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    y: NDArray[np.float32]
    z: NDArray[np.float32]

    @property
    def categories(self) -> NDArray[np.int64]:
        """Likeliest category of each image."""
        found: NDArray[np.int64] = self.y.argmax(axis=1)
        return found

    def class_name(self, category: int) -> str:
        """Name of the class that a category stands for."""
        d = self.model.description
        return d.class_names[d.category_to_class[category]]


def draw_all(model: TrainedModel, split: Split, output_dir: Path, progress: Progress) -> list[Path]:
    """Draw every picture of a model over a split; return the files written.

    Raises:
        AaeError: images of another shape, or a directory that cannot be written.
    """
    model.description.require_image_shape(split.images.shape[1:])
    view = View(model, split.images, split.labels, *encode(model.encoder, split.images))
    pictures: dict[str, Callable[[View, Path], None]] = {
        "latent_features_tnse.png": latent_features,
        "learned_latent_features.png": learned_latent_features,
        "modes_and_samples_from_each_label.png": modes_and_samples,
        "predicted_label_distribution.png": predicted_label_distribution,
        "reconstruction_example.png": reconstruction_example,
        "y_distribution.png": y_distribution,
        "z_distribution.png": z_distribution,
    }
    if model.mode_decoder is not None:
        pictures["learned_modes.png"] = learned_modes
    try:
        (output_dir / "learned_modes.png").unlink(missing_ok=True)  # of an earlier model with a mode decoder
        for name, draw in progress.track(pictures.items(), "pictures", len(pictures)):
            draw(view, output_dir / name)
    except OSError as error:
        raise AaeError(f"{output_dir} cannot be written: {error.strerror or error}") from error
    return [output_dir / name for name in pictures]


def latent_features(view: View, path: Path) -> None:
    """t-SNE of the codes (y, z), coloured by true class where it is known, else by category."""
    from sklearn.manifold import TSNE

    chosen = np.random.default_rng(_SEED).permutation(len(view.images))[:_N_TSNE]
    codes = np.concatenate([view.y[chosen], view.z[chosen]], axis=1)
    if len(chosen) < 4:
        raise AaeError(f"{len(chosen)} validation images are too few to draw; at least 4 are needed")
    perplexity = min(30.0, (len(chosen) - 1) / 3)
    points = TSNE(n_components=2, init="pca", perplexity=perplexity, random_state=_SEED).fit_transform(codes)
    labelled = (view.labels[chosen] != UNLABELED).any()
    groups = view.labels[chosen] if labelled else view.categories[chosen]
    names = list(view.model.description.class_names)
    with figure(path, 8.5, 7) as drawn:
        axes = drawn.subplots()
        for group, color in zip(range(len(names)), colors(len(names)), strict=True):
            member = groups == group
            if member.any():
                axes.scatter(*points[member].T, s=6, color=color, label=names[group], linewidths=0)
        axes.set_title("t-SNE of the latent space: a class should keep to its own islands")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.legend(
            title="true class" if labelled else "category", loc="center left", bbox_to_anchor=(1, 0.5), markerscale=3
        )


def learned_latent_features(view: View, path: Path) -> None:
    """A row per category, the first style varied along it: the row keeps its class while the style changes."""
    a = view.model.architecture
    styles = np.linspace(-2, 2, _N_STYLES, dtype=np.float32)
    pictures = []
    for category in range(a.n_classes):
        y = torch.zeros(_N_STYLES, a.n_classes)
        y[:, category] = 1
        z = torch.zeros(_N_STYLES, a.z_size)
        z[:, 0] = torch.from_numpy(styles)
        pictures.append(_decode(view.model, y, z))
    with figure(path, 0.7 * _N_STYLES + 1, 0.7 * a.n_classes + 1) as drawn:
        axes = drawn.subplots()
        _show_rows(view, axes, pictures, _N_STYLES)
        axes.set_xticks(tile_centres(_N_STYLES, a.image_shape[2]), [f"{style:.1f}" for style in styles], fontsize=8)
        axes.set_xlabel("z0")
        axes.set_title("Category (row) and first style z0 (column):\nthe class stays, the style changes")


def modes_and_samples(view: View, path: Path) -> None:
    """Each category's mode (z = 0) beside real images that the model puts there."""
    a = view.model.architecture
    with torch.inference_mode():
        modes = decode_modes(view.model.decoder, a).sigmoid().reshape(-1, *a.image_shape).numpy()
    rows = []
    for category in range(a.n_classes):
        members = np.flatnonzero(view.categories == category)[:_N_SAMPLES]
        rows.append([modes[category], *view.images[members]])
    with figure(path, 0.7 * (_N_SAMPLES + 1) + 1, 0.7 * a.n_classes + 1) as drawn:
        axes = drawn.subplots()
        _show_rows(view, axes, rows, _N_SAMPLES + 1)
        centres_x = tile_centres(_N_SAMPLES + 1, a.image_shape[2])
        for row, y in zip(rows, tile_centres(a.n_classes, a.image_shape[1]), strict=True):
            if len(row) == 1:
                axes.text(centres_x[1], y, "never predicted", va="center")
        axes.set_xticks(centres_x[:2], ["mode", "real images"], fontsize=8)
        axes.set_title("Each category's mode, and images the model puts there:\na row shows one class")


def predicted_label_distribution(view: View, path: Path) -> None:
    """How many images each category takes, split by true class where it is known."""
    a, names = view.model.architecture, view.model.description.class_names
    positions = np.arange(a.n_classes)
    with figure(path, max(7.0, 0.35 * a.n_classes + 2), 4.5) as drawn:
        axes = drawn.subplots()
        bottom = np.zeros(a.n_classes)
        for index, (name, color) in enumerate(zip(names, colors(len(names)), strict=True)):
            counts = np.bincount(view.categories[view.labels == index], minlength=a.n_classes)
            if counts.any():
                axes.bar(positions, counts, bottom=bottom, color=color, label=name)
            bottom += counts
        unknown = np.bincount(view.categories[view.labels == UNLABELED], minlength=a.n_classes)
        if unknown.any():
            axes.bar(positions, unknown, bottom=bottom, color="0.7", label="no label")
        axes.axhline(len(view.images) / a.n_classes, color="0.3", linestyle="--", linewidth=1, label="all alike")
        axes.set_xticks(positions, [f"{k}\n{view.class_name(k)}" for k in range(a.n_classes)], fontsize=8)
        axes.set_xlabel("category, and the class it stands for")
        axes.set_ylabel("images")
        axes.set_title("Predicted categories: one colour per bar is a pure category")
        axes.legend(title="true class", loc="center left", bbox_to_anchor=(1, 0.5))


def reconstruction_example(view: View, path: Path) -> None:
    """Real images above what the decoder makes of their codes."""
    chosen = np.random.default_rng(_SEED).permutation(len(view.images))[:10]
    rebuilt = _decode(view.model, torch.from_numpy(view.y[chosen]), torch.from_numpy(view.z[chosen]))
    with figure(path, 0.9 * len(chosen) + 1, 2.6) as drawn:
        grid = drawn.subplots(2, len(chosen), squeeze=False)
        for column, index in enumerate(chosen):
            show_image(grid[0, column], view.images[index])
            show_image(grid[1, column], rebuilt[column])
        _row_label(grid[0, 0], "input")
        _row_label(grid[1, 0], "rebuilt")
        drawn.suptitle("Inputs and reconstructions: the same class and style, a little blurred")


def y_distribution(view: View, path: Path) -> None:
    """Histogram of the largest category probability."""
    largest = view.y.max(axis=1)
    with figure(path, 7, 4.2) as drawn:
        axes = drawn.subplots()
        axes.hist(largest, bins=50, range=(0, 1), color=colors(1)[0])
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:.0f}")
        axes.yaxis.set_minor_formatter("")
        axes.set_xlabel("largest probability in y")
        axes.set_ylabel("images (log scale)")
        sure = (largest > 0.9).mean()
        axes.set_title(f"y is near one-hot where the mass is at 1: {100 * sure:.1f}% of images above 0.9")


def z_distribution(view: View, path: Path) -> None:
    """Histogram of the first style dimension, with the prior drawn over it."""
    z0 = view.z[:, 0]
    limit = max(4.0, float(np.abs(z0).max()))
    grid = np.linspace(-limit, limit, 400)
    with figure(path, 7, 4.2) as drawn:
        axes = drawn.subplots()
        axes.hist(
            z0, bins=80, range=(-limit, limit), density=True, color=colors(1)[0], alpha=0.7, label="z0 of the images"
        )
        axes.plot(grid, np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi), color="#D55E00", label="prior N(0, 1)")
        axes.set_xlabel("z0")
        axes.set_ylabel("density")
        axes.set_title(f"First style: a bell on the prior (mean {z0.mean():.2f}, standard deviation {z0.std():.2f})")
        axes.legend()


def learned_modes(view: View, path: Path) -> None:
    """What the mode decoder draws for each category."""
    a = view.model.architecture
    assert view.model.mode_decoder is not None
    with torch.inference_mode():
        modes = view.model.mode_decoder(torch.eye(a.n_classes)).sigmoid().reshape(-1, *a.image_shape).numpy()
    n_columns = min(10, a.n_classes)
    n_rows = -(-a.n_classes // n_columns)
    with figure(path, 0.9 * n_columns + 0.5, 1.05 * n_rows + 0.7) as drawn:
        grid = drawn.subplots(n_rows, n_columns, squeeze=False)
        for axes in grid.flat:
            axes.axis("off")
        for category, mode in enumerate(modes):
            axes = grid.flat[category]
            axes.axis("on")
            show_image(axes, mode)
            axes.set_title(f"{category} ({view.class_name(category)})", fontsize=8)
        drawn.suptitle("Modes learned by the mode decoder, from y alone")


@torch.inference_mode()
def _decode(model: TrainedModel, y: torch.Tensor, z: torch.Tensor) -> NDArray[np.float32]:
    return model.decoder(y, z).sigmoid().reshape(-1, *model.architecture.image_shape).numpy()  # type: ignore[no-any-return]


def _show_rows(view: View, axes: Any, rows: Sequence[Iterable[NDArray[Any]]], n_columns: int) -> None:
    """Draw a row of pictures per category, named by category and class."""
    a = view.model.architecture
    show_image(axes, tile(rows, n_columns))
    names = [f"{category} ({view.class_name(category)})" for category in range(a.n_classes)]
    axes.set_yticks(tile_centres(a.n_classes, a.image_shape[1]), names, fontsize=8)
    axes.tick_params(length=0)


def _row_label(axes: Any, text: str) -> None:
    axes.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=8)
