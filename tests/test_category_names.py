"""Names of categories: the command, and the names in what is exported and labelled afterwards."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builds import Builds
from conftest import tiny_config, tiny_source
from exports import one_variant
from PIL import Image
from refusals import refused

from aae_toolkit.cli.app import run
from aae_toolkit.data.directory import DataDirectory, write_data_directory
from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.files.lock import lock_directory
from aae_toolkit.models.category_names import named, parse_names, write_names
from aae_toolkit.models.description import ModelDescription, read_description
from aae_toolkit.predict import predict
from aae_toolkit.progress import Silent
from aae_toolkit.training.trainer import train
from aae_toolkit.visualization.pictures import DIRECTORY, MODES
from aae_toolkit.web.web_page import write_page

NAMES = ["große Katze=0,3", "dog = 2"]
CLASSES = ("category_1", "große Katze", "dog")  # first the names that stay


@pytest.fixture(scope="session")
def unnamed_dir(builds: Builds) -> Path:
    """A directory with the model, of four categories, of data without any label, and with the data."""

    def build(path: Path) -> None:
        source = tiny_source()
        unlabelled = dataclasses.replace(source, labels=np.full_like(source.labels, -1), class_names=())
        write_data_directory(path / "data", unlabelled, 0, 60, 60, seed=0)
        train(tiny_config("unsupervised", n_epochs=30), DataDirectory(path / "data"), path / "model", device="cpu")

    return builds.get("unnamed", build)


@pytest.fixture
def model(unnamed_dir: Path, tmp_path: Path) -> Path:
    """A copy of its model."""
    return Path(shutil.copytree(unnamed_dir / "model", tmp_path / "model"))


def command(model: Path, *names: str) -> int:
    return run(["name-categories", "--model", str(model), *names])


def fields(description: ModelDescription) -> tuple[tuple[str, ...], tuple[int, ...]]:
    return description.class_names, description.category_to_class


def test_the_names_reach_every_file_that_is_exported_and_every_label_that_it_gives(
    unnamed_dir: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = DataDirectory(unnamed_dir / "data")
    images = data.load("test").images
    assert command(model, *NAMES) == 0
    assert run(["export", "--model", str(model)]) == 0
    export = model / "export"
    assert run(["parity", "--export", str(export), "--data", str(data.path)]) == 0
    assert run(["verify", str(export)]) == 0
    files = [tmp_path / f"{i}.png" for i in range(len(images))]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image[0]).save(file)
    capsys.readouterr()
    assert run(["predict", "--model", str(export), "--json", *map(str, files)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    opened = ExportDirectory.open(export)
    with_category = opened.module("classifier")(_tensor(images))
    labels, probabilities, categories = (t.numpy() for t in with_category)
    assert {0, 3} & set(categories.tolist()), "no image to prove it on"
    expected = [("große Katze", "category_1", "dog", "große Katze")[k] for k in categories]
    assert [line["class_name"] for line in lines] == expected
    assert [line["label"] for line in lines] == labels.tolist() == [CLASSES.index(name) for name in expected]
    assert [line["probability"] for line in lines] == pytest.approx(probabilities.max(axis=1), abs=1e-5)
    assert {p.class_name for p in predict(export / "classifier.onnx", files)} == set(expected)
    write_page(opened, tmp_path / "page", {})
    assert json.loads((tmp_path / "page" / "model.json").read_text())["class_names"] == list(CLASSES)


def _tensor(images: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(images)


def test_the_command_lists_names_and_says_which_export_is_stale(
    unnamed_dir: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(model) == 0
    listed = capsys.readouterr().out
    assert [f"category_{k}" in listed for k in range(5)] == [True] * 4 + [False]
    assert "aae visualize" in listed
    assert fields(read_description(model)) == fields(read_description(unnamed_dir / "model"))
    assert run(["export", "--model", str(model), "--format", "torch-export"]) == 0
    capsys.readouterr()
    assert command(model, *NAMES) == 0
    said = capsys.readouterr().out
    assert "große Katze" in said
    assert f"{model / 'export'} still has the earlier names" in " ".join(said.split())
    assert run(["report", "--model", str(model), "--output", str(model / "r.html")]) == 1
    assert "is of another model: its classes are category_0" in capsys.readouterr().err  # until it is written again


def test_the_listing_points_to_the_picture_that_is_there(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = model / DIRECTORY / MODES
    picture.parent.mkdir()
    picture.touch()
    assert command(model) == 0
    assert f"{picture} shows images of each category" in capsys.readouterr().out


def test_later_names_replace_earlier_ones_and_what_is_not_mentioned_stays(model: Path) -> None:
    assert fields(write_names(model, parse_names(NAMES), Silent())) == (CLASSES, (1, 0, 2, 1))
    again = write_names(model, parse_names(["cat=3", "owl=1"]), Silent())
    assert fields(again) == (("große Katze", "dog", "owl", "cat"), (0, 2, 1, 3))
    last = write_names(model, parse_names(["dog=0,1", "category_2=2", "category_3=3"]), Silent())
    assert fields(last) == (("dog", "category_2", "category_3"), (0, 0, 1, 2))
    assert last.category_to_class_from.count("aae name-categories") == 1
    assert read_description(model) == last


def test_classes_of_labelled_data_stay_and_names_given_by_hand_go(data_dir: Path, tmp_path: Path) -> None:
    model = train(tiny_config("unsupervised", n_epochs=1), DataDirectory(data_dir), tmp_path / "model", device="cpu")
    model = tmp_path / "model"
    before = read_description(model)
    assert before.validation_accuracy is not None
    after = write_names(model, {0: "mistyped", 1: "row_2"}, Silent())
    assert after.class_names == ("row_0", "row_1", "row_2", "mistyped")
    assert (after.category_to_class[:2], after.validation_accuracy) == ((3, 2), None)
    assert after.category_to_class[2:] == before.category_to_class[2:]
    assert write_names(model, {0: "right"}, Silent()).class_names == ("row_0", "row_1", "row_2", "right")
    assert write_names(model, {0: "row_0"}, Silent()).class_names == ("row_0", "row_1", "row_2")
    assert run(["evaluate", "--model", str(model), "--data", str(data_dir)]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cat"], "'cat' names no category; write NAME=CATEGORY, such as cat=0,3"),
        (["=1"], "'=1' names no category"),
        ([" =1"], "' =1' names no category"),
        (["cat="], "'' is not the number of a category"),
        (["cat=0,,1"], "'' is not the number of a category"),
        (["cat=-1"], "'-1' is not the number"),
        (["cat=1.0"], "'1.0' is not the number"),
        (["cat=0-3"], "'0-3' is not the number"),
        (["cat=٣"], "is not the number"),
        ([f"cat={'9' * 5000}"], "is not the number"),
        (["cat=4"], "category 4 does not exist: the model has the categories 0 to 3"),
        (["cat=1,1"], "category 1 is named twice, 'cat' and 'cat'; name it once"),
        (["cat=0,1", "dog=1"], "category 1 is named twice, 'cat' and 'dog'; name it once"),
        (["nan=1"], "'nan' reads as a mark of images without a label"),
        (["category_3=2"], "category_3 stands for a category without a name; give category 2 another one"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_wrong_names_are_one_line_and_change_nothing(
    model: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (model / "model.json").read_bytes()
    assert command(model, "owl=0" if "0" not in "".join(words) else "owl=3", *words) == 2
    assert said in capsys.readouterr().err
    assert (model / "model.json").read_bytes() == before
    assert not list(model.glob(".aae-*"))


@pytest.mark.parametrize("pair", [("Dog", "dog"), ("big dog", "big_dog"), ("e\u0301", "\u00e9")])
def test_names_that_read_alike_are_refused(model: Path, pair: tuple[str, str]) -> None:
    with refused("which read alike"):
        write_names(model, dict(enumerate(pair)), Silent())


@pytest.mark.parametrize("name", ["\x1b[31mred", "a\nb", "\udcff"])
def test_unprintable_names_are_refused(model: Path, name: str) -> None:
    with refused("unprintable; rename it"):
        write_names(model, {0: name}, Silent())


@one_variant
def test_models_with_names_of_their_own_and_other_directories_are_refused(
    model_dir: Path, export_dir: Path, model: Path, tmp_path: Path
) -> None:
    with refused("learned its classes from labels"):
        write_names(model_dir, {0: "cat"}, Silent())
    with refused("is an export directory, which does not change"):
        write_names(export_dir, {0: "cat"}, Silent())
    with refused("does not exist"):
        write_names(tmp_path / "absent", {0: "cat"}, Silent())
    elsewhere = tmp_path / "elsewhere.json"
    (model / "model.json").rename(elsewhere)
    (model / "model.json").symlink_to(elsewhere)
    with refused("is a link that leads outside"):
        write_names(model, {0: "cat"}, Silent())


def test_a_model_that_is_being_trained_is_not_renamed(model: Path) -> None:
    before = (model / "model.json").read_bytes()
    with lock_directory(model), pytest.raises(AaeError, match="is being written by"):
        write_names(model, {0: "cat"}, Silent())
    assert (model / "model.json").read_bytes() == before


def test_names_hold_equals_signs_and_one_name_may_be_given_in_parts(model: Path) -> None:
    names = parse_names(["a=b=0", "owl= 1 ", "owl=2"])
    assert names == {0: "a=b", 1: "owl", 2: "owl"}
    assert named(read_description(model), names).class_names == ("category_3", "a=b", "owl")
    with pytest.raises(UsageError):
        named(read_description(model), {99: "cat"})
