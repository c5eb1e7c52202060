import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx  # noqa: TID253  (the rule keeps the package quick to import)
import pytest
import torch
from conftest import tiny_source
from exports import copy_with_only, one_variant

from aae_toolkit.backends import registry
from aae_toolkit.backends.onnxruntime_backend import OnnxRuntimeBackend
from aae_toolkit.backends.registry import open_backend, runnables
from aae_toolkit.cli.app import run
from aae_toolkit.config import SemiSupervisedConfig, Variant
from aae_toolkit.data.directory import DataDirectory, write_data_directory
from aae_toolkit.errors import AaeError
from aae_toolkit.export.contract import ARTIFACTS, ArtifactName, Contract, Format, contract_of
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.export.formats import DEFAULT_FORMATS
from aae_toolkit.export.golden import compute_golden, write_golden
from aae_toolkit.export.manifest import read_manifest
from aae_toolkit.export.writer import export_model
from aae_toolkit.files import sha256
from aae_toolkit.models.description import read_description
from aae_toolkit.models.directory import load_model
from aae_toolkit.parity.check import check_parity
from aae_toolkit.parity.files import WAYS
from aae_toolkit.progress import Silent
from aae_toolkit.training.trainer import train

SUFFIXES = (".onnx", ".torchscript.pt", ".pt2")
ARTIFACT_FILES = {f"{artifact}{suffix}" for artifact in ARTIFACTS for suffix in SUFFIXES}
COMPANIONS = {"weights.safetensors", "model.json", "golden.npz", "manifest.json", "MODEL_CARD.md"}
ONNX_TYPES = {onnx.TensorProto.UINT8: "uint8", onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.INT64: "int64"}


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def tensors(values: object) -> list[tuple[str, str, tuple[str | int, ...]]]:
    described = []
    for value in values:  # type: ignore[attr-defined]
        kind = value.type.tensor_type
        shape = tuple(axis.dim_param or axis.dim_value for axis in kind.shape.dim)
        described.append((value.name, ONNX_TYPES[kind.elem_type], shape))
    return described


def test_an_export_holds_nine_artifacts_and_what_proves_them(export_dir: Path) -> None:
    assert names(export_dir) == ARTIFACT_FILES | COMPANIONS


def test_the_manifest_says_what_is_there(export_dir: Path, variant: Variant) -> None:
    manifest = read_manifest(export_dir)
    assert manifest.variant == variant
    assert manifest.versions["torch"] == torch.__version__.partition("+")[0]
    assert {entry.file for entry in manifest.artifacts} == ARTIFACT_FILES
    assert manifest.sha256 == {
        n: sha256(export_dir / n) for n in names(export_dir) - {"manifest.json", "MODEL_CARD.md"}
    }
    for entry in manifest.artifacts:
        assert entry.size_bytes == (export_dir / entry.file).stat().st_size
        assert entry.contract == contract_of(entry.artifact, read_description(export_dir))
    assert (manifest.parity, manifest.accuracy) == (None, None)


def test_opset_and_ir_version_are_those_of_the_onnx_files(export_dir: Path) -> None:
    for entry in read_manifest(export_dir).artifacts:
        if entry.format != Format.ONNX:
            assert (entry.opset, entry.ir_version) == (None, None)
            continue
        model = onnx.load(export_dir / entry.file)
        (opset,) = (o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        assert entry.opset == opset == 18
        assert entry.ir_version == model.ir_version <= onnx.IR_VERSION  # that ONNX Runtime takes it: test_backends


@one_variant
@pytest.mark.parametrize("opset", [18, pytest.param(21, marks=pytest.mark.slow), 25])
def test_the_opset_is_the_one_asked_for(
    opset: int, model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--model", str(model_dir), "--output", str(tmp_path), "--format", "onnx"]
    assert run(["export", *flags, "--opset", str(opset)]) == 0
    assert f"opset {opset}, IR" in capsys.readouterr().out
    assert {entry.opset for entry in read_manifest(tmp_path).artifacts} == {opset}
    classifier = OnnxRuntimeBackend(tmp_path / "classifier.onnx")  # it runs
    assert classifier.run({"images": np.zeros((3, 1, 6, 6), np.uint8)})["label"].shape == (3,)


@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_an_onnx_file_alone_says_and_holds_everything(export_dir: Path, artifact: ArtifactName) -> None:
    model = onnx.load(export_dir / f"{artifact}.onnx", load_external_data=False)
    assert not any(t.external_data or t.data_location for t in model.graph.initializer)
    contract = contract_of(artifact, read_description(export_dir))
    for specs, values in ((contract.inputs, model.graph.input), (contract.outputs, model.graph.output)):
        assert tensors(values) == [(s.name, s.dtype, s.shape) for s in specs]
        assert all(shape[0] == "N" for _, _, shape in tensors(values))
    metadata = {p.key: p.value for p in model.metadata_props}
    assert metadata["aae.artifact"] == artifact
    assert metadata["aae.weights_sha256"] == read_manifest(export_dir).sha256["weights.safetensors"]
    assert json.loads(metadata["aae.validation_accuracy"]) == read_description(export_dir).validation_accuracy
    assert json.loads(metadata["aae.class_names"]) == ["row_0", "row_1", "row_2"]
    assert Contract.model_validate_json(metadata["aae.contract"]) == contract


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")  # deprecated upstream, still asked for
def test_the_other_formats_carry_the_class_names_too(export_dir: Path) -> None:
    found = {"aae.class_names": ""}
    torch.jit.load(export_dir / "classifier.torchscript.pt", _extra_files=found)
    exported = {"aae.class_names": ""}
    torch.export.load(export_dir / "classifier.pt2", extra_files=exported)
    expected = ["row_0", "row_1", "row_2"]
    assert json.loads(found["aae.class_names"]) == json.loads(exported["aae.class_names"]) == expected


@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_golden_vectors_replay_on_every_backend(export_dir: Path, artifact: ArtifactName) -> None:
    with np.load(export_dir / "golden.npz") as content:
        vectors = {k.removeprefix(f"{artifact}."): v for k, v in content.items() if k.startswith(f"{artifact}.")}
    feeds = {k.removeprefix("input."): v for k, v in vectors.items() if k.startswith("input.")}
    expected = {k.removeprefix("output."): v for k, v in vectors.items() if k.startswith("output.")}
    for runnable in runnables(ExportDirectory.open(export_dir), artifact):
        if runnable.backend == "compiled":
            continue  # takes seconds; test_parity and test_bench run it
        outputs = open_backend(ExportDirectory.open(export_dir), runnable).run(feeds)
        assert outputs.keys() == expected.keys()
        for name, values in expected.items():
            if np.issubdtype(values.dtype, np.integer):
                assert (outputs[name] == values).all(), (runnable.backend, name)
            else:
                np.testing.assert_allclose(outputs[name], values, rtol=0, atol=1e-4, err_msg=runnable.backend)


def test_the_model_card_states_recorded_facts(export_dir: Path) -> None:
    card = (export_dir / "MODEL_CARD.md").read_text()
    for fact in ("row_0, row_1, row_2", "images 1 x 6 x 6", "not measured yet", "not checked yet", *ARTIFACT_FILES):
        assert fact in card


@one_variant
def test_asking_for_onnx_writes_only_onnx_and_removes_what_an_earlier_export_left(
    model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "classifier.pt2").write_text("of an older model")
    (tmp_path / "mine.txt").write_text("not of an export")
    flags = ["--model", str(model_dir), "--output", str(tmp_path), "--format", "onnx"]
    assert run(["export", *flags]) == 0
    assert names(tmp_path) == {f"{artifact}.onnx" for artifact in ARTIFACTS} | COMPANIONS | {"mine.txt"}
    assert "3 artifacts written" in capsys.readouterr().out


def test_an_export_directory_alone_rebuilds_the_trained_model(
    export_dir: Path, model_dir: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(export_dir, tmp_path / "elsewhere")  # and no model directory beside it
    rebuilt, trained = ExportDirectory.open(moved).reference, load_model(model_dir)
    assert rebuilt.description == trained.description
    for network in ("encoder", "decoder"):
        expected = getattr(trained, network).state_dict()
        found = getattr(rebuilt, network).state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[k], expected[k]) for k in expected)
    write_golden(tmp_path, compute_golden(rebuilt))
    with np.load(moved / "golden.npz") as content, np.load(tmp_path / "golden.npz") as again:
        assert set(again) == set(content)
        assert all((again[k] == content[k]).all() for k in content)


@one_variant
@pytest.mark.parametrize(
    ("file", "damage", "said"),
    [
        ("encoder_semi_supervised.safetensors", None, "is missing"),
        ("decoder_semi_supervised.safetensors", None, "is missing"),
        ("encoder_semi_supervised.safetensors", lambda content: content[:-100], "is damaged"),
        ("decoder_semi_supervised.safetensors", lambda content: b"", "is damaged"),
        ("encoder_semi_supervised.safetensors", "decoder_semi_supervised.safetensors", "is damaged"),
        ("model.json", None, "holds no model.json"),
        ("model.json", lambda content: content[:50], "does not describe a model"),
        ("model.json", lambda content: b"[]", "does not describe a model"),
        ("model.json", lambda content: re.sub(rb'("hidden_size": \d+)', rb"\g<1>1", content), "does not fit"),
    ],
)
def test_a_damaged_model_is_one_line_and_exit_1(
    model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, damage: object, said: str
) -> None:
    model = shutil.copytree(model_dir, tmp_path / "model")
    content = (model / file).read_bytes()
    if damage is None:
        (model / file).unlink()
    else:
        (model / file).write_bytes(damage(content) if callable(damage) else (model / str(damage)).read_bytes())
    assert run(["export", "--model", str(model), "--output", str(tmp_path / "export")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error
    assert not (tmp_path / "export").exists()


@one_variant
def test_an_export_that_fails_leaves_nothing_that_passes_for_an_export(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "manifest.json").write_text("of an earlier export")

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("aae_toolkit.export.writer.write_artifact", full_disk)
    with pytest.raises(AaeError, match=r"cannot be written: No space left on device"):
        export_model(model_dir, tmp_path, (Format.ONNX,), Silent())
    assert "manifest.json" not in names(tmp_path)


@one_variant
def test_an_exporter_that_writes_another_opset_is_refused(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = torch.onnx.export
    monkeypatch.setattr(torch.onnx, "export", lambda *a, **k: real(*a, **(k | {"opset_version": 18})))
    with pytest.raises(AaeError, match="wrote ONNX opset 18 where 19 was asked for"):
        export_model(model_dir, tmp_path, (Format.ONNX,), Silent(), opset=19)
    assert not list(tmp_path.glob("*.onnx"))


def test_a_convolutional_model_of_colour_images_exports_and_passes_parity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "WEIGHTS_BACKENDS", ("eager",))  # compiling takes longer than all the rest
    write_data_directory(tmp_path / "data", tiny_source(channels=3), None, None, None, seed=0)
    data = DataDirectory(tmp_path / "data")
    model = {"encoder": "conv", "conv_channels": [4, 6], "hidden_size": 8}
    training = {"n_epochs": 1, "batch_size": 16, "precision": "fp32"}
    config = SemiSupervisedConfig.model_validate({"model": model, "training": training})
    train(config, data, tmp_path / "model", device="cpu")
    export_model(tmp_path / "model", tmp_path / "export", DEFAULT_FORMATS, Silent())
    report = check_parity(ExportDirectory.open(tmp_path / "export"), data.load("test"), "test", progress=Silent())
    assert report
    assert len([r for r in report.results if r.backend not in WAYS]) == 12


@one_variant
@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "../../etc/x.onnx"])
@pytest.mark.parametrize("where", ["sha256", "artifacts"])
def test_a_manifest_that_names_a_file_outside_its_directory_is_refused(
    export_dir: Path, tmp_path: Path, where: str, name: str
) -> None:
    content = json.loads((export_dir / "manifest.json").read_text())
    if where == "sha256":
        content["sha256"][name] = "0" * 64
    else:
        content["artifacts"][0]["file"] = name
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(AaeError, match="outside its directory"):
        read_manifest(tmp_path)


@one_variant
@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": "other"}'])
def test_a_damaged_manifest_is_one_line(export_dir: Path, tmp_path: Path, content: str) -> None:
    export = copy_with_only(export_dir, tmp_path / "export")
    (export / "manifest.json").write_text(content)
    with pytest.raises(AaeError, match="is not the manifest of an export") as caught:
        read_manifest(export)
    assert "\n" not in str(caught.value)


@one_variant
def test_a_file_that_the_manifest_names_must_be_there(export_dir: Path, tmp_path: Path) -> None:
    export = copy_with_only(export_dir, tmp_path / "export")
    (export / "golden.npz").unlink()
    with pytest.raises(AaeError, match=r"golden\.npz is missing"):
        read_manifest(export).verify(export)


@one_variant
@pytest.mark.parametrize(
    ("flags", "status", "said"),
    [
        (["--device", "banana"], 2, "--device banana is no device"),
        (["--format", "aoti", "--device", "cuda"], 5, "--device cuda asked for"),
        (["--fp16", "--data", "DATA", "--device", "cuda"], 5, "--device cuda asked for"),
        (["--format", "aoti"], 1, "AOTInductor needs a C++ compiler, and found none"),
        (["--int8", "--data", "nowhere"], 1, "nowhere"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_what_cannot_be_exported_leaves_an_earlier_export_as_it_was(
    model_dir: Path,
    export_dir: Path,
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    status: int,
    said: str,
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    export = copy_with_only(export_dir, tmp_path / "export")
    before = {path.name: path.read_bytes() for path in export.iterdir()}
    given = [str(data_dir) if flag == "DATA" else flag for flag in flags]
    assert run(["export", "--model", str(model_dir), "--output", str(export), *given]) == status
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error
    assert {path.name: path.read_bytes() for path in export.iterdir()} == before


@one_variant
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_an_export_is_verified_on_the_device_asked_for_or_not_at_all(
    export_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["verify", str(export_dir), "--device", "cuda"]) == 5
    printed = capsys.readouterr()
    assert "every checksum holds" not in printed.out
    assert "cuda" in printed.err


@one_variant
@pytest.mark.parametrize("name", ["weights.safetensors", "model.json", "golden.npz", "classifier.onnx"])
def test_a_manifest_without_a_checksum_that_matters_is_refused(export_dir: Path, tmp_path: Path, name: str) -> None:
    export = copy_with_only(export_dir, tmp_path / "export")
    content = json.loads((export / "manifest.json").read_text())
    del content["sha256"][name]
    (export / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(AaeError, match=f"has no checksum of {name}"):
        read_manifest(export)
