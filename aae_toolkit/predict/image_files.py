"""Labels for image files from `classifier.onnx`, with ONNX Runtime, numpy and pillow alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from aae_toolkit.errors import UsageError
from aae_toolkit.machine.environment import usable_cores
from aae_toolkit.predict.classifier_file import ClassifierFile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aae_toolkit.data.images import Invert
    from aae_toolkit.predict.decoding import Decoded, Decoder

BATCH_SIZE = 64
UNSURE = "unsure"
_UNSURE_LABEL = -1


class Candidate(NamedTuple):
    """A class that an image may be of, and its probability in [0, 1]."""

    label: int
    class_name: str
    probability: float


class Prediction(NamedTuple):
    """One image: its class index and name, and that class's probability in [0, 1]; or `error`.

    Attributes:
        path: as it was given.
        label: the class index; -1 where the probability is below the threshold,
        class_name: and then `unsure`.
        probability: of the likeliest class, also where it is below the threshold.
        top: the likeliest classes, the likeliest first, where they were asked for. Where several categories make up one
            class, the label, which is the class of the likeliest category, need not be the first of them.
        notes: what was done to the picture that its owner may not expect, such as `inverted`.
        error: why it has no label.
    """

    path: str
    label: int | None = None
    class_name: str | None = None
    probability: float | None = None
    top: tuple[Candidate, ...] = ()
    notes: tuple[str, ...] = ()
    error: str | None = None

    @property
    def is_unsure(self) -> bool:
        """Whether the probability is below the threshold that was given."""
        return self.label == _UNSURE_LABEL

    def to_json(self) -> dict[str, Any]:
        """The object that `aae predict --json` prints: `path` with `error`, or with the other keys."""
        if self.error is not None:
            return {"path": self.path, "error": self.error}
        found: dict[str, Any] = {
            "path": self.path,
            "label": self.label,
            "class_name": self.class_name,
            "probability": self.probability,
        }
        if self.top:
            found["top"] = [candidate._asdict() for candidate in self.top]
        if self.notes:
            found["notes"] = list(self.notes)
        return found


def predict(
    model: Path,
    paths: Iterable[Path],
    *,
    batch_size: int = BATCH_SIZE,
    threads: int | None = None,
    processes: bool = False,
    top_k: int = 0,
    threshold: float = 0.0,
    invert: Invert = "no",
) -> Iterator[Prediction]:
    """Label image files, in their order; a file that cannot be read gives an `error`.

    Files are decoded while earlier ones are labelled, and no more than a few batches are in memory at a time, however
    many paths there are.

    Args:
        model: `classifier.onnx` written by `aae export`.
        paths: image files; each is converted to the model's channels and size.
        batch_size: images that the model labels at once.
        threads: that decode, and that the model runs on; None: one a core.
        processes: whether many files may be decoded by processes instead, which small pictures need to be fast on
            several cores. They import the caller's main module: a script needs `if __name__ == "__main__"`.
        top_k: how many of the likeliest classes to name besides the label.
        threshold: probability below which an image is `unsure`.
        invert: whether pictures are inverted, see `data.images.read_noted`.

    Raises:
        AaeError: the model is absent, damaged, or no classifier of this tool.
        UsageError: `invert` is `auto`, and the model does not tell dark from light.
    """
    import onnxruntime  # noqa: F401 - Python imports one module at a time; a session can open beside that

    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(ClassifierFile, model, threads=threads, prepacked=False)
        from aae_toolkit.predict.decoding import decode_ahead  # pillow takes longer to import than the model to open
    classifier = opening.result()
    decoder = decoder_of(classifier, invert)
    batches = decode_ahead(paths, decoder, batch_size, threads or usable_cores(), processes=processes)
    return _label(classifier, batches, top_k, threshold)


def decoder_of(classifier: ClassifierFile, invert: Invert) -> Decoder:
    """How images are read for a classifier.

    Raises:
        AaeError: the classifier does not take images.
        UsageError: `invert` is `auto`, and the model does not tell dark from light.
    """
    from aae_toolkit.predict.decoding import Decoder

    if invert == "auto" and classifier.border_brightness is None:
        raise UsageError(
            f"--invert auto: {classifier.name} does not say how bright its training images' borders are; say yes or"
            " no, or export it again"
        )
    return Decoder(classifier.image_shape, invert, classifier.border_brightness)


def _label(
    classifier: ClassifierFile, batches: Iterator[list[Decoded]], top_k: int, threshold: float
) -> Iterator[Prediction]:
    with classifier:
        for batch in batches:
            yield from label_batch(classifier, batch, top_k, threshold)


def label_batch(
    classifier: ClassifierFile, batch: Sequence[Decoded], top_k: int, threshold: float
) -> Iterator[Prediction]:
    """Label images that are decoded already, in one run."""
    readable = [file.pixels for file in batch if file.pixels is not None]
    labels = iter(_classes(classifier.classify(np.stack(readable)), classifier.class_names, top_k) if readable else ())
    for file in batch:
        if file.error is not None:
            yield Prediction(str(file.path), error=file.error)
            continue
        best, top = next(labels)
        if best.probability < threshold:
            best = Candidate(_UNSURE_LABEL, UNSURE, best.probability)
        yield Prediction(str(file.path), *best, top, file.notes)


def _classes(
    outputs: Mapping[str, NDArray[Any]], names: list[str], top_k: int
) -> Iterator[tuple[Candidate, tuple[Candidate, ...]]]:
    """Of each image of a batch the class that the model says, and the likeliest ones."""
    probabilities = outputs["probabilities"]
    likeliest = np.argsort(-probabilities, axis=1, kind="stable")[:, :top_k]
    for label, first, row in zip(outputs["label"].tolist(), likeliest.tolist(), probabilities.tolist(), strict=True):
        best, *top = (Candidate(c, names[c], row[c]) for c in (label, *first))
        yield best, tuple(top)
