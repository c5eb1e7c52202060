"""Prediction for image files with `classifier.onnx`; needs only ONNX Runtime, numpy and pillow."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from aae_toolkit.errors import UsageError
from aae_toolkit.machine.environment import usable_cores
from aae_toolkit.predict.classifier_file import ClassifierFile, find_classifier

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aae_toolkit.data.preparation import InvertChoice
    from aae_toolkit.predict.decoding import Decoded, Decoder

BATCH_SIZE = 64
UNSURE = "unsure"
_UNSURE_LABEL = -1


class Candidate(NamedTuple):
    """Candidate class of an image, with its probability in [0, 1]."""

    label: int
    class_name: str
    probability: float


class Prediction(NamedTuple):
    """Prediction for one image, or the `error` that prevented it.

    Attributes:
        path: the path, as given; `-` for the content of a file.
        label: class index; -1 if the probability is below the threshold.
        class_name: class name; `unsure` if the probability is below the threshold.
        probability: probability of the predicted class in [0, 1], also if it is below the threshold.
        top: the most likely classes in descending order, if requested. The label is the class of the likeliest
            category; if several categories form one class, it may not be the first of `top`.
        notes: unexpected changes to the image, such as `inverted`.
        error: reason why the image has no label.
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
        """Whether the probability is below the threshold."""
        return self.label == _UNSURE_LABEL

    def to_json(self) -> dict[str, Any]:
        """Return the object that `aae predict --json` prints: `path` with `error`, or with the other keys."""
        if self.error is not None:
            return {"path": self.path, "error": self.error}
        content: dict[str, Any] = {
            "path": self.path,
            "label": self.label,
            "class_name": self.class_name,
            "probability": self.probability,
        }
        if self.top:
            content["top"] = [candidate._asdict() for candidate in self.top]
        if self.notes:
            content["notes"] = list(self.notes)
        return content


def predict(
    model: str | Path,
    paths: Iterable[str | Path | bytes],
    *,
    batch_size: int = BATCH_SIZE,
    threads: int | None = None,
    processes: bool = False,
    top_k: int = 0,
    threshold: float = 0.0,
    invert: InvertChoice = "as-trained",
) -> Iterator[Prediction]:
    """Label image files, in order; an unreadable file gives a prediction with `error`.

    Files are decoded while earlier ones are labelled; memory holds at most a few batches.

    Args:
        model: `classifier.onnx` from `aae export`, or the export directory that holds it.
        paths: image files, or contents of such files as bytes, whose `Prediction.path` is `-`; each is prepared as the
            training images were.
        batch_size: images per batch.
        threads: threads for decoding and for the model; None is one per core.
        processes: allow many files to be decoded by processes, which is faster for small images on several cores. They
            import the caller's main module: a script needs `if __name__ == "__main__"`.
        top_k: number of most likely classes to list in `Prediction.top`.
        threshold: minimum probability of a label; below it an image is `unsure`.
        invert: inversion of brightness: `as-trained`, `yes`, `no`, or `auto`, which inverts images whose border
            brightness is opposite to that of the training images.

    Raises:
        AaeError: the model is absent, damaged, or not a classifier of this tool.
        UsageError: `invert` is `auto`, but the model does not record the border brightness of its training images; or
            `paths` is a single path.
    """
    if isinstance(paths, str | bytes | os.PathLike):
        given = "the content of an image" if isinstance(paths, bytes) else f"one path, {os.fspath(paths)!r}"
        raise UsageError(f"paths is {given}; give a list")
    import onnxruntime  # noqa: F401 - import it before the thread below, since imports block one another

    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(ClassifierFile, find_classifier(Path(model)), threads=threads, prepacked=False)
        from aae_toolkit.predict.decoding import decode_ahead  # importing pillow takes longer than opening the model
    classifier = opening.result()
    decoder = decoder_of(classifier, invert)
    images = (image if isinstance(image, bytes) else Path(image) for image in paths)
    batches = decode_ahead(images, decoder, batch_size, threads or usable_cores(), processes=processes)
    return _label(classifier, batches, top_k, threshold)


def decoder_of(classifier: ClassifierFile, invert: InvertChoice) -> Decoder:
    """Return the decoder of images for a classifier; see `predict` for `invert`.

    Raises:
        AaeError: the classifier does not take images.
        UsageError: `invert` is `auto`, but the model does not record the border brightness of its training images.
    """
    from aae_toolkit.predict.decoding import Decoder

    if invert == "auto" and classifier.border_brightness is None:
        raise UsageError(
            f"--invert auto: {classifier.name} does not say how bright its training images' borders are; give yes or"
            " no, or export it again"
        )
    preparation = classifier.preparation
    if invert in ("yes", "no"):
        preparation = replace(preparation, invert=invert)
    return Decoder(classifier.image_shape, preparation, classifier.border_brightness, match_border=invert == "auto")


def _label(
    classifier: ClassifierFile, batches: Iterator[list[Decoded]], top_k: int, threshold: float
) -> Iterator[Prediction]:
    with classifier:
        for batch in batches:
            yield from label_batch(classifier, batch, top_k, threshold)


def label_batch(
    classifier: ClassifierFile, batch: Sequence[Decoded], top_k: int, threshold: float
) -> Iterator[Prediction]:
    """Yield the predictions for one batch of decoded images."""
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
    """Yield the predicted class and the `top_k` most likely classes of each image of a batch."""
    probabilities = outputs["probabilities"]
    likeliest = np.argsort(-probabilities, axis=1, kind="stable")[:, :top_k]
    for label, first, row in zip(outputs["label"].tolist(), likeliest.tolist(), probabilities.tolist(), strict=True):
        best, *top = (Candidate(c, names[c], row[c]) for c in (label, *first))
        yield best, tuple(top)
