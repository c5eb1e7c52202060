"""What tests of pictures share: untrained models of any size, and what can be said of a figure without its pixels."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from aae_toolkit import __version__
from aae_toolkit.data.split import Split
from aae_toolkit.models.description import Architecture, ModelDescription
from aae_toolkit.models.directory import TrainedModel
from aae_toolkit.models.networks import Decoder, Encoder, ModeDecoder
from aae_toolkit.progress import Progress, Silent
from aae_toolkit.visualization.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Told(Silent):
    """A listener that keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def untrained_model(
    k: int = 4,
    z: int = 2,
    shape: tuple[int, int, int] = (1, 6, 6),
    names: tuple[str, ...] = ("row_0", "row_1", "row_2"),
    empty: tuple[int, ...] = (),
    mode_decoder: bool = True,
) -> TrainedModel:
    """A model with random weights; categories of `empty` are never predicted."""
    torch.manual_seed(0)
    a = Architecture(
        encoder="mlp", hidden_size=8, conv_channels=(8,), encoder_dropout=0, image_shape=shape, n_classes=k, z_size=z
    )
    description = ModelDescription(
        toolkit_version=__version__,
        variant="unsupervised",
        architecture=a,
        class_names=names,
        category_to_class=tuple(c % len(names) for c in range(k)),
        category_to_class_from="by hand",
    )
    model = TrainedModel(description, Encoder(a), Decoder(a), ModeDecoder(a) if mode_decoder else None)
    with torch.no_grad():
        model.encoder.y_head.weight *= 20  # so that several categories are predicted
        model.encoder.y_head.bias[list(empty)] = -1000.0
    for network in (model.encoder, model.decoder, model.mode_decoder):
        if network is not None:
            network.eval().requires_grad_(False)
    return model


def random_split(model: TrainedModel, n: int = 40, labelled: bool = True) -> Split:
    """Noise that the model takes, labelled in turn."""
    images = np.random.default_rng(0).integers(0, 256, (n, *model.architecture.image_shape), dtype=np.uint8)
    labels = np.arange(n, dtype=np.int64) % len(model.description.class_names)
    return Split(images, labels if labelled else np.full_like(labels, -1))


def view_of(model: TrainedModel, n: int = 40, labelled: bool = True, progress: Progress | None = None) -> View:
    """The view of such a split."""
    return View.of(model, random_split(model, n, labelled), progress or Silent())


_rendered: weakref.WeakSet[Figure] = weakref.WeakSet()


def render(drawn: Figure) -> None:
    """Lay a figure out and paint it, once: most of what a test of a picture costs."""
    if drawn not in _rendered:
        drawn.canvas.draw()
        _rendered.add(drawn)


def shown_texts(drawn: Figure) -> dict[str, list[Any]]:
    """Every text that can be read in a figure, by where it stands."""
    render(drawn)
    found: dict[str, list[Any]] = {"figure": list(drawn.texts), "panels": [], "ticks": [], "legend": []}
    for legend in [*drawn.legends, *(axes.get_legend() for axes in drawn.axes if axes.get_legend())]:
        found["legend"] += legend.get_texts()
    for axes in drawn.axes:
        found["panels"] += [axes.title, *axes.texts]
        for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            found["panels"].append(axis.label)
            found["ticks"] += [t.label1 for t in axis.get_major_ticks() if min(limits) <= t.get_loc() <= max(limits)]
    return {
        where: [text for text in texts if text.get_visible() and text.get_text().strip()]
        for where, texts in found.items()
    }


def words(drawn: Figure) -> str:
    """All that is written in a figure."""
    return "\n".join(text.get_text() for texts in shown_texts(drawn).values() for text in texts)


def crowding(drawn: Figure) -> list[str]:
    """Texts that leave the figure, or lie on one another."""
    texts = [text for group in shown_texts(drawn).values() for text in group]
    boxes = [text.get_window_extent() for text in texts]
    canvas = drawn.bbox.padded(1)
    out = [
        f"{text.get_text()!r} leaves the figure: {box}"
        for text, box in zip(texts, boxes, strict=True)
        if not (canvas.x0 <= box.x0 and box.x1 <= canvas.x1 and canvas.y0 <= box.y0 and box.y1 <= canvas.y1)
    ]
    low, high = (np.array([[*getattr(box, end)] for box in boxes]).reshape(-1, 2) for end in ("min", "max"))
    common = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)  # [n, n, 2], width and height in pixels
    for a, b in np.argwhere(np.triu(common.min(axis=2) > 2, k=1)):
        out.append(f"{texts[a].get_text()!r} lies on {texts[b].get_text()!r}")
    return out


def blank_panels(drawn: Figure) -> list[int]:
    """Panels of one colour."""
    render(drawn)
    pixels = np.asarray(drawn.canvas.buffer_rgba())  # type: ignore[attr-defined]  # Agg's canvas
    blank = []
    for index, axes in enumerate(drawn.axes):
        box = axes.get_window_extent().padded(-2)
        part = pixels[pixels.shape[0] - int(box.y1) : pixels.shape[0] - int(box.y0), int(box.x0) : int(box.x1)]
        if (part == part[:1, :1]).all():
            blank.append(index)
    return blank
