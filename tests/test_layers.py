import json
from pathlib import Path

import onnx  # noqa: TID253  (the rule keeps the package quick to import)
import pytest
from exports import copy_with_only, one_variant, replace_artifact, rerecord, unverified
from onnx import helper  # noqa: TID253

from aae_toolkit.backends import registry
from aae_toolkit.backends.protocol import Runnable
from aae_toolkit.cli.app import run
from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.export.contract import ArtifactName, Format
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.export.manifest import read_manifest
from aae_toolkit.parity.files import WAYS
from aae_toolkit.parity.layers import first_difference

pytestmark = one_variant


def found(export: Path, data_dir: Path, artifact: ArtifactName = "classifier") -> str:
    feeds = {"images": DataDirectory(data_dir).load("test").images}
    return first_difference(unverified(export), Runnable(artifact, "onnxruntime", f"{artifact}.onnx"), feeds)


@pytest.fixture
def export(export_dir: Path, tmp_path: Path) -> Path:
    return copy_with_only(export_dir, tmp_path / "export", "classifier.onnx")


@pytest.mark.parametrize("artifact", ["classifier", "encoder"])
def test_no_node_of_a_right_file_parts(export: Path, data_dir: Path, artifact: ArtifactName) -> None:
    assert found(export, data_dir, artifact).startswith("no node parts on 60 images: ")


@pytest.mark.parametrize(("layer", "node", "before"), [(1, "Gemm", "Reshape"), (4, "Gemm", "Relu")])
def test_the_node_of_a_changed_weight_is_named_and_none_before_it(
    export: Path, data_dir: Path, layer: int, node: str, before: str
) -> None:
    model = ExportDirectory.open(export).reference
    model.encoder.features[layer].weight.data[0] += 1
    replace_artifact(export, "classifier", Format.ONNX, model.deployed()["classifier"])
    line = found(export, data_dir)
    assert line.startswith(f"parts at {node} ")
    assert f"after {before} " in line


def test_a_scale_that_was_forgotten_is_found_at_the_division(export: Path, data_dir: Path) -> None:
    path = export / "classifier.onnx"
    model = onnx.load(path)
    division = next(node for node in model.graph.node if node.op_type == "Div")
    division.CopyFrom(helper.make_node("Identity", [division.input[0]], division.output, name="undivided"))
    onnx.save(model, path)
    assert "parts at Identity undivided: differs by 2" in found(export, data_dir)


def test_a_file_of_other_names_is_followed_at_its_outputs(export: Path, data_dir: Path) -> None:
    path = export / "classifier.onnx"
    model = onnx.load(path)
    outputs = {output.name for output in model.graph.output}
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [name if name in outputs or name == "images" else f"{name}_" for name in names]
    for initializer in model.graph.initializer:
        initializer.name += "_"
    del model.graph.value_info[:]
    onnx.save(model, path)
    assert "no node parts on 60 images: 3 of" in found(export, data_dir)


@pytest.mark.slow
def test_the_command_says_where_a_refused_file_parts(
    export: Path, data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "WEIGHTS_BACKENDS", ("eager",))
    model = ExportDirectory.open(export).reference
    model.encoder.y_head.weight.data *= 2
    replace_artifact(export, "classifier", Format.ONNX, model.deployed()["classifier"])
    flags = ["--export", str(export), "--data", str(data_dir), "--per-layer"]
    assert run(["parity", *flags]) == 3
    assert "classifier.onnx on onnxruntime parts at Gemm" in capsys.readouterr().out
    assert run(["parity", *flags, "--json"]) == 3
    results = json.loads(capsys.readouterr().out)["results"]
    assert all(r["first_difference"].startswith("parts at Gemm") for r in results if r["backend"] not in WAYS)


def test_a_file_that_cannot_run_keeps_its_verdict(
    export: Path, data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "WEIGHTS_BACKENDS", ("eager",))
    model = onnx.load(export / "classifier.onnx")
    axis = model.graph.input[0].type.tensor_type.shape.dim[0]
    axis.ClearField("dim_param")
    axis.dim_value = 2
    onnx.save(model, export / "classifier.onnx")
    rerecord(export)
    assert run(["parity", "--export", str(export), "--data", str(data_dir), "--per-layer"]) == 3
    printed = capsys.readouterr()
    assert "classifier.onnx on onnxruntime cannot be followed: " in printed.out
    assert "cannot run at batch size 1" in printed.err
    assert not read_manifest(export).parity["passed"]  # type: ignore[index]
