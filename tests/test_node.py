"""examples/node/ beside Python, on the same images."""

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, needs_mnist
from exports import add_image_classifier, copy_with_only, one_variant
from numpy.typing import NDArray

from aae_toolkit.backends.onnxruntime_backend import OnnxRuntimeBackend
from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.data.preparation import Preparation
from aae_toolkit.data.sources import Source
from aae_toolkit.export.manifest import IMAGE_FILE
from aae_toolkit.parity.files import decode_with_pillow
from aae_toolkit.parity.pictures import write_pictures
from aae_toolkit.predict import predict
from aae_toolkit.web.runtime import INTEGRITY, PACKAGE, VERSION

EXAMPLE = REPOSITORY / "examples" / "node"
INSTALL_SECONDS = 300


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the example with its packages, 150 MB that are removed again."""
    if shutil.which("npm") is None:
        pytest.skip("no npm here: apt-get install nodejs npm")
    copy = tmp_path_factory.mktemp("node") / "example"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("node_modules"))
    done = subprocess.run(["npm", "ci"], cwd=copy, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS)
    if done.returncode != 0:
        pytest.skip(f"npm could not get {PACKAGE}: {done.stderr.strip().splitlines()[:1]}")
    yield copy
    shutil.rmtree(copy / "node_modules")


def label(example: Path, export: Path, images: Path) -> "subprocess.CompletedProcess[str]":
    command = ["node", "label.mjs", str(export), str(images)]
    return subprocess.run(command, cwd=example, capture_output=True, text=True, check=False, timeout=120)


@one_variant
def test_files_that_do_not_belong_together_are_refused(
    example: Path, export_dir: Path, data_dir: Path, tmp_path: Path
) -> None:
    export, images = copy_with_only(export_dir, tmp_path / "export"), DataDirectory(data_dir).load("test").images
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "fields.npy", images.view([("value", np.uint8)]))
    done = label(example, export, tmp_path / "fields.npy")
    assert (done.returncode, done.stdout) == (1, "")
    assert "fields.npy does not hold uint8 in C order" in done.stderr
    model = json.loads((export / "model.json").read_text())
    (export / "model.json").write_text(json.dumps(model | {"class_names": model["class_names"][::-1]}))
    done = label(example, export, tmp_path / "images.npy")
    assert (done.returncode, done.stdout) == (1, "")
    assert "model.json is not the file that manifest.json of" in done.stderr


def assert_agrees(example: Path, export: Path, images: NDArray[np.uint8], tmp_path: Path) -> NDArray[np.int64]:
    """Every label and probability of Node is Python's; returns the labels."""
    np.save(tmp_path / "images.npy", images)
    done = label(example, export, tmp_path / "images.npy")
    assert (done.returncode, done.stderr) == (0, "")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    expected = OnnxRuntimeBackend(export / "classifier.onnx").run({"images": images})
    names = json.loads((export / "model.json").read_text())["class_names"]
    labels: NDArray[np.int64] = expected["label"]
    assert [line["label"] for line in found] == labels.tolist()
    assert [line["class_name"] for line in found] == [names[index] for index in labels]
    assert [line["probability"] for line in found] == [line["probabilities"][line["label"]] for line in found]
    probabilities = np.array([line["probabilities"] for line in found])
    np.testing.assert_allclose(probabilities, expected["probabilities"], atol=1e-4, rtol=0)
    return labels


@pytest.mark.slow
@needs_mnist
def test_1000_real_test_images_get_the_labels_that_python_gives(
    example: Path, mnist_export: Path, mnist_test: Source, tmp_path: Path
) -> None:
    assert mnist_test.test_images is not None
    labels = assert_agrees(example, mnist_export, mnist_test.test_images, tmp_path)
    assert len(labels) == 1000
    assert (labels == mnist_test.test_labels).mean() > 0.9


@pytest.mark.slow
def test_both_variants_get_the_labels_that_python_gives(
    example: Path, export_dir: Path, data_dir: Path, tmp_path: Path
) -> None:
    images = np.concatenate([DataDirectory(data_dir).load(split).images for split in ("test", "train_unlabeled")])
    assert len(images) > 100  # more than a batch
    assert_agrees(example, export_dir, images, tmp_path)


WHOLE_IMAGES = """
import { readFile } from "node:fs/promises";
import ort from "onnxruntime-web";

ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(await readFile(process.argv[2]));
for (const dims of JSON.parse(process.argv[4])) {
  const name = `${process.argv[3]}/${dims.file}`;
  const image = new ort.Tensor("uint8", new Uint8Array(await readFile(name)), dims.shape);
  const { label, probabilities } = await session.run({ image });
  console.log(JSON.stringify({ label: Number(label.data[0]), probabilities: [...probabilities.data] }));
}
"""


@pytest.mark.slow
@one_variant
def test_decoded_images_of_every_kind_get_the_labels_of_predict(
    example: Path, export_dir: Path, data_dir: Path, tmp_path: Path
) -> None:
    preparation = Preparation(background=(30, 200, 90), range=(0, 65000), invert="auto", fit="pad")
    export = add_image_classifier(copy_with_only(export_dir, tmp_path / "export"), preparation)
    pictures = write_pictures(tmp_path, DataDirectory(data_dir).load("test").images)
    given = []
    for picture in pictures:
        image = decode_with_pillow(picture.path, preparation)
        (tmp_path / f"{picture.path.name}.raw").write_bytes(image.tobytes())
        given.append({"file": f"{picture.path.name}.raw", "shape": [1, *image.shape]})
    (example / "whole_images.mjs").write_text(WHOLE_IMAGES)
    command = ["node", "whole_images.mjs", str(export.path / IMAGE_FILE), str(tmp_path), json.dumps(given)]
    done = subprocess.run(command, cwd=example, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    expected = predict(export.path / "classifier.onnx", [picture.path for picture in pictures])
    for picture, one, wanted in zip(pictures, found, expected, strict=True):
        assert one["label"] == wanted.label, picture.kind
        assert one["probabilities"][one["label"]] == pytest.approx(wanted.probability, abs=0.02), picture.kind


@pytest.mark.slow
@one_variant
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (np.zeros((2, 1, 6, 5), np.uint8), "the model takes [N, 1,6,6]"),
        (np.zeros((2, 6, 6, 1), np.uint8), "the model takes [N, 1,6,6]"),
        (np.zeros((2, 36), np.uint8), "the model takes [N, 1,6,6]"),
        (np.zeros((1, 6, 6), np.uint8), "the model takes [N, 1,6,6]"),
        (np.zeros((2, 1, 6, 6), np.float32), "does not hold uint8"),
        (np.zeros((2, 1, 6, 6), np.int64), "does not hold uint8"),
        (np.zeros((2, 1, 6, 6), np.int8), "does not hold uint8"),
        (np.zeros((2, 1, 6, 6), bool), "does not hold uint8"),
        (np.zeros((6, 6, 1, 2), np.uint8).T, "does not hold uint8 in C order"),
        (None, "is not a .npy file"),
    ],
)
def test_what_cannot_be_labelled_is_one_line(
    example: Path, export_dir: Path, tmp_path: Path, content: NDArray[np.generic] | None, said: str
) -> None:
    images = tmp_path / "images.npy"
    images.write_text("text") if content is None else np.save(images, content)
    done = label(example, export_dir, images)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert said in done.stderr


@pytest.mark.slow
@one_variant
def test_pixels_of_0_and_1_are_a_warning_and_a_short_file_is_refused(
    example: Path, export_dir: Path, tmp_path: Path
) -> None:
    images = tmp_path / "images.npy"
    np.save(images, np.ones((2, 1, 6, 6), np.uint8))
    done = label(example, export_dir, images)
    assert (done.returncode, done.stdout.count("\n"), done.stderr.count("\n")) == (0, 2, 1)
    assert "holds no value above 1, and pixels are 0 to 255" in done.stderr
    images.write_bytes(images.read_bytes()[:-1])
    done = label(example, export_dir, images)
    assert (done.returncode, done.stdout) == (1, "")
    assert "is damaged: 71 of 72 bytes" in done.stderr


@pytest.mark.slow
@one_variant
@pytest.mark.parametrize(("usual", "warned"), [(10, True), (100, False), (250, False), (None, False)])
def test_opposite_borders_are_a_warning(
    example: Path, export_dir: Path, tmp_path: Path, usual: int | None, warned: bool
) -> None:
    export = shutil.copytree(export_dir, tmp_path / "export")
    model = json.loads((export / "model.json").read_text()) | {"border_brightness": usual}
    (export / "model.json").write_text(json.dumps(model))
    manifest = json.loads((export / "manifest.json").read_text())
    manifest["sha256"]["model.json"] = hashlib.sha256((export / "model.json").read_bytes()).hexdigest()
    (export / "manifest.json").write_text(json.dumps(manifest))
    images = np.full((2, 1, 6, 6), 220, np.uint8)
    images[..., 1:-1, 1:-1] = 0
    np.save(tmp_path / "images.npy", images)
    done = label(example, export, tmp_path / "images.npy")
    assert (done.returncode, done.stdout.count("\n"), done.stderr.count("\n")) == (0, 2, int(warned))
    assert ("npy are light, those of the training images are dark" in done.stderr) == warned


CHECKED = """
import { checkPixels } from %s;
const shape = [1, 6, 6];
const given = [new Uint8Array(36).fill(200), new Uint8Array(36).fill(1), new Uint8Array(35), new Float32Array(36),
  new Uint8ClampedArray(36), new Array(36).fill(0), null];
for (const pixels of given) {
  try { console.log(checkPixels(pixels, shape) || "right"); } catch (error) { console.log(error.message); }
}
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="no node here")
def test_arrays_that_the_page_is_given_are_refused_or_doubted(tmp_path: Path) -> None:
    module = tmp_path / "pixels.mjs"
    shutil.copy(REPOSITORY / "aae_toolkit" / "web" / "static" / "pixels.js", module)
    code = CHECKED % json.dumps(str(module))
    done = subprocess.run(["node", "--input-type=module", "-e", code], capture_output=True, text=True, check=True)
    expected = "expected a Uint8Array of 1 x 6 x 6 = 36"
    assert done.stdout.splitlines() == [
        "right",
        "no pixel is above 1 of 255: is this black or scaled to 0-1?",
        f"pixels are Uint8Array of length 35; {expected}",
        f"pixels are Float32Array of length 36; {expected}",
        f"pixels are Uint8ClampedArray of length 36; {expected}",
        f"pixels are Array of length 36; {expected}",
        f"pixels are null of length undefined; {expected}",
    ]


def test_the_example_is_pinned_to_what_pages_are_pinned_to_and_names_no_registry() -> None:
    text = (EXAMPLE / "package-lock.json").read_text()
    assert not re.search(r"https?://", text)
    packages = json.loads(text)["packages"]
    assert packages[f"node_modules/{PACKAGE}"].items() >= {"version": VERSION, "integrity": INTEGRITY}.items()
    assert all("integrity" in package for name, package in packages.items() if name)
    assert json.loads((EXAMPLE / "package.json").read_text())["dependencies"] == {PACKAGE: VERSION}
