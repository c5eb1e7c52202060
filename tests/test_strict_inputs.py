"""Every deployed form beside every array that it would misread: one table."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from builds import Builds
from conftest import REPOSITORY, tiny_config, tiny_source
from numpy.typing import NDArray
from PIL import Image

from aae_toolkit import SemiSupervisedAAEClassifier, load_classifier
from aae_toolkit.cli.app import run
from aae_toolkit.data.directory import DataDirectory, write_data_directory
from aae_toolkit.data.sources import Source
from aae_toolkit.errors import AaeError
from aae_toolkit.export.contract import Format, contract_of
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.export.formats import DEFAULT_FORMATS, write_artifact
from aae_toolkit.export.writer import export_model
from aae_toolkit.models.description import read_description
from aae_toolkit.predict.decoding import Decoder
from aae_toolkit.predict.shards import plan_shards
from aae_toolkit.progress import Silent
from aae_toolkit.training.trainer import train
from aae_toolkit.web.web_page import write_page

Array = NDArray[Any]
Call = Callable[[Array], Array]
SHAPE = (3, 8, 6)


def source() -> Source:
    """Pictures with sides of three sizes, so that no two axes can be confused unseen."""
    whole = tiny_source(channels=3, size=8)
    return dataclasses.replace(whole, images=np.ascontiguousarray(whole.images[..., :6]))


IMAGES, LABELS = source().images[:60], source().labels[:60]
OF_SHAPE = {
    "[N, H, W, C]": IMAGES.transpose(0, 2, 3, 1),
    "[N, C, W, H]": IMAGES.swapaxes(2, 3),
    "as many pixels": IMAGES.reshape(60, 1, 12, 12),
    "one channel": IMAGES[:, :1],
    "four channels": np.concatenate([IMAGES, IMAGES[:, :1]], axis=1),
    "a single image": IMAGES[0],
    "five axes": IMAGES[None],
    "a fifth axis": IMAGES[..., None],
    "planes": IMAGES.reshape(60, 3, 48),
    "larger": np.repeat(IMAGES, 2, axis=2),
}
OF_TYPE = {
    "float 0-1": (IMAGES / 255).astype(np.float32),
    "double 0-1": IMAGES / 255,
    "float 0-255": IMAGES.astype(np.float32),
    "int64": IMAGES.astype(np.int64),
    "int8": (IMAGES // 2).astype(np.int8),
    "16 bits": IMAGES.astype(np.int32) * 257,
    "bool": IMAGES > 128,
    "below 0": IMAGES.astype(np.int64) - 128,
    "NaN": np.full(IMAGES.shape, np.nan, np.float32),
}
ROWS = {"rows": IMAGES.reshape(60, -1)}  # refused where they are not documented
OBJECTS = {"objects": IMAGES.astype(object)}
LOOKS = IMAGES // 128  # uint8 of 0 and 1
NUMBERS = {name: OF_TYPE[name] for name in ("float 0-1", "double 0-1", "16 bits", "bool", "below 0", "NaN")}
LISTS = NUMBERS | {"float 0-255": OF_TYPE["float 0-255"]}
WRONG: dict[str, dict[str, Array]] = {
    "onnx": OF_SHAPE | OF_TYPE | ROWS | OBJECTS,
    "torchscript": OF_SHAPE | OF_TYPE | ROWS,
    "torch-export": OF_SHAPE | OF_TYPE | ROWS,
    "aoti": OF_SHAPE | OF_TYPE | ROWS,
    "load_classifier": OF_SHAPE | OF_TYPE | OBJECTS,
    "estimator": OF_SHAPE | NUMBERS,  # takes other types of numbers from 0 to 255, as scikit-learn's do
    "server": OF_SHAPE | LISTS | ROWS,
    "shards": OF_SHAPE | OF_TYPE | ROWS | OBJECTS,
    "evaluate": {name: array for name, array in (OF_SHAPE | OF_TYPE).items() if array.ndim == 4},
}
SAYS_BOTH = {
    "torchscript",
    "aoti",
    "load_classifier",
    "server",
    "shards",
    "evaluate",
}  # what was found and what would be right
slow = {"aoti": pytest.mark.slow}


@pytest.fixture(scope="module")
def export(builds: Builds) -> Path:
    def build(path: Path) -> None:
        write_data_directory(path / "data", source(), None, None, None, seed=0)
        train(tiny_config("semi_supervised", n_epochs=20), DataDirectory(path / "data"), path / "model", device="cpu")
        export_model(path / "model", path / "export", DEFAULT_FORMATS, Silent())

    return builds.get("strict", build) / "export"


@pytest.fixture(scope="module")
def package(export: Path, builds: Builds) -> Path:
    def build(path: Path) -> None:
        opened = ExportDirectory.open(export)
        write_artifact(Format.AOTI, opened.module("classifier"), opened.contract("classifier"), path / "x.aoti.pt2", {})

    return builds.get("strict-aoti", build) / "x.aoti.pt2"


@pytest.fixture(scope="module")
def server() -> Iterator[ModuleType]:
    pytest.importorskip("starlette")
    sys.path.insert(0, str(REPOSITORY / "examples" / "python_server"))
    import server

    yield server
    sys.path.remove(str(REPOSITORY / "examples" / "python_server"))


@pytest.fixture(scope="module")
def fitted() -> SemiSupervisedAAEClassifier:
    model = SemiSupervisedAAEClassifier(n_epochs=20, random_state=0, hidden_size=16, z_size=2, device="cpu")
    return model.fit(source().images, source().labels)


def on_torch(program: Callable[..., Any]) -> Call:
    @torch.inference_mode()
    def call(images: Array) -> Array:
        labels: Array = program(torch.from_numpy(images))[0].numpy()
        return labels

    return call


@pytest.fixture
def form(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """A deployed form as a function from images to labels, which raises what the form says."""
    if request.param == "estimator":
        return request.getfixturevalue("fitted").predict
    export = request.getfixturevalue("export")

    def shards(images: Array) -> Array:
        np.savez(tmp_path / "x.npz", images=images)
        plan_shards([tmp_path / "x.npz"], SHAPE, shard_size=100, column="image")
        return LABELS

    def served(images: Array) -> Array:
        server = request.getfixturevalue("server")
        for image in server.decode(images.tolist(), Decoder(SHAPE), server.Settings()):
            if isinstance(image, server.Refused):
                raise ValueError(image.error)
        return LABELS

    def evaluated(images: Array) -> Array:
        other = dataclasses.replace(source(), images=images, labels=LABELS)
        try:
            write_data_directory(tmp_path / "data", other, 20, 20, 20, seed=0)
        except Exception as error:
            pytest.fail(f"nothing to evaluate: {error}")
        flags = ["--model", str(export.parent / "model"), "--data", str(tmp_path / "data")]
        status, said = run(["evaluate", *flags]), capsys.readouterr()
        if status:
            assert said.err.count("\n") == 1
            raise AaeError(said.err)
        return LABELS

    session = ort.InferenceSession(export / "classifier.onnx")
    forms: dict[str, Callable[[], Call]] = {
        "onnx": lambda: lambda images: session.run(["label"], {"images": images})[0],
        "torchscript": lambda: on_torch(torch.jit.load(str(export / "classifier.torchscript.pt"))),
        "torch-export": lambda: on_torch(torch.export.load(export / "classifier.pt2").module()),
        "aoti": lambda: on_torch(torch._inductor.aoti_load_package(str(request.getfixturevalue("package")))),
        "load_classifier": lambda: (
            lambda images: np.array([int(name[-1]) for name in load_classifier(export).predict(images)])
        ),
        "server": lambda: served,
        "shards": lambda: shards,
        "evaluate": lambda: evaluated,
    }
    return forms[request.param]()


FORMS = [pytest.param(name, marks=slow.get(name, ()), id=name) for name in WRONG]
TABLE = [
    pytest.param(name, array, shape_is_wrong, marks=slow.get(name, ()), id=f"{name}: {case}")
    for name, cases in WRONG.items()
    for case, array in cases.items()
    for shape_is_wrong in [case in OF_SHAPE or case in ROWS]
]


@pytest.mark.parametrize("form", FORMS, indirect=True)
def test_the_right_array_gets_the_right_labels(form: Call) -> None:
    assert (form(IMAGES) == LABELS).mean() > 0.9


@pytest.mark.parametrize(("form", "array", "shape_is_wrong"), TABLE, indirect=["form"])
def test_an_array_that_would_be_misread_is_refused(
    form: Call, array: Array, shape_is_wrong: bool, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(Exception, match=r".") as caught:  # each form has its own type of error
        form(array)
    said, name = str(caught.value).splitlines()[-1 if "torch" in request.node.name else 0], request.node.callspec.id
    if shape_is_wrong and any(name.startswith(own) for own in SAYS_BOTH):
        found = array[0].shape if name.startswith("server") else array.shape[1:]  # the server reads each image alone
        assert ", ".join(map(str, found)) in said
        assert ", ".join(map(str, SHAPE)) in said
    elif name.startswith(("torchscript", "aoti", "load_classifier", "shards")) and "objects" not in name:
        assert str(array.dtype) in said
        assert "uint8" in said


@pytest.mark.parametrize("form", FORMS, indirect=True)
def test_an_array_of_the_right_shape_is_read_by_its_strides_or_refused(
    form: Call, request: pytest.FixtureRequest
) -> None:
    """The usual way from [N, H, W, C] is a view: right by its shape, in another order in memory."""
    view = np.ascontiguousarray(IMAGES.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    if request.node.callspec.id == "aoti":
        with pytest.raises(RuntimeError, match="not contiguous"):
            form(view)
    else:
        assert (form(view) == LABELS).mean() > 0.9
    if request.node.callspec.id != "evaluate":  # which needs more images
        assert len(form(IMAGES[0][None])) in (1, len(LABELS))  # an axis of one may have any stride


@pytest.mark.parametrize("file", ["decoder.torchscript.pt", "decoder.pt2", "encoder.torchscript.pt", "encoder.pt2"])
def test_the_other_networks_refuse_as_well(export: Path, file: str) -> None:
    is_script = file.endswith(".torchscript.pt")
    program = torch.jit.load(str(export / file)) if is_script else torch.export.load(export / file).module()
    specs = contract_of(file.partition(".")[0], read_description(export)).inputs  # type: ignore[arg-type]
    right = [torch.zeros((2, *map(int, spec.shape[1:])), dtype=getattr(torch, spec.dtype)) for spec in specs]
    program(*right)
    for position, tensor in enumerate(right):
        for wrong in (tensor.double(), tensor.half(), tensor.int(), tensor[..., None], tensor[:, :1], tensor[0]):
            with pytest.raises(
                Exception, match=specs[position].name if is_script else r"Guard failed|mismatch|out of range"
            ):
                program(*right[:position], wrong, *right[position + 1 :])


def test_pixels_of_0_and_1_are_a_warning_in_python(export: Path, fitted: SemiSupervisedAAEClassifier) -> None:
    for model in (load_classifier(export), fitted):
        with pytest.warns(UserWarning, match="X holds no value above 1, and pixels are 0 to 255") as caught:
            model.predict(LOOKS)
        assert [Path(one.filename).name for one in caught] == [Path(__file__).name]  # the line that called
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.predict(IMAGES)


def test_no_samples_are_refused_as_such(export: Path) -> None:
    for none in (IMAGES[:0], np.empty((0, 144), np.uint8), []):
        with pytest.raises(ValueError, match="it has no samples"):
            load_classifier(export).predict(none)


def test_pixels_of_0_and_1_are_a_warning_of_the_server(server: ModuleType, export: Path) -> None:
    from starlette.testclient import TestClient

    with TestClient(server.create_app(server.Settings(model=export / "classifier.onnx"))) as client:
        answer = client.post("/predict", json={"images": [IMAGES[0].tolist(), LOOKS[1].tolist()]}).json()
        assert answer["warnings"] == ["images[1]: no number is above 1, and pixels are 0 to 255"]
        assert len(answer["predictions"]) == 2
        assert "warnings" not in client.post("/predict", json={"images": [IMAGES[0].tolist()]}).json()
        said = client.post("/predict", json={"images": [IMAGES.tolist()[0], OF_TYPE["float 0-1"].tolist()[1]]}).json()
        expected = "expected lists of whole numbers from 0 to 255, of shape [3, 8, 6]"
        assert said["predictions"][1] == {"error": f"found float64; {expected}"}


class Lines(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)


def test_pixels_of_0_and_1_in_npz_files_are_a_line(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=LOOKS)
    np.savez(tmp_path / "y.npz", images=IMAGES)
    lines = Lines()
    plan_shards([tmp_path / "x.npz", tmp_path / "y.npz"], SHAPE, shard_size=100, column="image", progress=lines)
    assert lines.said == [f"{tmp_path / 'x.npz'}: its first images hold no value above 1, and pixels are 0 to 255"]


def test_pixels_of_0_and_1_are_a_line_of_evaluate(
    export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = source()
    write_data_directory(tmp_path, dataclasses.replace(whole, images=whole.images // 128), None, None, None, seed=0)
    flags = ["--model", str(export.parent / "model"), "--data", str(tmp_path), "--json"]
    assert run(["evaluate", *flags]) == 0
    printed = capsys.readouterr()
    json.loads(printed.out)
    assert "hold no value above 1, and pixels are 0 to 255" in printed.err


def small(**changes: Any) -> SemiSupervisedAAEClassifier:
    return SemiSupervisedAAEClassifier(**{"n_epochs": 2, "random_state": 0, "hidden_size": 8, "z_size": 2} | changes)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (IMAGES * 255.0, "X holds values from .*, in fit 0 to "),
        (IMAGES / 255 / 255, "X holds values from .*, in fit 0 to "),
        (IMAGES / 255 - 5, "X holds values from .*, in fit 0 to "),
    ],
)
def test_images_of_another_scale_than_in_fit_are_a_warning(given: Array, said: str, tmp_path: Path) -> None:
    model = small().fit(source().images / 255, source().labels)
    model.export(tmp_path)
    for deployed in (model, load_classifier(tmp_path)):
        with pytest.warns(UserWarning, match=said):
            deployed.predict(given)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            deployed.predict(IMAGES / 255)


def test_features_far_outside_of_their_range_in_fit_are_a_warning(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).random((60, 4)) * [1, 1, 1, 100]
    model = small().fit(rows, LABELS)
    model.export(tmp_path)
    for deployed in (model, load_classifier(tmp_path)):
        said = "1 of 4 features of X lie far outside of their range in fit and are clipped: feature 0 has a mean of"
        with pytest.warns(UserWarning, match=said):
            deployed.predict(rows * [1000, 1, 1, 1])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            deployed.predict(rows * [1.1, 1, 1, 1])
            deployed.predict(rows[:1])


def test_columns_of_a_data_frame_are_compared_by_name(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(np.random.default_rng(0).random((60, 3)), columns=["length", "width", "height"])
    small().fit(frame, LABELS).export(tmp_path / "names")
    small().fit(frame.to_numpy(), LABELS).export(tmp_path / "none")
    named, nameless = load_classifier(tmp_path / "names"), load_classifier(tmp_path / "none")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        named.predict(frame)
        nameless.predict(frame.to_numpy())
    with pytest.raises(ValueError, match="column 0 of X is 'width'; expected 'length', as in fit"):
        named.predict(frame[["width", "length", "height"]])
    with pytest.raises(ValueError, match="X has 2 columns; expected 3, as in fit"):
        named.predict(frame[["length", "width"]])
    with pytest.warns(UserWarning, match="X has no feature names, but fit had some"):
        named.predict(frame.to_numpy())
    with pytest.warns(UserWarning, match="X has feature names, but fit had none"):
        nameless.predict(frame)
    with pytest.raises(ValueError, match="X is object; this classifier takes numbers"):
        nameless.predict(frame.astype(object).to_numpy())


def test_columns_of_which_some_have_no_name_are_refused_as_in_fit(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    rows = np.random.default_rng(0).random((60, 3))
    model = small().fit(rows, LABELS)
    model.export(tmp_path)
    frame = pandas.DataFrame(rows, columns=["length", 0, 1])
    for call in (model.predict, load_classifier(tmp_path).predict):
        with pytest.raises(
            (TypeError, ValueError), match=r"columns? (with and without names|.*string names)|string names"
        ):
            call(frame)


def sparse(rows: Array) -> Any:
    from scipy.sparse import csr_matrix

    return csr_matrix(rows)


UNREAD: dict[str, tuple[Callable[[Array], Any], str]] = {
    "masked": (lambda rows: np.ma.array(rows, mask=rows > 0.9), "X has masked values, which are missing"),
    "dates": (lambda rows: (rows * 1e9).astype("datetime64[s]"), "dates and times are no numbers"),
    "durations": (lambda rows: (rows * 1e9).astype("timedelta64[s]"), "dates and times are no numbers"),
    "a frame of dates": (lambda rows: frame_of((rows * 1e9).astype("datetime64[s]")), "dates and times are no numbers"),
    "sparse": (sparse, r"Sparse data was passed for X, but dense data is required"),
    "nothing": (lambda rows: rows[:0], r"0 sample|it has no samples"),
}


def frame_of(rows: Array) -> Any:
    return pytest.importorskip("pandas").DataFrame(rows)


@pytest.mark.parametrize(("given", "said"), UNREAD.values(), ids=UNREAD)
def test_values_that_are_no_numbers_are_refused(given: Callable[[Array], Any], said: str, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).random((60, 3))
    model = small().fit(rows, LABELS)
    model.export(tmp_path)
    calls = model.predict, model.transform, load_classifier(tmp_path).predict, lambda rows: small().fit(rows, LABELS)
    for call in calls:
        with pytest.raises(ValueError, match=said):
            call(given(rows))
    np.testing.assert_array_equal(model.predict(np.ma.array(rows)), model.predict(rows))  # none is masked


def test_features_that_hardly_differ_are_a_warning(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).random((60, 3)) * [1, 1000, 5]
    model = small().fit(rows, LABELS)
    model.export(tmp_path)
    for call in (model.predict, load_classifier(tmp_path).predict):
        with pytest.warns(UserWarning, match="each feature of X spans at most 0.10% of its range in fit; is it of the"):
            call(rows / 1000)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            call(rows[:1])
            call(rows * [1, 0.001, 0.001])


def test_ones_and_zeros_of_other_libraries_are_doubted_or_refused_as_numpy_s(
    fitted: SemiSupervisedAAEClassifier,
) -> None:
    dark = (IMAGES > 128).reshape(60, -1)
    with pytest.warns(UserWarning, match="X holds no value above 1"):
        fitted.predict(torch.from_numpy(dark.astype(np.uint8)))
    with pytest.raises(ValueError, match="X is bool from 0 to 1; expected pixels"):
        fitted.predict(frame_of(dark))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (np.zeros((60, 2**16 + 1), np.float32), r"X holds arrays \(65537,\); at most 65536 features"),
        (np.where(np.arange(60)[:, None] % 2, 1.7e308, -1.7e308), "X spans more than float64 can hold"),
    ],
)
def test_rows_that_networks_cannot_take_are_refused_in_one_line(rows: Array, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refusal:
        small().fit(rows, LABELS)
    assert "\n" not in str(refusal.value)


FITTED: dict[str, tuple[Callable[[], Array], str]] = {
    "features": (lambda: np.random.default_rng(0).random((60, 5)), "rows of 5 features"),
    "features in bytes": (lambda: IMAGES.reshape(60, -1), "rows of 144 features"),
    "another range": (lambda: IMAGES * -10.0 + 500, r"numbers from -?[\d.]+ to [\d.]+"),
    "0 to 1": (lambda: IMAGES / 255, "numbers from [0-9.]+ to [0-9.]+"),
}


@pytest.mark.parametrize(("arrays", "said"), FITTED.values(), ids=FITTED)
def test_image_files_are_refused_by_a_model_of_other_arrays(
    arrays: Callable[[], Array], said: str, server: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = small().fit(arrays(), np.array(source().class_names)[LABELS])
    model.save(tmp_path / "model")
    model.export(tmp_path / "export")
    image, data, page = tmp_path / "image.png", tmp_path / "data", tmp_path / "page"
    Image.fromarray(IMAGES[0].transpose(1, 2, 0)).save(image)
    write_data_directory(data, source(), None, None, None, seed=0)
    where = ["--data", str(data)]
    said = f"was fitted on {said}, not on pixels from 0 to 255"
    for command in (
        ["predict", "--model", str(tmp_path / "export"), str(image)],
        ["evaluate", "--model", str(tmp_path / "model"), *where],
        ["parity", "--export", str(tmp_path / "export"), *where],
        ["visualize", "--model", str(tmp_path / "model"), *where],
    ):
        assert run(command) == 1
        assert re.search(said, capsys.readouterr().err)
    with pytest.raises(AaeError, match=said):
        server.create_app(server.Settings(model=tmp_path / "export" / "classifier.onnx"))
    with pytest.raises(AaeError, match=said):
        write_page(ExportDirectory.open(tmp_path / "export"), page, {})


def test_image_files_are_taken_by_an_estimator_of_pixels(
    fitted: SemiSupervisedAAEClassifier, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fitted.export(tmp_path / "export")
    Image.fromarray(IMAGES[0].transpose(1, 2, 0)).save(tmp_path / "image.png")
    assert run(["predict", "--model", str(tmp_path / "export"), str(tmp_path / "image.png"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["class_name"] == str(fitted.predict(IMAGES[:1])[0])


def test_images_are_refused_or_doubted_in_fit_too() -> None:
    with pytest.raises(ValueError, match=r"X has shape \(60, 8, 6, 3\); expected \[n, 3, 8, 6\]"):
        small(image_shape=SHAPE).fit(OF_SHAPE["[N, H, W, C]"], LABELS)
    with pytest.warns(UserWarning, match=r"read as 8 channels of 6 x 3 pixels; expected \[n, C, H, W\]"):
        small().fit(OF_SHAPE["[N, H, W, C]"], LABELS)
    with pytest.warns(UserWarning, match="X holds no value above 1"):
        small().fit(LOOKS, LABELS)


def test_refused_axes_come_with_what_would_be_right(export: Path) -> None:
    model = load_classifier(export)
    for array, hint in (
        (OF_SHAPE["[N, H, W, C]"], r"X\.transpose\(0, 3, 1, 2\)"),
        (OF_SHAPE["[N, C, W, H]"], r"X\.swapaxes\(-1, -2\)"),
        (OF_SHAPE["a single image"], r"X\[None\]"),
    ):
        with pytest.raises(ValueError, match=hint):
            model.predict(array)
    assert (model.predict(IMAGES.reshape(60, -1)) == model.predict(IMAGES)).all()
