"""Ways from an image file to its label: each must give what the trained model gives, for files of every kind.

The reference is the trained model on the pixels that `aae init-datasets` makes of a file. All of it runs on the CPU.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from aae_toolkit.data.images import read_image
from aae_toolkit.data.preparation import Preparation
from aae_toolkit.export.contract import Tensors
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.export.manifest import IMAGE_FILE
from aae_toolkit.parity.comparison import TOLERANCE, Comparison, explained_by_rounding
from aae_toolkit.parity.pictures import Picture, write_pictures
from aae_toolkit.predict.array_classifier import load_classifier
from aae_toolkit.predict.classifier_file import ClassifierFile
from aae_toolkit.predict.image_files import decoder_of, predict
from aae_toolkit.progress import Progress

WAYS = ("aae predict", "load_classifier", "pillow", "opencv")
_FILE = "classifier.onnx"
_MOST_LEVELS = 1  # of 255, by which a pixel may differ: versions of pillow differ by as much

Pixels = NDArray[np.uint8]


class Found(NamedTuple):
    """Label that a way finds for a file.

    Attributes:
        label: class index.
        probabilities: float32 [number of classes].
        pixels: what the network was given, [C, H, W]; None where the way does not show it.
    """

    label: int
    probabilities: NDArray[np.float32]
    pixels: Pixels | None = None


class Way(NamedTuple):
    """Way from files to labels.

    Attributes:
        name: its name.
        artifact: exported file that it runs.
        run: yields what it finds for each of the files.
        without: kinds of files that it decodes differently.
    """

    name: str
    artifact: str
    run: Callable[[ExportDirectory, list[Path]], Iterator[Found]]
    without: tuple[str, ...] = ()


def compare_files(export: ExportDirectory, images: Pixels, progress: Progress) -> list[Comparison]:
    """Compare every way from image files to labels with the trained model.

    Args:
        export: the opened export.
        images: uint8 [N, C, H, W], from which files are made in a temporary directory.
        progress: receives the reason where a way is left out.

    Returns:
        A comparison for each way; none for models of arrays, and for exports without `classifier.onnx`.
    """
    if export.description.preparation is None or export.entry(_FILE) is None:
        return []
    by_predict, by_load_classifier, by_pillow, by_opencv = WAYS
    ways = [Way(by_predict, _FILE, _by_predict), Way(by_load_classifier, _FILE, _by_load_classifier)]
    if export.entry(IMAGE_FILE) is not None:
        ways.append(Way(by_pillow, IMAGE_FILE, partial(_by_graph, decode=decode_with_pillow)))
        if find_spec("cv2") is not None:  # it converts CMYK by another rule
            ways.append(Way(by_opencv, IMAGE_FILE, partial(_by_graph, decode=decode_with_opencv), ("cmyk",)))
        else:
            progress.say(f"OpenCV is not installed: its decoder is left out, before {IMAGE_FILE}")
    with tempfile.TemporaryDirectory() as directory:
        pictures = write_pictures(Path(directory), images)
        reference = Reference(export, pictures)
        return [reference.compare(way) for way in ways]


class Reference:
    """The trained model's labels of files."""

    def __init__(self, export: ExportDirectory, pictures: list[Picture]) -> None:
        """Read the files, and run the model on them."""
        self._export, self._pictures = export, pictures
        preparation = export.description.require_preparation()
        shape = export.description.architecture.image_shape
        self._pixels = np.stack([read_image(picture.path, shape, preparation) for picture in pictures])
        self._labels = self._run(self._pixels)["label"]

    def compare(self, way: Way) -> Comparison:
        """Run a way on the files and judge it; a way that fails is refused, with its error as the reason."""
        result = Comparison(way.artifact, way.name, "cpu")
        chosen = [i for i, picture in enumerate(self._pictures) if picture.kind not in way.without]
        try:
            found = list(way.run(self._export, [self._pictures[i].path for i in chosen]))
        except Exception as error:  # runtimes and decoders raise types of their own, and any error is a refusal
            result.reason = f"cannot run: {' '.join(str(error).split())[:200]}"
            return result
        self._judge(result, found, chosen)
        if way.without:
            result.reason += f"; without {', '.join(way.without)}"
        return result

    def _judge(self, result: Comparison, found: list[Found], chosen: list[int]) -> None:
        """Compare pixels with those of the reference, and outputs with the model's for the pixels of the way."""
        pixels = self._pixels[chosen]
        seen = np.stack([own if f.pixels is None else f.pixels for f, own in zip(found, pixels, strict=True)])
        levels = np.abs(seen.astype(int) - pixels).max(axis=(1, 2, 3))
        expected = self._run(seen)
        gaps = np.abs(np.stack([f.probabilities for f in found]) - expected["probabilities"]).max(axis=1)
        labels = np.array([f.label for f in found])
        top = np.sort(expected["y"], axis=1)[:, -2:]
        ties = explained_by_rounding(top[:, 1] - top[:, 0], TOLERANCE)
        result.max_abs_diff = {"probabilities": float(gaps.max())}
        if found[0].pixels is not None:
            result.max_abs_diff["pixels"] = float(levels.max())
        result.label_agreement = float((labels == self._labels[chosen]).mean())
        problems = {
            f"pixels differ by {levels.max()} of 255; allowed {_MOST_LEVELS}": levels > _MOST_LEVELS,
            f"probabilities differ by {gaps.max():.3g}; allowed {TOLERANCE:g}": ~(gaps <= TOLERANCE),
            "labels differ": (labels != expected["label"]) & ~ties,
        }
        for problem, bad in problems.items():
            if bad.any():
                kinds = {self._pictures[chosen[i]].kind for i in np.flatnonzero(bad)}
                result.reason = f"{problem}; in files of kind {', '.join(sorted(kinds))}"
                return
        result.passed = True
        differences = [f"{name} {value:.3g}" for name, value in result.max_abs_diff.items()]
        result.reason = f"{len(found)} files; largest difference of {', of '.join(differences)}"

    def _run(self, pixels: Pixels) -> Tensors:
        """Run the trained model: `label`, `probabilities` and `y`, the probabilities of categories."""
        import torch

        with torch.inference_mode():
            images = torch.from_numpy(pixels)
            label, probabilities, _ = self._export.module("classifier")(images)
            y, _ = self._export.module("encoder")(images)
        return {"label": label.numpy(), "probabilities": probabilities.numpy(), "y": y.numpy()}


def _by_predict(export: ExportDirectory, paths: list[Path]) -> Iterator[Found]:
    n_classes = len(export.description.class_names)
    for prediction in predict(export.path / _FILE, paths, top_k=n_classes):
        if prediction.label is None:
            raise ValueError(f"{Path(prediction.path).name}: {prediction.error}")
        probabilities = np.zeros(n_classes, np.float32)
        for candidate in prediction.top:
            probabilities[candidate.label] = candidate.probability
        yield Found(prediction.label, probabilities)


def _by_load_classifier(export: ExportDirectory, paths: list[Path]) -> Iterator[Found]:
    with ClassifierFile(export.path / _FILE) as file:
        decoded = decoder_of(file, "as-trained").decode(paths)
    pixels = np.stack([image.pixels for image in decoded if image.pixels is not None])
    classifier = load_classifier(export.path)
    names = classifier.classes_.tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of borders: some pictures are light on dark, others the reverse
        labels, probabilities = classifier.predict(pixels), classifier.predict_proba(pixels)
    for label, row, image in zip(labels.tolist(), probabilities, pixels, strict=True):
        yield Found(names.index(label), row, image)


def _by_graph(
    export: ExportDirectory, paths: list[Path], decode: Callable[[Path, Preparation], Pixels]
) -> Iterator[Found]:
    """Run the classifier of decoded images, with the images that its preparation gives as one more output."""
    import onnx
    import onnxruntime as ort

    model = onnx.load(export.path / IMAGE_FILE)
    model.graph.output.append(onnx.ValueInfoProto(name="images"))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    preparation = export.description.require_preparation()
    for path in paths:
        given = {"image": decode(path, preparation)[None]}
        [label], [probabilities], [pixels] = session.run(["label", "probabilities", "images"], given)
        yield Found(int(label), probabilities, pixels)


def decode_with_pillow(path: Path, preparation: Preparation) -> Pixels:
    """Decode a file to RGB or RGBA, [H, W, C], as the page on deploying does."""
    picture = ImageOps.exif_transpose(Image.open(path))
    if picture.mode.startswith("I"):
        picture = Image.fromarray(_eight_bits(np.asarray(picture), preparation))
    return np.asarray(picture.convert("RGBA" if picture.has_transparency_data else "RGB"))


def decode_with_opencv(path: Path, preparation: Preparation) -> Pixels:
    """Decode a file to grey, RGB or RGBA, [H, W, C], as the page on deploying does."""
    import cv2

    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image.dtype == np.uint16:
        return _eight_bits(image, preparation)[..., None]
    if image.shape[2:] == (4,):
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA))
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1])


def _eight_bits(values: NDArray[np.generic], preparation: Preparation) -> Pixels:
    """Scale the whole numbers of a grey image with 16 bits."""
    low, high = (int(limit) for limit in preparation.range or (0, 65535))
    return ((values.astype(np.int64).clip(low, high) - low) * 256 // (high - low + 1)).astype(np.uint8)
