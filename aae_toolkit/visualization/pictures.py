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
from aae_toolkit.visualization import categories, latent, mistakes, reconstructions
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


@dataclass(frozen=True)
class Picture:
    """Picture of a trained model.

    Attributes:
        title: title of the picture.
        shows: sentence that describes the content.
        look_for: sign of a good model, to follow "Look for".
        content: function that draws the figure without its title, with measurements in a note below.
        why_not: function that returns why the picture cannot be drawn, or None if it can.
    """

    title: str
    shows: str
    look_for: str
    content: Callable[[View], Figure]
    why_not: Callable[[View], str | None] = _always

    @property
    def caption(self) -> str:
        """Caption: description and sign of a good model, in two sentences."""
        return f"{self.shows} Look for {self.look_for}."

    def draw(self, view: View) -> Figure:
        """Draw the picture with its title; call and save it within `canvas.style`."""
        drawn = self.content(view)
        title(drawn, f"{self.title}\nLook for {self.look_for}")
        return drawn


PICTURES: Mapping[str, Picture] = MappingProxyType(
    {
        "latent_features_tnse.png": Picture(
            "Latent space by t-SNE",
            "Codes (y, z) of images, similar ones side by side; misclassified images are crosses of their true colour.",
            "an island per class, each of one colour, with few crosses",
            latent.latent_space,
            latent.too_few_for_tsne,
        ),
        "learned_latent_features.png": Picture(
            "Category and style",
            "Decoded images: a category in each row, with the first style varied along it.",
            "rows that keep their class while the style changes",
            categories.style_rows,
            no_decoder,
        ),
        MODES: Picture(
            "Modes and images of each category",
            "Mode of each category, the decoder's image at z = 0, beside real images of the category.",
            "one class along a row, and a mode that looks like it",
            categories.modes_and_samples,
            no_decoder,
        ),
        "predicted_label_distribution.png": Picture(
            "Sizes of the categories",
            "Number of images in each category, by true class.",
            "bars of one colour, and none empty",
            categories.sizes,
        ),
        "reconstruction_example.png": Picture(
            "Reconstructions",
            "Images above their reconstructions by the decoder.",
            "the same class and style, a little smoother",
            reconstructions.rebuilt,
            no_decoder,
        ),
        "y_distribution.png": Picture(
            "Certainty of y",
            "Histogram of the largest probability in y.",
            "nearly all images at 1, where y is one-hot",
            latent.certainty,
        ),
        "z_distribution.png": Picture(
            "Distribution of z",
            "Histogram of each style dimension, with the prior N(0, 1) over it.",
            "bells that follow the line",
            latent.styles,
            no_decoder,
        ),
        "learned_modes.png": Picture(
            "Modes of the mode decoder",
            "Image of each category by the mode decoder, from y alone.",
            "a clear picture per category, each another",
            categories.mode_decoder_modes,
            categories.no_mode_decoder,
        ),
        "confusion_matrix.png": Picture(
            "Confusion matrix",
            "Share of each true class that is given each class.",
            "a dark diagonal and pale cells beside it",
            mistakes.confusion,
            mistakes.no_labels,
        ),
        "most_uncertain.png": Picture(
            "The most uncertain images",
            "Images whose likeliest class is least likely, with their two likeliest classes and the true one.",
            "images that people would doubt too",
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
