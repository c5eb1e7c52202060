"""Preparation of image files from init-datasets to each place where a model runs."""

from __future__ import annotations

import io
import json
import shutil
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx  # noqa: TID253  (the rule keeps the package quick to import)
import pytest
import torch
from builds import Builds
from conftest import REPOSITORY
from drawn_files import png16, tiff
from PIL import Image
from torch import Tensor, nn

from aae_toolkit import __version__, load_classifier
from aae_toolkit.cli.app import run
from aae_toolkit.data.borders import border_brightness
from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.data.preparation import Preparation
from aae_toolkit.export import metadata as metadata_module
from aae_toolkit.export.contract import Format, contract_of
from aae_toolkit.export.formats import write_artifact
from aae_toolkit.export.metadata import contradiction, metadata_of, preparation_in
from aae_toolkit.models.description import Architecture, ArrayFacts, ModelDescription
from aae_toolkit.predict import predict
from aae_toolkit.predict.classifier_file import ClassifierFile
from aae_toolkit.predict.shards import plan_shards
from aae_toolkit.progress import Silent

CLASSES = ("bar", "pole", "box")
SIDE = 8


def picture(label: int, seed: int) -> np.ndarray:
    """A dark shape on light ground, [24, 24] in 0-255."""
    rng = np.random.default_rng(100 * label + seed)
    image = 235 + rng.integers(-10, 10, (24, 24))
    at = rng.integers(-2, 3)
    rows, columns = (
        ((10 + at, 14 + at), (2, 22)),
        ((2, 22), (10 + at, 14 + at)),
        ((6 + at, 18 + at), (6, 18)),
    )[label]
    image[slice(*rows), slice(*columns)] = 30
    return image


def write(root: Path, kind: str, seeds: range) -> Path:
    """Files of each class: `plain`, 8 bits; `deep`, 12 of 16 bits; `light`, inverted; `wide`, three times as wide."""
    for label, name in enumerate(CLASSES):
        folder = root / name
        folder.mkdir(parents=True)
        for seed in seeds:
            image = picture(label, seed)
            if kind == "deep":
                png16(folder / f"{seed}.png", image * 16)
                continue
            if kind == "light":
                image = 255 - image
            if kind == "wide":
                image = np.pad(image, ((0, 0), (24, 24)), constant_values=235)
            Image.fromarray(image.astype(np.uint8)).save(folder / f"{seed}.png")
    return root


class Centroids(nn.Module):
    """Classifier by the nearest mean image, with the outputs of an exported one."""

    means: Tensor

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        super().__init__()
        means = np.stack([images[labels == label].mean(axis=0).ravel() for label in range(len(CLASSES))])
        self.register_buffer("means", torch.from_numpy(means.astype(np.float32)))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        distances = ((images.float().flatten(1)[:, None] - self.means) ** 2).mean(dim=2)
        label = distances.argmin(dim=1)
        return label, (-distances / 100).softmax(dim=1), label


def described(data: DataDirectory) -> ModelDescription:
    architecture = Architecture(
        encoder="mlp",
        hidden_size=8,
        conv_channels=(8,),
        encoder_dropout=0,
        image_shape=data.image_shape,
        n_classes=3,
        z_size=2,
    )
    return ModelDescription(
        toolkit_version=__version__,
        variant="semi_supervised",
        architecture=architecture,
        class_names=data.class_names,
        category_to_class=(0, 1, 2),
        category_to_class_from="by hand",
        border_brightness=border_brightness(data.load("validation").images),
        preparation=data.preparation,
    )


def build(path: Path, kind: str, *flags: str) -> None:
    """Write a data directory by the command, and `classifier.onnx` of its images."""
    raw, size = write(path / "raw", kind, range(12)), str(SIDE)
    command = ["init-datasets", "--source", "folder", "--data", path / "data", "--raw-dir", raw]
    assert run([*map(str, command), "--image-size", size, *flags]) == 0
    data = DataDirectory(path / "data")
    split, description = data.load("train_labeled"), described(data)
    contract = contract_of("classifier", description)
    facts = metadata_of("classifier", contract, description, "0" * 64)
    write_artifact(Format.ONNX, Centroids(split.images, split.labels).eval(), contract, path / "classifier.onnx", facts)


CASES = {
    "inverted": ("plain", "--invert", "yes"),
    "auto": ("light", "--invert", "auto"),
    "deep": ("deep", "--invert", "yes"),
    "padded": ("wide", "--fit", "pad", "--background", "#ebebeb"),
    "plain": ("plain",),
}


@pytest.fixture(scope="module")
def models(builds: Builds) -> Any:
    """A function that returns the directory of a case, with `data/` and `classifier.onnx`."""
    return lambda name: builds.get(f"prepared-{name}", lambda path: build(path, *CASES[name]))


def right(lines: list[dict[str, Any]]) -> float:
    return float(np.mean([line["class_name"] == Path(line["path"]).parent.name for line in lines]))


def printed_by(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[list[dict[str, Any]], str]:
    capsys.readouterr()
    assert run(["predict", "--json", *map(str, arguments)]) == 0
    printed = capsys.readouterr()
    return [json.loads(line) for line in printed.out.splitlines()], printed.err


@pytest.mark.parametrize(
    ("case", "kind", "n_inverted"),
    [
        ("inverted", "plain", 60),
        ("auto", "plain", 60),
        ("auto", "light", 0),
        ("deep", "deep", 60),
        ("padded", "wide", 0),
    ],
)
def test_pictures_are_labelled_as_they_were_prepared_for_training(
    models: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str, kind: str, n_inverted: int
) -> None:
    model = models(case) / "classifier.onnx"
    folder = write(tmp_path / "more", kind, range(100, 120))
    lines, error = printed_by(capsys, "--model", model, folder)
    assert (len(lines), right(lines)) == (60, 1.0)
    assert error == (f"{n_inverted} of 60 images: inverted\n" if n_inverted else "")
    listed = "\n".join(map(str, sorted(folder.rglob("*.png"))))
    python = [prediction.to_json() for prediction in predict(model, map(Path, listed.splitlines()))]
    assert sorted(map(str, python)) == sorted(map(str, lines))


def imported_server() -> ModuleType:
    sys.path.insert(0, str(REPOSITORY / "examples" / "python_server"))
    import server

    sys.path.pop(0)
    return server


def served(server: ModuleType, model: Path, **settings: Any) -> Any:
    """A client of the service."""
    from starlette.testclient import TestClient

    return TestClient(server.create_app(server.Settings(model=model, **settings)))


@pytest.mark.parametrize(("case", "kind"), [("inverted", "plain"), ("deep", "deep"), ("padded", "wide")])
def test_the_server_prepares_pictures_so_too(models: Any, tmp_path: Path, case: str, kind: str) -> None:
    pytest.importorskip("starlette", reason="the example's own dependency, in the dev extra, is not installed")
    server = imported_server()
    files = sorted(write(tmp_path / "more", kind, range(100, 103)).rglob("*.png"))
    with served(server, models(case) / "classifier.onnx") as client:
        sent = [("file", (path.name, path.read_bytes())) for path in files]
        rows = client.post("/predict", files=sent).json()["predictions"]
        assert [row["class_name"] for row in rows] == [path.parent.name for path in files]
        assert all(row.get("notes", []) == (["inverted"] if case != "padded" else []) for row in rows)
        assert client.get("/").json()["preparation"]["fit"] == ("pad" if case == "padded" else "squash")


def test_the_server_notes_opposite_borders_and_takes_another_inversion(models: Any, tmp_path: Path) -> None:
    pytest.importorskip("starlette", reason="the example's own dependency, in the dev extra, is not installed")
    server = imported_server()
    files = sorted(write(tmp_path / "more", "light", range(100, 103)).rglob("*.png"))
    sent = [("file", (path.name, path.read_bytes())) for path in files]
    for invert, noted in (("as-trained", "its border is dark"), ("auto", "inverted")):
        with served(server, models("plain") / "classifier.onnx", invert=invert) as client:
            rows = client.post("/predict", files=sent).json()["predictions"]
        assert all(row["notes"][0].startswith(noted) for row in rows)
    assert [row["class_name"] for row in rows] == [path.parent.name for path in files]


def arrays(kind: str) -> tuple[np.ndarray, list[str]]:
    """Pictures of the model's size, uint8 [N, 1, SIDE, SIDE], and the names of their classes."""
    pictures = [(name, picture(label, seed)) for label, name in enumerate(CLASSES) for seed in range(200, 210)]
    planes = [255 - image if kind == "light" else image for _, image in pictures]
    small = [np.asarray(Image.fromarray(i.astype(np.uint8)).resize((SIDE, SIDE)), np.uint8) for i in planes]
    return np.stack(small)[:, None], [name for name, _ in pictures]


@pytest.mark.parametrize(("case", "kind", "own"), [("inverted", "plain", "light"), ("plain", "light", "dark")])
def test_arrays_with_opposite_borders_are_a_warning_in_python(models: Any, case: str, kind: str, own: str) -> None:
    images, names = arrays(kind)
    classifier = load_classifier(models(case) / "classifier.onnx")
    with pytest.warns(UserWarning, match=f"the borders of 30 of 30 images are {own}, those of") as caught:
        labels = classifier.predict(images)
    assert (labels == names).mean() < 0.7
    assert [Path(one.filename).name for one in caught] == [Path(__file__).name]  # the line that called
    with pytest.warns(UserWarning, match=f"the borders of 1 of 30 images are {own}"):
        classifier.predict(np.concatenate([images[:1], 255 - images[1:]]).reshape(30, -1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (classifier.predict(255 - images) == names).all()


@pytest.mark.parametrize(("case", "kind", "own"), [("inverted", "plain", "light"), ("plain", "light", "dark")])
def test_lists_with_opposite_borders_are_noted_by_the_server(models: Any, case: str, kind: str, own: str) -> None:
    pytest.importorskip("starlette", reason="the example's own dependency, in the dev extra, is not installed")
    images = arrays(kind)[0][:2]
    with served(imported_server(), models(case) / "classifier.onnx") as client:
        rows = client.post("/predict", json={"images": [images[0].tolist(), (255 - images[1]).tolist()]}).json()
    assert rows["predictions"][0]["notes"][0].startswith(f"its border is {own}, those of the training images are")
    assert "notes" not in rows["predictions"][1]


def test_npz_files_with_opposite_borders_are_a_line(models: Any, tmp_path: Path) -> None:
    with ClassifierFile(models("plain") / "classifier.onnx") as classifier:
        shape, border = classifier.image_shape, classifier.border_brightness
    lines: list[str] = []
    progress = Silent()
    progress.say = lines.append  # type: ignore[method-assign]
    for kind in ("plain", "light"):
        np.savez(tmp_path / f"{kind}.npz", images=arrays(kind)[0])
    files = [tmp_path / "plain.npz", tmp_path / "light.npz"]
    plan_shards(files, shape, shard_size=100, column="image", border=border, progress=progress)
    said = "of its first images, the borders of 30 of 30 images are dark, those of the training images are light"
    assert lines == [f"{files[1]}: {said}"]


def test_an_opposite_border_is_noted_once_for_all(
    models: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = models("plain") / "classifier.onnx"
    folder = write(tmp_path / "more", "light", range(100, 120))
    lines, error = printed_by(capsys, "--model", model, folder)
    assert right(lines) < 0.7
    [note] = {note for line in lines for note in line["notes"]}
    assert note.startswith("its border is dark, those of the training images are light; inversion auto")
    assert error == f"60 of 60 images: {note}\n"
    lines, error = printed_by(capsys, "--model", model, folder, "--invert", "auto")
    assert (right(lines), error) == (1.0, "60 of 60 images: inverted\n")
    [first, *_] = sorted(folder.rglob("*.png"))
    assert run(["predict", "--model", str(model), str(first)]) == 0
    printed = capsys.readouterr()
    assert (printed.out.count(note), printed.err) == (1, "")


def test_a_given_inversion_overrides_that_of_training(
    models: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = models("inverted") / "classifier.onnx"
    folder = write(tmp_path / "more", "light", range(100, 104))
    for invert, share in (("no", 1.0), ("auto", 1.0)):
        assert right(printed_by(capsys, "--model", model, folder, "--invert", invert)[0]) == share
    lines, error = printed_by(capsys, "--model", model, folder)
    assert right(lines) < 0.7
    assert "12 of 12 images: its border is light, those of the training images are dark" in error


def test_12_bits_for_a_model_of_8_are_noted(models: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path / "more", "deep", range(100, 102))
    _, error = printed_by(capsys, "--model", models("plain") / "classifier.onnx", folder)
    assert "6 of 6 images: uses at most a quarter of the range 0-65535" in error
    tiff(tmp_path / "wide.tif", np.full((24, 24), 9, np.uint32))
    arguments = ["predict", "--json", "--model", models("plain") / "classifier.onnx", tmp_path / "wide.tif"]
    assert run([*map(str, arguments)]) == 1
    assert "32-bit numbers, whose range is unknown; aae init-datasets takes it with --range" in capsys.readouterr().out


def test_the_range_is_stored_where_the_model_goes(models: Any) -> None:
    path = models("deep")
    expected = Preparation(range=(0, 4095), invert="yes")
    assert DataDirectory(path / "data").preparation == expected
    carried = {p.key: p.value for p in onnx.load(path / "classifier.onnx").metadata_props}
    assert json.loads(carried["aae.preparation"]) == json.loads(expected.to_json())
    description = described(DataDirectory(path / "data"))
    assert ModelDescription.model_validate_json(description.model_dump_json()).preparation == expected


@pytest.mark.parametrize("stored", [None, "null"])
def test_a_file_that_does_not_say_is_read_as_before(stored: str | None) -> None:
    facts = {} if stored is None else {metadata_module.PREPARATION: stored}
    assert preparation_in(facts, "classifier.onnx") == Preparation()


def test_a_file_that_says_what_this_version_does_not_know_is_refused(
    models: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load(models("plain") / "classifier.onnx")
    onnx.helper.set_model_props(
        model, {p.key: p.value for p in model.metadata_props} | {"aae.preparation": '{"new": 1}'}
    )
    onnx.save(model, tmp_path / "classifier.onnx")
    Image.new("L", (9, 9)).save(tmp_path / "a.png")
    assert run(["predict", "--model", str(tmp_path / "classifier.onnx"), str(tmp_path / "a.png")]) == 1
    assert "classifier.onnx does not say how to prepare images" in capsys.readouterr().err


def test_another_preparation_in_a_file_contradicts_the_model(models: Any) -> None:
    description = described(DataDirectory(models("deep") / "data"))
    contract = contract_of("classifier", description)
    facts = metadata_of("classifier", contract, description, "")
    assert contradiction(facts, "classifier", contract, description) is None
    for changed in (Preparation().to_json(), "null", None):
        other = {key: value for key, value in (facts | {"aae.preparation": changed}).items() if value is not None}
        said = contradiction(other, "classifier", contract, description)
        assert said is not None
        assert "aae.preparation" in said
    older = description.model_copy(update={"preparation": None})
    del facts["aae.preparation"]
    assert contradiction(facts, "classifier", contract, older) is None


ARRAYS = {"scaling": {"offset": [0.0], "span": [1.0]}, "classes": ["x", "y"], "dtype": "<U1", "features": []}


@pytest.mark.parametrize(
    ("own", "of_file", "agree"),
    [
        (None, json.dumps(ARRAYS), False),
        (ARRAYS, None, False),
        (ARRAYS, json.dumps(ARRAYS), True),
        (ARRAYS | {"dtype": None}, json.dumps({key: ARRAYS[key] for key in ("scaling", "classes")}), True),
        (ARRAYS, json.dumps(ARRAYS | {"classes": ["y", "x"]}), False),
        (ARRAYS, json.dumps(ARRAYS | {"scaling": {"offset": [0.0], "span": [255.0]}}), False),
        (ARRAYS, "damaged", False),
    ],
)
def test_other_labels_or_scales_of_arrays_in_a_file_contradict_the_model(
    own: dict[str, Any] | None, of_file: str | None, agree: bool, models: Any
) -> None:
    arrays = None if own is None else ArrayFacts.model_validate(own)
    description = described(DataDirectory(models("deep") / "data")).model_copy(update={"arrays": arrays})
    contract = contract_of("classifier", description)
    facts = metadata_of("classifier", contract, description, "") | {"aae.arrays": of_file or "null"}
    said = contradiction(facts, "classifier", contract, description)
    assert (said is None) == agree
    assert agree or "aae.arrays" in str(said)


def test_another_border_brightness_in_a_file_contradicts_the_model(models: Any) -> None:
    description = described(DataDirectory(models("deep") / "data")).model_copy(update={"border_brightness": 12.3})
    contract = contract_of("classifier", description)
    facts = metadata_of("classifier", contract, description, "")
    assert contradiction(facts, "classifier", contract, description) is None
    said = contradiction(facts | {"aae.border_brightness": "250"}, "classifier", contract, description)
    assert said == "its metadata say aae.border_brightness is 250, the model's is 12.3"
    assert contradiction(facts | {"aae.border_brightness": "null"}, "classifier", contract, description) is None


def test_data_that_were_prepared_otherwise_are_noted(
    models: Any, model_dir: Path, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    description = described(DataDirectory(models("deep") / "data"))
    assert description.preparation_note(DataDirectory(models("deep") / "data")) is None
    said = description.preparation_note(DataDirectory(models("plain") / "data"))
    assert said is not None
    assert said.endswith("otherwise than the model's: range None instead of (0, 4095), invert no instead of yes")
    other = shutil.copytree(data_dir, tmp_path / "data")
    index = json.loads((other / "dataset.json").read_text())
    index["preparation"]["fit"] = "crop"
    (other / "dataset.json").write_text(json.dumps(index))
    for data, noted in ((data_dir, False), (other, True)):
        assert run(["evaluate", "--json", "--model", str(model_dir), "--data", str(data)]) == 0
        assert ("fit crop instead of squash" in capsys.readouterr().err) == noted


@pytest.mark.parametrize("source", ["mnist", "digits"])
@pytest.mark.parametrize("flags", ["--fit pad", "--range full", "--background black", "--invert yes"])
def test_what_is_for_folders_is_refused_for_other_sources(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, flags: str
) -> None:
    assert run(["init-datasets", "--source", source, "--data", str(tmp_path / "data"), *flags.split()]) == 2
    assert f"{flags.split()[0]} is for --source folder only" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags", ["--range 5", "--range 5,5", "--range 9,1", "--range a,b", "--range 0,inf", "--background grey"]
)
def test_values_that_mean_nothing_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: str) -> None:
    command = ["init-datasets", "--source", "folder", "--data", str(tmp_path / "d"), "--raw-dir", str(tmp_path)]
    assert run([*command, *flags.split()]) == 2
    assert flags.split()[0] in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


def test_other_sources_are_not_inverted_or_fitted(tmp_path: Path) -> None:
    assert run(["init-datasets", "--source", "digits", "--data", str(tmp_path)]) == 0
    assert DataDirectory(tmp_path).preparation == Preparation()


@pytest.mark.slow
def test_a_trained_export_labels_60_more_pictures_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Dark shapes on light, prepared with --invert yes, trained and exported by the commands."""
    raw, more = write(tmp_path / "raw", "plain", range(40)), write(tmp_path / "more", "plain", range(100, 120))
    data, model = tmp_path / "data", tmp_path / "model"
    command = ["init-datasets", "--source", "folder", "--data", data, "--raw-dir", raw, "--image-size", SIDE]
    assert run([*map(str, command), "--invert", "yes"]) == 0
    (tmp_path / "config.yml").write_text(
        "semi_supervised:\n  model: {hidden_size: 64, z_size: 2}\n"
        "  training: {n_epochs: 150, batch_size: 16, precision: fp32}\n"
    )
    command = ["train", "semi-supervised", "--data", data, "--output", model, "--device", "cpu"]
    assert run([*map(str, command), "--config", str(tmp_path / "config.yml")]) == 0
    assert run(["export", "--model", str(model)]) == 0
    export = model / "export"
    lines, _ = printed_by(capsys, "--model", export, more)
    assert (len(lines), right(lines)) == (60, 1.0)
    expected = Preparation(invert="yes")
    for directory in (model, export):
        stored = json.loads((directory / "model.json").read_text())["preparation"]
        assert stored["invert"] == "yes"
    script, exported = {"aae.preparation": ""}, {"aae.preparation": ""}
    torch.jit.load(export / "classifier.torchscript.pt", _extra_files=script)
    torch.export.load(io.BytesIO((export / "classifier.pt2").read_bytes()), extra_files=exported)
    for extra in (script, exported):
        assert Preparation.from_json(extra["aae.preparation"]) == expected
    assert json.loads((export / "manifest.json").read_text())["preparation"].endswith("; inverted")
    assert "- image files: turned upright by EXIF" in (export / "MODEL_CARD.md").read_text()
