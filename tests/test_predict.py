import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from exports import one_variant
from PIL import Image

from aae_toolkit.backends.base import open_backend, runnables
from aae_toolkit.cli.app import run
from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.export.manifest import read_manifest
from aae_toolkit.predict import Prediction, predict

CLASS_NAMES = ["row_0", "row_1", "row_2"]
KEYS = {"path", "label", "class_name", "probability"}


@pytest.fixture(scope="session")
def images(data_dir: Path) -> np.ndarray:
    data = DataDirectory(data_dir)
    return np.concatenate([data.load(name).images for name in ("test", "validation", "train_unlabeled")])


@pytest.fixture(scope="session")
def png_files(images: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The splits' 210 images as PNG files: batches of 64, and a rest."""
    directory = tmp_path_factory.mktemp("png")
    paths = [directory / f"{index:03}.png" for index in np.random.default_rng(0).permutation(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image[0]).save(path)
    return paths


def printed_by(model: Path, paths: list[Path], capsys: pytest.CaptureFixture[str]) -> tuple[int, list[dict], str]:
    status = run(["predict", *map(str, paths), "--model", str(model), "--json"])
    printed = capsys.readouterr()
    return status, [json.loads(line) for line in printed.out.splitlines()], printed.err


def test_files_get_the_labels_that_the_trained_model_gives_in_their_order(
    export_dir: Path, images: np.ndarray, png_files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    eager = open_backend(export_dir, runnables(read_manifest(export_dir), "classifier")[0])
    expected = eager.run({"images": images})
    assert len(set(expected["label"].tolist())) > 1
    status, lines, error = printed_by(export_dir / "classifier.onnx", png_files, capsys)
    assert (status, error) == (0, "")
    assert all(line.keys() == KEYS for line in lines)
    assert [line["path"] for line in lines] == [str(path) for path in png_files]
    assert [line["label"] for line in lines] == expected["label"].tolist()
    assert [line["class_name"] for line in lines] == [CLASS_NAMES[label] for label in expected["label"]]
    of_label = expected["probabilities"][np.arange(len(images)), expected["label"]]
    np.testing.assert_allclose([line["probability"] for line in lines], of_label, atol=1e-4)


@one_variant
def test_files_that_cannot_be_read_are_said_and_the_others_labelled(
    export_dir: Path, png_files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "short.png").write_bytes(png_files[0].read_bytes()[:60])
    unreadable = [tmp_path / "text.png", tmp_path / "short.png", tmp_path / "absent.png", tmp_path]
    paths = [unreadable[0], png_files[0], *unreadable[1:3], *png_files[1:80], unreadable[3]]
    status, lines, error = printed_by(export_dir / "classifier.onnx", paths, capsys)
    assert (status, error) == (1, "aae: 4 of 84 images could not be read\n")
    assert [line["path"] for line in lines] == [str(path) for path in paths]
    assert [line.keys() == KEYS for line in lines] == [path not in unreadable for path in paths]
    assert all(line.keys() == {"path", "error"} for line in lines if "error" in line)
    alone = printed_by(export_dir / "classifier.onnx", png_files[:80], capsys)[1]
    assert [line["label"] for line in lines if "label" in line] == [line["label"] for line in alone]


@one_variant
def test_a_whole_batch_of_unreadable_files_is_no_obstacle(export_dir: Path, png_files: list[Path]) -> None:
    absent = [Path("absent.png")] * 64
    found = list(predict(export_dir / "classifier.onnx", [*absent, png_files[0]]))
    assert found[:64] == [Prediction("absent.png", error="no such file")] * 64
    assert found[64].class_name in CLASS_NAMES


@one_variant
def test_any_picture_is_converted_to_what_the_model_takes(export_dir: Path, images: np.ndarray, tmp_path: Path) -> None:
    grey, colour, large = (tmp_path / name for name in ("grey.png", "colour.png", "large.png"))
    picture = Image.fromarray(images[0, 0])
    picture.save(grey)
    picture.convert("RGB").save(colour)
    picture.resize((60, 60), Image.Resampling.NEAREST).save(large)
    first, second, third = predict(export_dir / "classifier.onnx", [grey, colour, large])
    assert (first.label, first.probability) == (second.label, pytest.approx(second.probability, abs=1e-6))
    assert third.label == first.label  # smoothed by the resizing, so less sure


@one_variant
def test_for_people_there_is_a_line_a_file(
    export_dir: Path, png_files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(png_files[0]), "absent.png"]
    assert run(["predict", *paths, "--model", str(export_dir / "classifier.onnx")]) == 1
    labelled, failed = capsys.readouterr().out.splitlines()
    assert labelled.startswith(f"{paths[0]}  row_")
    assert labelled.endswith("%")
    assert failed == "absent.png  could not be read: no such file"


@one_variant
@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("decoder.onnx", "decoder.onnx is not a classifier written by aae export"),
        ("encoder.onnx", "encoder.onnx is not a classifier written by aae export"),
        ("golden.npz", "is not a model that ONNX Runtime"),
        ("classifier.pt2", "is not a model that ONNX Runtime"),
        ("absent.onnx", "absent.onnx does not exist; write it with aae export"),
        (".", "does not exist; write it with aae export"),
    ],
)
def test_what_is_no_classifier_is_refused_in_one_line(
    export_dir: Path, png_files: list[Path], capsys: pytest.CaptureFixture[str], model: str, said: str
) -> None:
    status, lines, error = printed_by(export_dir / model, png_files[:1], capsys)
    assert (status, lines, error.count("\n")) == (1, [], 1)
    assert said in error


@one_variant
def test_predicting_imports_no_torch(export_dir: Path, png_files: list[Path]) -> None:
    code = """
import sys
from aae_toolkit.cli.app import run
status = run(sys.argv[1:])
assert not {"torch", "onnx", "sklearn", "scipy", "matplotlib"} & set(sys.modules)
sys.exit(status)
"""
    command = ["predict", str(png_files[0]), "--model", str(export_dir / "classifier.onnx"), "--json"]
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout).keys() == KEYS
