"""Pictures of a trained model by file name: the seed document's eight ("Visualization of the Model"), and two more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from aae_toolkit.data.split import Split
from aae_toolkit.errors import AaeError
from aae_toolkit.models.directory import TrainedModel
from aae_toolkit.progress import Progress
from aae_toolkit.text import one_line
from aae_toolkit.visualization import categories, latent, mistakes, reconstructions, style_rows
from aae_toolkit.visualization.canvas import save, style, title
from aae_toolkit.visualization.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DIRECTORY = "visualization"  # in a model directory
MODES = "modes_and_samples_from_each_label.png"


def _always(view: View) -> str | None:
    return None


def no_decoder(view: View) -> str | None:
    """Return why no picture can show decoded images or styles, or None if it can."""
    return None if view.model.description.decoder_is_trained else "the model was trained without its autoencoder"


def _always_same(text: str) -> Callable[[View], str]:
    return lambda view: text


def _with_labels(labelled: str, unlabelled: str) -> Callable[[View], str]:
    return lambda view: labelled if view.known.any() else unlabelled


@dataclass(frozen=True)
class Picture:
    """Picture of a trained model.

    Attributes:
        title: title of the picture.
        look_for: function that returns the sign of a good model, to follow "Look for"; it names only what is drawn.
        content: function that draws the figure without its title, with measurements in a note below.
        why_not: function that returns why the picture cannot be drawn, or None if it can.
    """

    title: str
    look_for: Callable[[View], str]
    content: Callable[[View], Figure]
    why_not: Callable[[View], str | None] = _always

    def draw(self, view: View) -> Figure:
        """Draw the picture with its title; call and save it within `canvas.style`."""
        drawn = self.content(view)
        title(drawn, self.title, self.look_for(view))
        return drawn


PICTURES: Mapping[str, Picture] = MappingProxyType(
    {
        "latent_features_tnse.png": Picture(
            "Latent space by t-SNE", latent.islands, latent.latent_space, latent.too_few_for_tsne
        ),
        "learned_latent_features.png": Picture(
            "Category and style, decoded",
            _with_labels(
                "rows that keep their class while the style changes",
                "rows that keep their subject while the style changes",
            ),
            style_rows.style_rows,
            no_decoder,
        ),
        MODES: Picture(
            "Mode and images of each category",
            _with_labels(
                "one class along a row, and a mode that looks like it",
                "images that belong together, and a mode like them",
            ),
            categories.modes_and_samples,
            no_decoder,
        ),
        "predicted_label_distribution.png": Picture(
            "Sizes of the categories",
            _with_labels("bars of one colour, and none empty", "no empty bar, and none that takes nearly all"),
            categories.sizes,
        ),
        "reconstruction_example.png": Picture(
            "Reconstructions",
            _always_same("the same subject and style, a little smoother"),
            reconstructions.rebuilt,
            no_decoder,
        ),
        "y_distribution.png": Picture(
            "Certainty of y", _always_same("nearly all images at 1, where y is one-hot"), latent.certainty
        ),
        "z_distribution.png": Picture(
            "Distribution of z", _always_same("bells that follow the line of the prior"), latent.styles, no_decoder
        ),
        "learned_modes.png": Picture(
            "Modes of the mode decoder, from y alone",
            _always_same("a clear picture per category, each another"),
            categories.mode_decoder_modes,
            categories.no_mode_decoder,
        ),
        "confusion_matrix.png": Picture(
            "Confusion matrix",
            _always_same("a dark diagonal and pale cells beside it"),
            mistakes.confusion,
            mistakes.no_labels,
        ),
        "most_uncertain.png": Picture(
            "The most uncertain images",
            _always_same("images that people would doubt too"),
            mistakes.most_uncertain,
        ),
    }
)


def draw_all(model: TrainedModel, split: Split, output_dir: Path, progress: Progress) -> list[Path]:
    """Draw every picture of a model over a split; return the files written.

    Pictures that cannot be drawn are reported to `progress`, and earlier ones of that name are removed.

    Raises:
        AaeError: the split has no images or another image shape, or the directory cannot be written.
    """
    return draw(View.of(model, split, progress), tuple(PICTURES), output_dir)


def draw(view: View, names: Sequence[str], output_dir: Path) -> list[Path]:
    """Draw the pictures with these file names; return the files written.

    Raises:
        AaeError: the directory cannot be written.
    """
    written, progress = [], view.progress
    if view.names.unreadable:
        progress.say(
            f"no installed font has the characters of {one_line(', '.join(view.names.unreadable))}; pictures show class"
            " numbers instead (install a font, such as Debian's fonts-noto-cjk)"
        )
    try:
        with style(view.names.families):
            for name in progress.track(names, "pictures", len(names)):
                reason = PICTURES[name].why_not(view)
                if reason:
                    (output_dir / name).unlink(missing_ok=True)  # from an earlier model
                    progress.say(f"{name} is not drawn: {reason}")
                else:
                    save(PICTURES[name].draw(view), output_dir / name)
                    written.append(output_dir / name)
    except OSError as error:
        raise AaeError(f"{output_dir} cannot be written: {error.strerror or error}") from error
    return written
