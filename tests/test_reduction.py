import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from builds import Builds
from conftest import tiny_source
from exports import copy_with_only, one_variant, replace_artifact, rerecord

from aae_toolkit.backends import registry
from aae_toolkit.cli.app import run
from aae_toolkit.config import SemiSupervisedConfig
from aae_toolkit.data.directory import DataDirectory, write_data_directory
from aae_toolkit.errors import GateError, UsageError
from aae_toolkit.evaluation.paired import PairedAccuracy
from aae_toolkit.export.contract import Format, Precision
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.export.manifest import read_manifest
from aae_toolkit.export.reduced import _activate_before_pooling
from aae_toolkit.models.deployed import DeployedClassifier
from aae_toolkit.models.description import Architecture
from aae_toolkit.models.networks import Encoder
from aae_toolkit.parity import reduction
from aae_toolkit.parity.comparison import GATES, Comparison, Gate, _judge
from aae_toolkit.progress import Silent
from aae_toolkit.training.trainer import train


@pytest.fixture(autouse=True)
def _as_fast_as_the_test_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speed depends on the machine: here int8 is twice as fast, unless a test says otherwise."""
    monkeypatch.setattr(reduction, "_time", lambda *_: np.full(11, 2.0))
    monkeypatch.setattr(registry, "WEIGHTS_BACKENDS", ("eager",))


@pytest.fixture(scope="module", params=["mlp", pytest.param("conv", marks=pytest.mark.slow)])
def big(request: pytest.FixtureRequest, builds: Builds) -> Path:
    """Data with enough validation images to prove something by, and a model large enough to become smaller."""
    model = {"encoder": request.param, "hidden_size": 128, "conv_channels": [48, 96]}
    training = {"n_epochs": 12, "batch_size": 50, "precision": "fp32"}
    config = SemiSupervisedConfig.model_validate({"model": model, "training": training})

    def build(path: Path) -> None:
        write_data_directory(path / "data", tiny_source(4500), 300, 2000, 2000, seed=0)
        train(config, DataDirectory(path / "data"), path / "model", device="cpu")

    return builds.get(f"big-{request.param}", build)


def export(source: Path, target: Path, *flags: str) -> int:
    directories = ["--model", str(source / "model"), "--output", str(target)]
    return run(["export", *directories, "--format", "onnx", *flags])


def files(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_int8_that_keeps_its_accuracy_is_added_proven_and_replayed(
    big: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(big / "data")
    assert export(big, tmp_path, "--int8", "--data", data) == 0
    manifest = read_manifest(tmp_path)
    manifest.verify(tmp_path)
    entry = manifest.artifacts[-1]
    assert (entry.file, entry.precision, entry.format) == ("classifier.int8.onnx", "int8", Format.ONNX)
    assert entry.gate is not None
    assert entry.gate.agreement is not None
    assert entry.gate.agreement >= 0.995
    assert (entry.gate.n, entry.gate.problems, entry.gate.speedup) == (2000, (), 2.0)
    assert entry.size_bytes == (tmp_path / entry.file).stat().st_size < (tmp_path / "classifier.onnx").stat().st_size
    assert "`classifier.int8.onnx`: " in (tmp_path / "MODEL_CARD.md").read_text()
    carried = onnxruntime.InferenceSession(tmp_path / entry.file, providers=["CPUExecutionProvider"]).get_modelmeta()
    assert carried.custom_metadata_map["aae.precision"] == "int8"
    assert json.loads(carried.custom_metadata_map["aae.class_names"]) == ["row_0", "row_1", "row_2"]
    capsys.readouterr()
    assert run(["parity", "--export", str(tmp_path), "--data", data, "--json"]) == 0
    (result,) = [r for r in json.loads(capsys.readouterr().out)["results"] if r["artifact"] == entry.file]
    assert result["precision"] == "int8"
    assert result["nodes"] == {"CPUExecutionProvider": sum(result["nodes"].values())}
    assert result["max_abs_diff"]["probabilities"] > 1e-4  # it is another arithmetic
    assert run(["verify", str(tmp_path)]) == 0
    assert export(big, tmp_path) == 0
    assert not {"classifier.int8.onnx", "golden.int8.npz"} & files(tmp_path)


@pytest.mark.slow
def test_an_image_s_label_does_not_depend_on_the_others_in_its_batch(big: Path, tmp_path: Path) -> None:
    assert export(big, tmp_path, "--int8", "--data", str(big / "data")) == 0
    session = onnxruntime.InferenceSession(tmp_path / "classifier.int8.onnx", providers=["CPUExecutionProvider"])
    images = DataDirectory(big / "data").load("test").images[:64].copy()
    images[1] = 255
    together = session.run(["probabilities"], {"images": images})[0]
    alone = np.concatenate([session.run(["probabilities"], {"images": images[i : i + 1]})[0] for i in range(64)])
    np.testing.assert_allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize(
    ("speedups", "n", "said"),
    [
        pytest.param(np.full(11, 0.9), 2000, "it is not faster here (0.90 of float32's speed)", marks=pytest.mark.slow),
        (np.array([1.1] * 8 + [0.9] * 3), 2000, "it is not faster here"),
        (np.full(11, 2.0), 100, "accuracy may be lower by 3"),  # nothing lost of 100 proves little
    ],
)
def test_int8_that_does_not_pass_is_refused_and_the_rest_of_the_export_stays(
    big: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    speedups: Any,
    n: int,
    said: str,
) -> None:
    monkeypatch.setattr(reduction, "_time", lambda *_: speedups)
    write_data_directory(tmp_path / "data", tiny_source(1000), 100, n if n < 1000 else None, None, seed=0)
    data = tmp_path / "data" if n < 1000 else big / "data"
    assert export(big, tmp_path / "export", "--int8", "--data", str(data)) == GateError.exit_status == 4
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "classifier.int8.onnx refused: " in error
    assert said in error
    assert "--force keeps it" in error
    expected = {"classifier.onnx", "encoder.onnx", "decoder.onnx", "weights.safetensors", "model.json", "golden.npz"}
    assert files(tmp_path / "export") == expected | {"manifest.json", "MODEL_CARD.md"}
    read_manifest(tmp_path / "export").verify(tmp_path / "export")


@pytest.mark.slow
def test_what_is_kept_by_force_is_said_to_be(
    big: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reduction, "_time", lambda *_: np.full(11, 0.5))
    assert export(big, tmp_path, "--fp16", "--int8", "--force", "--data", str(big / "data")) == 0
    fp16, int8 = read_manifest(tmp_path).artifacts[-2:]
    for entry in (fp16, int8):
        assert entry.gate is not None
        assert entry.gate.problems == ("it is not faster here (0.50 of float32's speed)",)
        assert f"`{entry.file}`: " in (tmp_path / "MODEL_CARD.md").read_text()
    assert "**did not pass, and was kept by force: it is not faster here" in (tmp_path / "MODEL_CARD.md").read_text()
    capsys.readouterr()
    assert run(["parity", "--export", str(tmp_path), "--data", str(big / "data"), "--json"]) == 0
    results = {r["artifact"]: r for r in json.loads(capsys.readouterr().out)["results"]}
    assert 0 < results["classifier.fp16.onnx"]["max_abs_diff"]["probabilities"] <= 1e-2
    assert run(["verify", str(tmp_path)]) == 0


@pytest.mark.slow
def test_both_are_tried_though_the_first_is_refused(
    big: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    turns = iter([np.full(11, 0.5), np.full(11, 2.0)])
    monkeypatch.setattr(reduction, "_time", lambda *_: next(turns))
    assert export(big, tmp_path, "--fp16", "--int8", "--data", str(big / "data")) == 4
    assert "classifier.fp16.onnx refused" in capsys.readouterr().err
    assert [e.precision for e in read_manifest(tmp_path).artifacts] == ["fp32", "fp32", "fp32", "int8"]


def test_another_classifier_under_int8_s_name_is_refused_by_parity_and_by_verification(
    big: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(big, tmp_path, "--int8", "--data", str(big / "data")) == 0
    model = ExportDirectory.open(tmp_path).reference
    (tmp_path / "right.onnx").write_bytes((tmp_path / "classifier.onnx").read_bytes())
    replace_artifact(tmp_path, "classifier", Format.ONNX, DeployedClassifier(model.encoder, (1, 0, 2), 3))
    (tmp_path / "classifier.onnx").rename(tmp_path / "classifier.int8.onnx")
    (tmp_path / "right.onnx").rename(tmp_path / "classifier.onnx")
    rerecord(tmp_path)
    capsys.readouterr()
    assert run(["parity", "--export", str(tmp_path), "--data", str(big / "data")]) == 3
    assert "classifier.int8.onnx on onnxruntime: 33." in capsys.readouterr().err
    assert run(["verify", str(tmp_path)]) == 3
    assert "classifier.int8.onnx on onnxruntime: probabilities differs by" in capsys.readouterr().err


def test_damaged_golden_outputs_are_one_line(big: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(big, tmp_path, "--int8", "--data", str(big / "data")) == 0
    capsys.readouterr()
    np.savez(tmp_path / "golden.int8.npz", other=np.zeros(3))
    rerecord(tmp_path)
    assert run(["verify", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "golden.int8.npz has no vectors classifier.output.label of this model" in error


@one_variant
@pytest.mark.parametrize(
    ("flags", "status", "said"),
    [
        (["--int8"], 2, "--int8 needs images to be calibrated and judged on; give --data"),
        (["--fp16"], 2, "--fp16 needs images"),
        (["--int8", "--data", "DATA", "--format", "torchscript"], 2, "judged against the float32 ONNX file"),
        (["--int8", "--data", "COLOUR"], 1, "the model takes images (1, 6, 6), the data's are (3, 6, 6)"),
    ],
)
def test_what_cannot_be_reduced_is_one_line(
    model_dir: Path,
    data_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    status: int,
    said: str,
) -> None:
    write_data_directory(tmp_path / "colour", tiny_source(channels=3), None, None, None, seed=0)
    given = {"DATA": str(data_dir), "COLOUR": str(tmp_path / "colour")}
    directories = ["--model", str(model_dir), "--output", str(tmp_path / "export")]
    formats = [] if "--format" in flags else ["--format", "onnx"]
    assert run(["export", *directories, *formats, *(given.get(flag, flag) for flag in flags)]) == status
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error


@one_variant
@pytest.mark.parametrize("flags", [["--int8"], ["--fp16"], ["--opset", "18"], ["--force"], ["--data", "x"]])
def test_verification_writes_nothing_and_takes_no_flag_that_would(
    export_dir: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    assert run(["verify", str(export_dir), *flags]) == 2
    assert f"No such option: {flags[0]}" in capsys.readouterr().err


@one_variant
def test_without_the_float32_file_there_is_nothing_to_judge_by(
    export_dir: Path, data_dir: Path, tmp_path: Path
) -> None:
    target = copy_with_only(export_dir, tmp_path / "export", "encoder.onnx")
    with pytest.raises(UsageError, match=r"judged against classifier\.onnx, which"):
        reduction.add_reduced(ExportDirectory.open(target), "int8", DataDirectory(data_dir), progress=Silent())


def compared(precision: Precision, difference: float, agreement: float, drop_bound: float) -> Comparison:
    result = Comparison("classifier.onnx", "onnxruntime", "cpu", precision)
    result.max_abs_diff = {"label": 1 - agreement, "probabilities": difference}
    result.label_agreement = agreement
    result.paired = PairedAccuracy(1000, 5, 1, 0.2, drop_bound)
    _judge(result, GATES[precision])
    return result


@pytest.mark.parametrize(
    ("precision", "difference", "agreement", "drop_bound", "reason"),
    [
        ("fp32", 1e-4, 1, 0.1, None),
        ("fp32", 1.1e-4, 1, 0, "allowed 0.0001"),
        ("fp16", 1e-2, 0.999, 0.1, None),
        ("fp16", 1.1e-2, 1, 0, "allowed 0.01"),
        ("fp16", 1e-3, 0.9989, 0, "99.890% of labels agree; 99.9% must"),
        ("int8", 0.9, 0.995, 0.003, None),
        ("int8", 0.1, 0.9949, 0, "99.490% of labels agree; 99.5% must"),
        ("int8", 0.1, 1, 0.0031, "accuracy may be lower by 0.310 points (lost 5, gained 1 of 1000"),
        ("int8", float("nan"), 1, 0, "it must be finite"),
        ("int8", float("inf"), 1, 0, "it must be finite"),
    ],
)
def test_each_precision_has_its_gate(
    precision: Precision, difference: float, agreement: float, drop_bound: float, reason: str | None
) -> None:
    result = compared(precision, difference, agreement, drop_bound)
    assert bool(result) == (reason is None)
    assert (reason or "largest difference") in result.reason


def test_a_gate_without_conditions_asks_only_for_finite_numbers() -> None:
    result = compared("int8", 0.9, 0.1, 0.9)
    result.passed = False
    _judge(result, Gate(None))
    assert result


def test_activation_before_pooling_changes_no_value() -> None:
    architecture = Architecture(
        encoder="conv",
        hidden_size=8,
        conv_channels=(4, 6),
        encoder_dropout=0.0,
        image_shape=(1, 28, 28),
        n_classes=3,
        z_size=2,
    )
    encoder = Encoder(architecture).eval()
    images = torch.randn(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    before = encoder(images)
    kinds = [type(layer).__name__ for layer in encoder.features]
    _activate_before_pooling(encoder)
    swapped = [type(layer).__name__ for layer in encoder.features]
    assert kinds != swapped
    assert kinds.index("MaxPool2d") == swapped.index("ReLU") == swapped.index("MaxPool2d") - 1
    assert all(torch.equal(a, b) for a, b in zip(before, encoder(images), strict=True))
