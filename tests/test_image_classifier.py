"""`classifier.image.onnx`: the preparation of decoded images in ONNX, beside pillow's."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from exports import add_image_classifier, copy_with_only, one_variant
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from PIL import Image

from aae_toolkit.backends.registry import runnables
from aae_toolkit.bench.run import bench
from aae_toolkit.cli.app import run
from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.data.images import read_image
from aae_toolkit.data.preparation import Fit, Invert, Preparation
from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.export.contract import IMAGE, Format
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.export.image_graph import Nodes, prepare
from aae_toolkit.export.manifest import IMAGE_FILE
from aae_toolkit.export.metadata import metadata_of
from aae_toolkit.export.writer import export_model
from aae_toolkit.models.description import FILE_NAME
from aae_toolkit.parity.check import check_parity, replay_golden
from aae_toolkit.parity.files import WAYS, compare_files
from aae_toolkit.predict import predict
from aae_toolkit.progress import Silent

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
BACKGROUND = (200, 30, 90)
Pixels = NDArray[np.uint8]


def preparation_model(shape: tuple[int, int, int], preparation: Preparation, opset: int = 18) -> onnx.ModelProto:
    add = Nodes()
    prepare(add, "image", "images", shape, preparation)
    image, images = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, dims)
        for name, dims in (("image", ["N", "H", "W", "C"]), ("images", ["N", *shape]))
    )
    graph = onnx.helper.make_graph(add.nodes, "preparation", [image], [images], add.constants)
    opsets = [onnx.helper.make_opsetid("", opset)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def session_of(model: onnx.ModelProto) -> ort.InferenceSession:
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def read(pixels: Pixels, shape: tuple[int, int, int], preparation: Preparation) -> Pixels:
    """What `init-datasets` makes of a PNG file with these pixels, [H, W, C]."""
    channels = pixels.shape[2]
    file = io.BytesIO()
    Image.frombytes(MODES[channels], pixels.shape[1::-1], pixels.tobytes()).save(file, "PNG")
    file.seek(0)
    return read_image(file, shape, preparation)


def random_image(rng: np.random.Generator, i: int) -> Pixels:
    """Noise or a gradient of random size, of each number of channels in turn; every tenth size is a special one."""
    special = [(1, 1), (1, 90), (90, 1), (2, 3), (28, 28), (300, 7)]
    height, width = rng.integers(1, 120, 2) if i % 10 else special[i // 10 % len(special)]
    pixels = rng.integers(0, 256, (height, width, i % 4 + 1))
    if i % 3 == 0:
        pixels[:] = (rng.integers(0, 256) + np.arange(width)[:, np.newaxis]).clip(0, 255)
    return pixels.astype(np.uint8)


@pytest.mark.parametrize("invert", ["no", "yes", "auto"])
@pytest.mark.parametrize("fit", ["squash", "pad", "crop"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 20, 40), (3, 70, 33), (1, 1, 1), (1, 2, 5)], ids=str)
def test_the_graph_prepares_as_pillow_does(shape: tuple[int, int, int], fit: Fit, invert: Invert) -> None:
    preparation = Preparation(fit=fit, invert=invert, background=BACKGROUND)
    model = preparation_model(shape, preparation)
    session, evaluator = session_of(model), ReferenceEvaluator(model)
    rng = np.random.default_rng(0)
    for i in range(40):
        pixels = random_image(rng, i)
        expected = read(pixels, shape, preparation)
        [found] = session.run(None, {"image": np.stack([pixels, pixels])})
        assert np.abs(found.astype(int) - expected).max() <= 1, pixels.shape
        if i % 10 == 0:
            np.testing.assert_array_equal(evaluator.run(None, {"image": pixels[np.newaxis]})[0][0], found[0])


def test_pixels_are_those_of_pillow_where_it_resizes_columns_first() -> None:
    session = session_of(preparation_model((3, 28, 28), Preparation()))
    rng = np.random.default_rng(1)
    for i in range(40):  # wide images, which all versions of pillow resize in this order
        pixels = rng.integers(0, 256, (rng.integers(1, 28), rng.integers(60, 300), i % 4 + 1), dtype=np.uint8)
        [[found]] = session.run(None, {"image": pixels[np.newaxis]})
        np.testing.assert_array_equal(found, read(pixels, (3, 28, 28), Preparation()))


@pytest.mark.parametrize("fit", ["squash", "pad", "crop"])
def test_an_image_of_the_model_s_size_stays_as_it_is(fit: Fit) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 70, 33, 3), dtype=np.uint8)
    [found] = session_of(preparation_model((3, 70, 33), Preparation(fit=fit))).run(None, {"image": pixels})
    np.testing.assert_array_equal(found, pixels.transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((1, 5, 5, 3), np.float32),  # scaled to 0-1
        np.zeros((1, 5, 5, 3), np.uint16),
        np.zeros((5, 5, 3), np.uint8),
        *(np.zeros((1, *shape), np.uint8) for shape in ((5, 5, 5), (5, 5, 0), (3, 28, 28), (1, 27, 27), (0, 5, 3))),
    ],
    ids=lambda image: f"{image.dtype} {image.shape}",
)
@pytest.mark.parametrize("channels", [1, 3])
def test_what_would_be_misread_is_refused(image: NDArray[Any], channels: int) -> None:
    session = session_of(preparation_model((channels, 28, 28), Preparation()))
    with pytest.raises(Exception, match="ONNXRuntimeError"):
        session.run(None, {"image": image})


def test_only_standard_operators_are_used() -> None:
    for opset in (18, 21, 24):
        model = preparation_model((1, 28, 28), Preparation(fit="pad", invert="auto"), opset)
        assert {entry.domain for entry in model.opset_import} == {""}
        assert {node.domain for node in model.graph.node} == {""}


PREPARATIONS = [
    Preparation(),
    Preparation(invert="yes", fit="pad"),
    Preparation(background=BACKGROUND, range=(0, 4095), invert="auto", fit="crop"),
]


@pytest.fixture(params=PREPARATIONS, ids=lambda preparation: preparation.fit)
def export(export_dir: Path, tmp_path: Path, request: pytest.FixtureRequest) -> ExportDirectory:
    return add_image_classifier(copy_with_only(export_dir, tmp_path / "export"), request.param)


@one_variant
def test_it_is_an_artifact_like_any_other(export: ExportDirectory, data_dir: Path) -> None:
    verified = replay_golden(export, progress=Silent())
    report = check_parity(export, DataDirectory(data_dir).load("test"), "test", progress=Silent())
    for results in (verified.results, report.results):
        assert {("onnxruntime", True), ("onnx-reference", True)} <= {
            (r.backend, r.passed) for r in results if r.artifact == IMAGE_FILE
        }
    assert verified, verified.results
    assert report, report.to_json()


@one_variant
def test_it_runs_on_the_cpu_and_is_not_benchmarked(export: ExportDirectory) -> None:
    assert [(r.backend, r.file) for r in runnables(export, IMAGE)] == [("onnxruntime", IMAGE_FILE)]
    assert runnables(export, IMAGE, "cuda") == []
    assert IMAGE_FILE not in {r.file for r in runnables(export, "classifier")}

    class Listener(Silent):
        def say(self, line: str) -> None:
            said.append(line)

    said: list[str] = []
    with pytest.raises(UsageError):
        bench(export, (1,), (1,), ("torchscript",), progress=Listener())
    assert said == ["classifier.image.onnx is left out: its time depends on the size of the images"]


@one_variant
@pytest.mark.parametrize("other", [Preparation(invert="yes"), Preparation(invert="auto")], ids=lambda p: p.invert)
def test_verification_refuses_another_preparation(export_dir: Path, tmp_path: Path, other: Preparation) -> None:
    export = add_image_classifier(copy_with_only(export_dir, tmp_path / "export"), inside=other)
    report = replay_golden(export, progress=Silent())
    assert {r.artifact for r in report.results if not r} == {IMAGE_FILE}


@one_variant
def test_every_way_from_file_to_label_is_compared(export: ExportDirectory, data_dir: Path) -> None:
    results = compare_files(export, DataDirectory(data_dir).load("test").images, Silent())
    assert [r.backend for r in results][:3] == list(WAYS[:3])
    for result in results:
        assert result, f"{result.backend}: {result.reason}"
        assert result.label_agreement == 1
        assert result.max_abs_diff.get("pixels", 0) <= 1
    assert [r.reason.partition(";")[0] for r in results[:3]] == ["40 files"] * 3
    if find_spec("cv2") is None:
        pytest.skip("opencv-python-headless, in the dev extra, is not installed: its decoder is not compared")
    assert (results[3].backend, results[3].reason[:8]) == ("opencv", "38 files")
    assert results[3].reason.endswith("; without cmyk")


@one_variant
@pytest.mark.parametrize(
    ("inside", "named"),
    [
        (Preparation(background=(0, 0, 0)), "of kind transparent, transparent-grey, transparent-palette"),
        (Preparation(fit="crop"), "large, long"),
        (Preparation(invert="yes"), "tiny"),
    ],
    ids=["background", "fit", "invert"],
)
def test_a_way_that_reads_files_differently_is_named_with_the_kinds(
    export_dir: Path, data_dir: Path, tmp_path: Path, inside: Preparation, named: str
) -> None:
    export = add_image_classifier(copy_with_only(export_dir, tmp_path / "export"), inside=inside)
    results = compare_files(export, DataDirectory(data_dir).load("test").images, Silent())
    assert [r.backend for r in results if r] == ["aae predict", "load_classifier"]
    refused = next(r for r in results if r.backend == "pillow")
    assert "pixels differ by" in refused.reason
    assert named in refused.reason


@one_variant
def test_a_file_that_says_another_preparation_than_the_model_is_refused(
    export_dir: Path, data_dir: Path, tmp_path: Path
) -> None:
    export = add_image_classifier(copy_with_only(export_dir, tmp_path / "export"), Preparation(invert="yes"))
    proto = onnx.load(export.path / "classifier.onnx")
    metadata = {p.key: p.value for p in proto.metadata_props} | {"aae.preparation": Preparation().to_json()}
    onnx.helper.set_model_props(proto, metadata)
    onnx.save(proto, export.path / "classifier.onnx")
    results = compare_files(export, DataDirectory(data_dir).load("test").images, Silent())
    assert [(r.backend, r.passed) for r in results[:2]] == [("aae predict", False), ("load_classifier", False)]
    assert "probabilities differ" in results[0].reason
    assert "pixels differ" in results[1].reason


@one_variant
def test_a_model_of_arrays_has_no_files(model_dir: Path, export_dir: Path, data_dir: Path, tmp_path: Path) -> None:
    export = ExportDirectory.open(export_dir)
    of_arrays = replace(export, description=export.description.model_copy(update={"preparation": None}))
    assert compare_files(of_arrays, DataDirectory(data_dir).load("test").images, Silent()) == []
    model = shutil.copytree(model_dir, tmp_path / "model")
    (model / FILE_NAME).write_text(of_arrays.description.model_dump_json())
    with pytest.raises(AaeError, match="trained on arrays"):
        export_model(model, tmp_path / "export", (Format.ONNX,), Silent(), whole_images=True)
    assert not (tmp_path / "export").exists()


@one_variant
def test_the_command_writes_it_and_another_export_removes_it(
    model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", "--model", str(model_dir), "--output", str(tmp_path), "--format"]
    assert run([*command, "torchscript", "--input", "image"]) == 2
    assert "add --format onnx" in capsys.readouterr().err
    assert run([*command, "onnx", "--input", "image"]) == 0
    assert IMAGE_FILE in capsys.readouterr().out
    export = ExportDirectory.open(tmp_path)
    entry = export.entry(IMAGE_FILE)
    assert entry is not None
    assert (entry.artifact, entry.opset) == (IMAGE, 18)
    assert entry.size_bytes == (tmp_path / IMAGE_FILE).stat().st_size
    assert "`image` uint8 [N, H, W, C]" in (tmp_path / "MODEL_CARD.md").read_text()
    session = ort.InferenceSession(str(tmp_path / IMAGE_FILE), providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["label", "probabilities", "category"]
    contract = export.contract(IMAGE)
    metadata = metadata_of(IMAGE, contract, export.description, export.weights_sha256)
    assert session.get_modelmeta().custom_metadata_map == metadata
    with pytest.raises(AaeError, match=r"give the classifier.onnx beside it"):
        next(predict(tmp_path / IMAGE_FILE, []))
    assert run([*command, "torchscript"]) == 0
    assert not (tmp_path / IMAGE_FILE).exists()
    assert ExportDirectory.open(tmp_path).entry(IMAGE_FILE) is None
