"""A directory or file of another kind than the one that is wanted: what was found is said, and what would work."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from exports import one_variant
from PIL import Image
from refusals import refused
from test_sources import write_idx

from aae_toolkit.cli.app import run
from aae_toolkit.data.kinds import entries, near, require_kind, what_is
from aae_toolkit.data.sources import load_source
from aae_toolkit.errors import AaeError
from aae_toolkit.predict.classifier_file import find_classifier
from aae_toolkit.progress import Silent

# What is given, by the name of its directory, with what is said of it.
GIVEN = {
    "data": "data is a data directory",
    "model": "model is a model directory",
    "export": "export is an export directory",
    "photos": "photos is a folder of image files",
    "flat": "flat is a folder of image files",
    "idx": "idx is a directory of IDX files",
    "stopped": "stopped is the directory of a training that has no model yet",
    "empty": "empty holds no ",
    "absent": "absent does not exist",
    "note.txt": "note.txt is a file, not a directory",
}
KINDS = {"data": "a data directory", "model": "a model directory", "export": "an export directory"}

# Each command, with {} for what is given; the kind that it wants; and its status where it is given another.
COMMANDS = {
    "evaluate --model {} --data ROOT/data": "model",
    "evaluate --model ROOT/model --data {}": "data",
    "visualize --model {} --data ROOT/data": "model",
    "visualize --model ROOT/model --data {}": "data",
    "export --model {} --output NEW": "model",
    "export --model ROOT/model --output NEW --int8 --data {}": "data",
    "parity --export {} --data ROOT/data": "export",
    "parity --export ROOT/export --data {}": "data",
    "bench --export {}": "export",
    "verify {}": "export",
    "web {} NEW": "export",
    "report --model {} --output NEW.html": "model",
    "report --model ROOT/model --export {} --output NEW.html": "export",
    "report --model ROOT/model --data {} --output NEW.html": "data",
    "predict --model {} ROOT/flat/0.png": "export",
    "train semi-supervised --data {} --output NEW": "data",
    "train unsupervised --data {} --output NEW": "data",
    "tune semi-supervised --data {} --output NEW": "data",
}
ADVICE = {
    ("data", "photos"): "aae init-datasets --data NEW --source folder --raw-dir {}",
    ("data", "flat"): "aae init-datasets --data NEW --source folder --raw-dir {}",
    ("data", "idx"): "aae init-datasets --data NEW --raw-dir {}",
    ("data", "model"): "pass the directory that aae init-datasets wrote",
    ("data", "export"): "pass the directory that aae init-datasets wrote",
    ("data", "stopped"): "pass the directory that aae init-datasets wrote",
    ("data", "note.txt"): "pass the directory that aae init-datasets wrote",
    ("model", "data"): "train a model on it with: aae train semi-supervised|unsupervised --data {}",
    ("model", "export"): "pass the model directory that it was exported from",
    ("model", "stopped"): "train on with: aae train --resume",
    ("model", "photos"): "aae init-datasets --data NEW --source folder --raw-dir {}, and train on it",
    ("model", "flat"): "aae init-datasets --data NEW --source folder --raw-dir {}, and train on it",
    ("model", "idx"): "aae init-datasets --data NEW --raw-dir {}, and train on it",
    ("export", "model"): "write one with: aae export --model {}",
}
OTHERWISE = {
    "data": "write one with: aae init-datasets --data {}",
    "model": "train one with: aae train semi-supervised|unsupervised",
    "export": "write one with: aae export --model <model>",
}


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(crc32(str(path).encode()))
    Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8)).save(path)


@pytest.fixture
def root(data_dir: Path, model_dir: Path, export_dir: Path, tmp_path: Path) -> Path:
    """A directory with one of each kind, none of which lies in another."""
    root = tmp_path / "root" / "deep" / "deeper"
    shutil.copytree(data_dir, root / "data")
    shutil.copytree(model_dir, root / "model")
    shutil.copytree(export_dir, root / "export")
    for name in ("photos/cat/0.png", "photos/dog/1.png", "flat/0.png", "flat/1.png"):
        picture(root / name)
    for name in ("idx/train-images-idx3-ubyte", "stopped/checkpoint.pt", "note.txt"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"")
    (root / "empty").mkdir()
    return root


@one_variant
def test_every_command_says_what_it_was_given_and_what_would_work(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command, wanted in COMMANDS.items():
        for name, said in GIVEN.items():
            if name == wanted:
                continue
            given, new = root / name, tmp_path / "new"
            line = command.replace("ROOT", str(root)).replace("NEW", str(new)).format(given)
            assert run(line.split()) == 1, line
            printed = capsys.readouterr()
            error = printed.err
            if command.startswith("predict") and name == "note.txt":
                assert "cannot load" in error or "can load" in error
                continue
            assert error.count("\n") == 1, error
            assert str(root / said) in error, (line, error)
            advice = ADVICE.get((wanted, name), OTHERWISE[wanted]).format(given)
            assert advice in error, (line, error)
            if name in KINDS:
                assert f", not {KINDS[wanted]}; " in error
            assert not new.exists(), line
            assert not new.with_suffix(".html").exists(), line


def test_a_directory_of_the_wanted_kind_close_by_is_named(tmp_path: Path) -> None:
    for name in ("data/dataset.json", "data/semi_supervised/model.json", "data/semi_supervised/export/manifest.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    data = tmp_path / "data"
    model, export = data / "semi_supervised", data / "semi_supervised" / "export"
    (export / "model.json").write_text("{}")
    for given, kind, expected in (
        (data, "model directory", model),
        (model, "export directory", export),
        (data, "export directory", export),
        (export, "model directory", model),
        (export / "model.json", "export directory", export),
        (model, "data directory", data),
        (export, "data directory", data),
        (tmp_path / "dta", "data directory", data),
        (data / "semi-supervised", "model directory", model),
    ):
        assert near(given, kind) == [expected]  # type: ignore[arg-type]
        with refused(f"; pass {expected}"):
            require_kind(given, kind)  # type: ignore[arg-type]


def test_an_index_that_is_a_link_to_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "secret").write_text("{}")
    (tmp_path / "a" / "dataset.json").symlink_to(tmp_path / "secret")
    with refused("is a link that leads outside of its directory"):
        require_kind(tmp_path / "a", "data directory")


def test_a_directory_that_may_not_be_read_is_of_no_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert entries(tmp_path) == []
    assert what_is(tmp_path) == "an empty directory"


# --- the model of aae predict


@one_variant
def test_a_model_directory_stands_for_its_export(model_dir: Path, export_dir: Path, tmp_path: Path) -> None:
    model = shutil.copytree(model_dir, tmp_path / "model")
    with refused(f"write one with: aae export --model {model}"):
        find_classifier(model)
    shutil.copytree(export_dir, model / "export")
    assert find_classifier(model) == model / "export" / "classifier.onnx"
    (model / "model.json").write_text((model / "model.json").read_text().replace("row_0", "row_9"))
    with refused("is not of the model as it is now; write it again", f"aae export --model {model}"):
        find_classifier(model)
    (model / "export" / "classifier.onnx").unlink()
    with refused(f"holds no classifier.onnx; write it with: aae export --model {model}"):
        find_classifier(model)
    with refused("holds no classifier.onnx; aae export writes it with --format onnx"):
        find_classifier(model / "export")


@one_variant
@pytest.mark.parametrize("name", ["model.json", "classifier.pt2", "weights.safetensors", "golden.npz"])
def test_another_file_of_an_export_stands_for_none(name: str, export_dir: Path) -> None:
    (export_dir / name).exists()
    with refused("is no ONNX file, which aae predict runs; pass", export_dir):
        find_classifier(export_dir / name)


def test_a_picture_is_no_model(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    with refused("is no ONNX file", "give classifier.onnx, or the directory that aae export wrote"):
        find_classifier(tmp_path / "a.png")
    assert find_classifier(tmp_path / "absent.onnx") == tmp_path / "absent.onnx"


# --- sources


def raw_mnist(directory: Path) -> None:
    write_idx(directory, compress=False)


@pytest.mark.parametrize("below", [".", "raw", "files/raw"])
def test_the_directory_of_idx_files_itself_is_taken(tmp_path: Path, below: str) -> None:
    raw_mnist(tmp_path / below)
    assert len(load_source("mnist", tmp_path, tmp_path / "unused", (1, 8, 8)).images)


def test_idx_files_of_another_data_set_are_not_taken_by_mistake(tmp_path: Path) -> None:
    raw_mnist(tmp_path / "MNIST" / "raw")
    for raw_dir in (tmp_path, tmp_path / "MNIST", tmp_path / "MNIST" / "raw"):
        with refused("holds the files of mnist, by its name; give --source mnist, or files of fashion-mnist"):
            load_source("fashion-mnist", raw_dir, tmp_path / "unused", (1, 8, 8))
        assert len(load_source("mnist", raw_dir, tmp_path / "unused", (1, 8, 8)).images)


@one_variant
@pytest.mark.parametrize(
    ("source", "name", "said"),
    [
        ("mnist", "photos", "photos is a folder of image files, which needs --source folder"),
        ("mnist", "data", "data is a data directory, ready for: aae train semi-supervised|unsupervised --data"),
        ("mnist", "model", "model is a model directory; leave out --raw-dir to download them, or give --source digits"),
        ("mnist", "absent", "absent is absent; leave out --raw-dir"),
        ("mnist", "empty", "empty is an empty directory; leave out --raw-dir"),
        ("folder", "data", "data is a data directory, ready for: aae train semi-supervised|unsupervised --data"),
        ("folder", "model", "model is a model directory, not a folder of images; give the folder of the images"),
        ("folder", "export", "export is an export directory, not a folder of images"),
        ("folder", "stopped", "stopped is the directory of a training that has no model yet, not a folder of images"),
        (
            "folder",
            "idx",
            "idx is a directory of IDX files, not a folder of images; give --source mnist",
        ),
        ("folder", "absent", "absent is not a directory but absent; expected one sub-directory of images per class"),
        ("folder", "note.txt", "note.txt is not a directory but a file; unpack it if it is an archive"),
        ("folder", "empty", "empty holds no images; expected <class>/*.png or *.jpg"),
        ("folder", "flat", "flat holds images but no class folders, so their classes are unknown; if flat is a class"),
        ("folder", "flat", "_unlabeled && mv "),
    ],
)
def test_a_wrong_raw_dir_is_named(
    source: str, name: str, said: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new"
    given = ["init-datasets", "--data", str(new), "--source", source, "--raw-dir", str(root / name)]
    assert run(given) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error
    assert not (new / "dataset.json").exists()


def test_the_line_for_a_flat_folder_works(tmp_path: Path) -> None:
    for i in range(8):
        picture(tmp_path / "flat" / f"{i}.png")
    with pytest.raises(AaeError) as caught:
        load_source("folder", tmp_path / "flat", tmp_path, (1, 6, 6))
    command = str(caught.value).partition("move them: ")[2]
    subprocess.run(command, shell=True, check=True)
    assert load_source("folder", tmp_path / "flat", tmp_path, (1, 6, 6)).class_names == ()


def test_a_folder_of_images_may_hold_files_with_our_names(tmp_path: Path) -> None:
    for name in ("photos/cat/0.png", "photos/dog/11.png"):
        picture(tmp_path / name)
    for name in ("manifest.json", "model.json", "dataset.json"):
        (tmp_path / "photos" / name).write_text("{}")
    assert load_source("folder", tmp_path / "photos", tmp_path, (1, 6, 6)).class_names == ("cat", "dog")


@pytest.mark.parametrize(("name", "said"), [("masks", True), ("cat_masks", True), ("dogs", False)])
def test_masks_beside_images_are_named(tmp_path: Path, name: str, said: bool) -> None:
    for path in ("photos/images/0.png", f"photos/{name}/11.png"):
        picture(tmp_path / path)
    lines: list[str] = []
    progress = Silent()
    progress.say = lines.append  # type: ignore[method-assign]
    load_source("folder", tmp_path / "photos", tmp_path, (1, 6, 6), progress=progress)
    line = f"{tmp_path}/photos/{name}/ is taken for a class '{name}' beside images; if it holds masks of their images"
    assert any(text.startswith(line) for text in lines) == said
