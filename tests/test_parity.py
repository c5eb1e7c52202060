import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx  # noqa: TID253  (the rule keeps the package quick to import)
import pytest
import torch
from conftest import tiny_source
from exports import copy_with_only, one_variant, replace_artifact, rerecord
from onnx import numpy_helper  # noqa: TID253
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from aae_toolkit.backends import registry
from aae_toolkit.backends.onnx_reference import OnnxReferenceBackend
from aae_toolkit.backends.protocol import Backend, Closing, Runnable
from aae_toolkit.backends.registry import open_backend
from aae_toolkit.cli.app import run
from aae_toolkit.config import Variant
from aae_toolkit.data.directory import DataDirectory, write_data_directory
from aae_toolkit.data.split import Split
from aae_toolkit.errors import ParityError
from aae_toolkit.export.contract import ARTIFACTS, ArtifactName, Format, Tensors
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.export.manifest import read_manifest
from aae_toolkit.models.deployed import DeployedClassifier
from aae_toolkit.models.directory import TrainedModel
from aae_toolkit.parity import check as check_module
from aae_toolkit.parity.cases import Case, probes
from aae_toolkit.parity.check import ParityReport, check_parity
from aae_toolkit.parity.comparison import Comparison, _margins
from aae_toolkit.parity.files import WAYS
from aae_toolkit.progress import Silent

RESULT_KEYS = {
    *("artifact", "backend", "device", "precision", "passed", "max_abs_diff"),
    *("label_agreement", "accuracy", "accuracy_delta", "flips", "reason"),
    *("max_rel_diff", "tolerance_needed", "paired", "nodes", "first_difference"),
}


@pytest.fixture
def without_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "WEIGHTS_BACKENDS", ("eager",))


def check(export_dir: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any], str]:
    """Run `aae parity --json`; the exit status, the object printed, and standard error."""
    status = run(["parity", "--export", str(export_dir), "--data", str(data_dir), "--json"])
    printed = capsys.readouterr()
    report = json.loads(printed.out, parse_constant=pytest.fail) if printed.out else {}
    return status, report, printed.err


def test_an_export_is_proven_to_be_the_trained_model(
    export_dir: Path, data_dir: Path, variant: Variant, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = shutil.copytree(export_dir, tmp_path / "export")
    status, report, error = check(export, data_dir, capsys)
    assert status == 0, error
    assert {"passed", "n", "results"} <= report.keys()
    assert (report["passed"], report["n"]) == (True, 60)
    results = [r for r in report["results"] if r["backend"] not in WAYS]
    ways = [r for r in report["results"] if r["backend"] in WAYS]
    assert [(r["backend"], r["passed"]) for r in ways] == [("aae predict", True), ("load_classifier", True)]
    assert all(r.keys() >= RESULT_KEYS for r in ways)
    assert len(results) == 13  # nine files, three of them arbitrated, and the classifier compiled
    assert {(r["artifact"], r["backend"]) for r in results} == {
        ("weights.safetensors", "compiled"),
        *((f"{a}.onnx", backend) for a in ARTIFACTS for backend in ("onnxruntime", "onnx-reference")),
        *((f"{a}.pt2", "torch-export") for a in ARTIFACTS),
        *((f"{a}.torchscript.pt", "torchscript") for a in ARTIFACTS),
    }
    for result in results:
        assert result.keys() >= RESULT_KEYS
        assert result["passed"]
        assert max(result["max_abs_diff"].values()) < 1e-4
        assert max(result["max_rel_diff"].values()) < 1e-2
        assert result["tolerance_needed"] == max(result["max_abs_diff"].values())
        assert result["flips"] == []
        if result["artifact"].startswith(("classifier", "weights")):
            assert (result["label_agreement"], result["accuracy_delta"]) == (1, 0)
            assert result["accuracy"] == report["accuracy"]
            paired = result["paired"]
            assert (paired["n"], paired["lost"], paired["gained"], paired["p_value"]) == (60, 0, 0, 1)
            assert 0 < paired["drop_bound"] < 0.06  # nothing lost of 60
    recorded = read_manifest(export)
    recorded.verify(export)
    assert recorded.accuracy == report["accuracy"]
    assert recorded.parity is not None
    assert (recorded.parity["passed"], recorded.parity["n"], recorded.parity["split"]) == (True, 60, "test")
    card = (export / "MODEL_CARD.md").read_text()
    assert "every file is the same classifier as the trained model" in card
    assert f"accuracy on the test split: {100 * report['accuracy']:.2f}% (n = 60)" in card
    assert recorded.balanced_accuracy == pytest.approx(recorded.accuracy)  # 20 test images of each class
    assert recorded.macro_f1 is not None
    by_class = f"balanced accuracy {100 * recorded.balanced_accuracy:.2f}%, macro-F1 {100 * recorded.macro_f1:.2f}%"
    assert f"; {by_class}\n" in card


class Mutant(nn.Module):
    """A trained artifact that takes images, its outputs changed."""

    def __init__(self, module: nn.Module, change: Callable[..., Any]) -> None:
        super().__init__()
        self.module, self.change = module, change

    def forward(self, images: Tensor) -> Any:
        return self.change(*self.module(images))


class Unscaled(nn.Module):
    """A classifier that forgot to divide pixels by 255."""

    def __init__(self, classifier: DeployedClassifier) -> None:
        super().__init__()
        self.c = classifier

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y_logits, _ = self.c.encoder(images.to(torch.float32))
        category = y_logits.argmax(dim=1)
        return self.c.category_to_class[category], y_logits.softmax(dim=1) @ self.c.map, category


def with_map(model: TrainedModel, mapping: tuple[int, ...]) -> DeployedClassifier:
    return DeployedClassifier(model.encoder, mapping, len(model.description.class_names))


def classifier(model: TrainedModel) -> DeployedClassifier:
    return with_map(model, model.description.category_to_class)


def with_other_head(model: TrainedModel) -> nn.Module:
    model.encoder.y_head.weight.data += 1e-2 * torch.eye(*model.encoder.y_head.weight.shape)
    return classifier(model)


def with_other_decoder(model: TrainedModel) -> nn.Module:
    model.decoder.out.weight.data *= 1.1
    return model.deployed()["decoder"]


def with_batch_norm_in_training(model: TrainedModel) -> nn.Module:
    for module in model.encoder.modules():
        if isinstance(module, nn.BatchNorm1d):  # without statistics it takes its batch's, as in training
            module.running_mean = module.running_var = None
    return classifier(model)


def without_batch_norm(model: TrainedModel) -> nn.Module:
    for module in model.encoder.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.reset_running_stats()
    return classifier(model)


WRONG_MODULES: dict[str, tuple[ArtifactName, Callable[[TrainedModel], nn.Module], str]] = {
    "another weight": ("classifier", with_other_head, "probabilities differs by"),
    "BatchNorm's statistics lost": ("classifier", without_batch_norm, "probabilities differs by"),
    "BatchNorm left in training mode": ("classifier", with_batch_norm_in_training, "probabilities differs by"),
    "pixels not divided by 255": ("classifier", lambda m: Unscaled(classifier(m)), "probabilities differs by"),
    "class map swapped": ("classifier", lambda m: with_map(m, (1, 0, 2)), "probabilities differs by"),
    "class map swapped in the label alone": (
        "classifier",
        lambda m: Mutant(classifier(m), lambda label, p, category: ((label + 1) % 3, p, category)),
        "labels or categories differ beyond rounding",
    ),
    "category shifted": (
        "classifier",
        lambda m: Mutant(classifier(m), lambda label, p, category: (label, p, (category + 1) % 3)),
        "labels or categories differ beyond rounding",
    ),
    "softmax left out": (
        "classifier",
        lambda m: Mutant(classifier(m), lambda label, p, category: (label, p.log(), category)),
        "probabilities differs by",
    ),
    "label as int32": (
        "classifier",
        lambda m: Mutant(classifier(m), lambda label, p, category: (label.int(), p, category)),
        "label is int32",
    ),
    "label with another shape": (
        "classifier",
        lambda m: Mutant(classifier(m), lambda label, p, category: (label[:, None], p, category)),
        "the contract says int64 (60,)",
    ),
    "style scaled": ("encoder", lambda m: Mutant(m.deployed()["encoder"], lambda y, z: (y, 1.01 * z)), "z differs by"),
    "another decoder": ("decoder", with_other_decoder, "images differs by"),
}


@one_variant
@pytest.mark.usefixtures("without_compiling")
@pytest.mark.parametrize(
    ("wrong", "format_"),
    [(wrong, Format.TORCHSCRIPT) for wrong in WRONG_MODULES]
    + [
        (wrong, f)
        for wrong in ("another weight", "pixels not divided by 255")
        for f in (Format.ONNX, Format.TORCH_EXPORT)
    ]
    + [("class map swapped in the label alone", Format.ONNX)],
)
def test_a_wrong_artifact_is_refused_by_name(
    export_dir: Path, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str, format_: Format
) -> None:
    artifact, build, reason = WRONG_MODULES[wrong]
    file = next(e.file for e in read_manifest(export_dir).artifacts if (e.artifact, e.format) == (artifact, format_))
    export = copy_with_only(export_dir, tmp_path / "export", file)
    replace_artifact(export, artifact, format_, build(ExportDirectory.open(export).reference))
    status, report, error = check(export, data_dir, capsys)
    assert status == 3
    assert error.count("\n") == 1
    refusals = 2 if format_ == Format.ONNX else 1  # by the arbiter too
    refusals += 2 if file == "classifier.onnx" else 0  # and on the ways from files
    assert f"parity refused for {refusals} of {refusals}; first {file} on" in error
    result = report["results"][0]
    assert (report["passed"], result["passed"]) == (False, False)
    assert reason in result["reason"]
    assert not read_manifest(export).parity["passed"]  # type: ignore[index]
    assert "parity: REFUSED" in (export / "MODEL_CARD.md").read_text()


def initializer(model: Any, name: str) -> Any:
    return next(i for i in model.graph.initializer if i.name == name)


def set_bias(model: Any, add: float) -> None:
    found = initializer(model, "encoder.y_head.bias")
    values = numpy_helper.to_array(found).copy()
    values[0] += add
    found.CopyFrom(numpy_helper.from_array(values, found.name))


def fix_batch_axis(model: Any) -> None:
    axis = model.graph.input[0].type.tensor_type.shape.dim[0]
    axis.ClearField("dim_param")
    axis.dim_value = 2


def rename_output(model: Any) -> None:
    for node in model.graph.node:
        node.output[:] = ["confidence" if name == "probabilities" else name for name in node.output]
    next(o for o in model.graph.output if o.name == "probabilities").name = "confidence"


def remove_output(model: Any) -> None:
    model.graph.output.remove(next(o for o in model.graph.output if o.name == "category"))


def rename_input(model: Any) -> None:
    for node in model.graph.node:
        node.input[:] = ["pixels" if name == "images" else name for name in node.input]
    model.graph.input[0].name = "pixels"


@one_variant
@pytest.mark.usefixtures("without_compiling")
@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda model: set_bias(model, 1e-2), "probabilities differs by"),
        (lambda model: set_bias(model, float("nan")), "probabilities differs by nan"),
        (lambda model: set_bias(model, float("inf")), "probabilities differs by nan"),
        (fix_batch_axis, "cannot run at batch size 1"),
        (rename_output, "no output 'probabilities'; it has label, confidence, category"),
        (remove_output, "no output 'category'; it has label, probabilities"),
        (rename_input, "cannot run at batch size 1"),
    ],
)
def test_an_edited_onnx_file_is_refused_though_its_checksum_is_right(
    export_dir: Path,
    data_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    edit: Callable[[Any], None],
    reason: str,
) -> None:
    export = copy_with_only(export_dir, tmp_path / "export", "classifier.onnx")
    model = onnx.load(export / "classifier.onnx")
    edit(model)
    onnx.save(model, export / "classifier.onnx")
    rerecord(export)
    status, report, error = check(export, data_dir, capsys)  # nan is no JSON: `check` would fail on it
    assert status == 3
    assert error.count("\n") == 1
    assert "classifier.onnx on onnxruntime" in error
    assert reason in report["results"][0]["reason"]


class Liar(Closing):
    """A backend that shifts categories in batches larger than 7, as a kernel chosen by size could."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.name, self.artifact, self.device = backend.name, backend.artifact, backend.device
        self.input_names, self.nodes = backend.input_names, backend.nodes
        self.metadata = backend.metadata

    def run(self, feeds: Tensors) -> Tensors:
        outputs = self.backend.run(feeds)
        if "category" in outputs and len(outputs["category"]) > 7:
            outputs["category"] = (outputs["category"] + 1) % 3
        return outputs

    def close(self) -> None:
        self.backend.close()


@one_variant
@pytest.mark.usefixtures("without_compiling")
def test_a_category_that_is_wrong_at_one_batch_size_alone_is_refused(
    export_dir: Path, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lying(export: ExportDirectory, runnable: Runnable, **options: Any) -> Backend:
        opened = open_backend(export, runnable, **options)
        return opened if runnable.backend == "eager" else Liar(opened)

    monkeypatch.setattr(check_module, "open_backend", lying)
    export = copy_with_only(export_dir, tmp_path / "export", "classifier.onnx")
    report = check_parity(ExportDirectory.open(export), DataDirectory(data_dir).load("test"), "test", progress=Silent())
    assert not report
    assert "labels or categories differ beyond rounding" in report.results[0].reason
    assert [flip.images for flip in report.results[0].flips].count("test images") == 60


@one_variant
@pytest.mark.usefixtures("without_compiling")
def test_what_is_right_on_every_image_of_the_split_is_refused_if_it_is_wrong_on_a_black_one(
    export_dir: Path, data_dir: Path, tmp_path: Path
) -> None:
    class WrongInTheDark(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

        def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            label, probabilities, category = self.module(images)
            dark = images.flatten(1).amax(dim=1) == 0
            return torch.where(dark, (label + 1) % 3, label), probabilities, category

    export = copy_with_only(export_dir, tmp_path / "export", "classifier.onnx")
    replace_artifact(
        export, "classifier", Format.ONNX, WrongInTheDark(classifier(ExportDirectory.open(export).reference))
    )
    report = check_parity(ExportDirectory.open(export), DataDirectory(data_dir).load("test"), "test", progress=Silent())
    assert not report
    for result in report.results[:2]:
        assert [(flip.images, flip.index) for flip in result.flips] == [("probes", 0)]
        assert "1 labels or categories differ beyond rounding; first: image 0 of probes" in result.reason
        assert result.tolerance_needed is None
    assert report.results[0].label_agreement == 1


@one_variant
@pytest.mark.usefixtures("without_compiling")
def test_a_file_that_the_arbiter_reads_otherwise_is_refused(
    export_dir: Path, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate, asked = OnnxReferenceBackend.run, []

    def other(self: OnnxReferenceBackend, feeds: Tensors) -> Tensors:
        outputs = evaluate(self, feeds)
        asked.append(len(outputs["probabilities"]))
        return outputs | {"probabilities": outputs["probabilities"] + np.float32(0.01)}

    monkeypatch.setattr(OnnxReferenceBackend, "run", other)
    export = copy_with_only(export_dir, tmp_path / "export", "classifier.onnx")
    report = check_parity(ExportDirectory.open(export), DataDirectory(data_dir).load("test"), "test", progress=Silent())
    assert [(r.backend, r.passed) for r in report.results[:2]] == [("onnxruntime", True), ("onnx-reference", False)]
    assert report.results[1].tolerance_needed == pytest.approx(0.01, rel=0.01)
    assert asked == [60, 256]  # of the split, which is smaller than the sample, and of the probes


def test_probes_are_black_white_and_noise_of_every_brightness() -> None:
    images = probes((3, 4, 5))
    assert (images.shape, images.dtype) == ((257, 3, 4, 5), np.uint8)
    assert not images[0].any()
    assert (images[1] == 255).all()
    brightness = images[2:].mean(axis=(1, 2, 3))
    assert brightness[:50].mean() < 20
    assert brightness[-50:].mean() > 100
    assert np.array_equal(images, probes((3, 4, 5)))


@one_variant
@pytest.mark.usefixtures("without_compiling")
def test_images_without_labels_prove_parity_but_no_accuracy(export_dir: Path, data_dir: Path, tmp_path: Path) -> None:
    export = copy_with_only(export_dir, tmp_path / "export", "classifier.onnx")
    images = DataDirectory(data_dir).load("test").images
    report = check_parity(
        ExportDirectory.open(export), Split(images, np.full(len(images), -1)), "test", progress=Silent()
    )
    assert report
    assert (report.accuracy, report.results[0].accuracy, report.results[0].accuracy_delta) == (None, None, None)
    assert "accuracy: not measured yet" in (export / "MODEL_CARD.md").read_text()


@one_variant
def test_no_images_prove_nothing(export_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_data_directory(tmp_path / "data", tiny_source(), None, None, 0, seed=0)
    export = copy_with_only(export_dir, tmp_path / "export")
    status, report, error = check(export, tmp_path / "data", capsys)
    assert (status, report, error.count("\n")) == (3, {}, 1)
    assert "nothing compared: 0 images, 9 artifacts; parity is not proven" in error
    assert read_manifest(export).parity is None


@one_variant
def test_no_artifacts_prove_nothing(
    export_dir: Path, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = copy_with_only(export_dir, tmp_path / "export", "none of them")
    status, report, error = check(export, data_dir, capsys)
    assert (status, report, error.count("\n")) == (3, {}, 1)
    assert "nothing compared: 60 images, 0 artifacts; parity is not proven" in error


@one_variant
@pytest.mark.parametrize("file", ["classifier.onnx", "decoder.pt2", "weights.safetensors", "model.json", "golden.npz"])
def test_a_truncated_file_is_told_by_its_checksum(
    export_dir: Path, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    export = copy_with_only(export_dir, tmp_path / "export")
    (export / file).write_bytes((export / file).read_bytes()[:-10])
    status, report, error = check(export, data_dir, capsys)
    assert (status, report, error.count("\n")) == (1, {}, 1)
    assert f"{file} is damaged: SHA-256" in error


@one_variant
def test_images_of_another_shape_are_refused(
    export_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_data_directory(tmp_path / "data", tiny_source(size=5), None, None, None, seed=0)
    status, report, error = check(copy_with_only(export_dir, tmp_path / "export"), tmp_path / "data", capsys)
    assert (status, report, error.count("\n")) == (1, {}, 1)
    assert "the model takes images (1, 6, 6), the data's are (1, 5, 5)" in error


def verify(export_dir: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run `aae verify`; the exit status, standard output and standard error."""
    status = run(["verify", str(export_dir)])
    return status, *capsys.readouterr()


@one_variant
def test_verify_names_the_files_that_nothing_verifies(
    export_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = Path(shutil.copytree(export_dir, tmp_path / "export"))
    (export / "classifier.image.onnx").write_bytes(b"of an earlier export")
    status, output, _ = verify(export, capsys)
    assert status == 0
    assert "not verified, since manifest.json does not list them: classifier.image.onnx" in output
    assert run(["verify", str(export), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unlisted"] == ["classifier.image.onnx"]


def test_an_export_that_came_from_elsewhere_gives_its_golden_vectors_again(
    export_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = shutil.copytree(export_dir, tmp_path / "elsewhere")
    before = {path.name: path.read_bytes() for path in elsewhere.iterdir()}
    status, output, _ = verify(elsewhere, capsys)
    assert status == 0
    assert "every checksum holds, and all 16 replays give the golden vectors" in output  # weights, compiled, files
    assert {path.name: path.read_bytes() for path in elsewhere.iterdir()} == before


@one_variant
@pytest.mark.usefixtures("without_compiling")
def test_golden_vectors_tell_a_file_that_was_changed_though_its_checksum_is_right(
    export_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = copy_with_only(export_dir, tmp_path / "export", "classifier.onnx")
    model = onnx.load(export / "classifier.onnx")
    set_bias(model, 1e-2)
    onnx.save(model, export / "classifier.onnx")
    rerecord(export)
    status, _, error = verify(export, capsys)
    assert (status, error.count("\n")) == (3, 1)
    assert "first classifier.onnx on onnxruntime: probabilities differs by" in error


@one_variant
@pytest.mark.usefixtures("without_compiling")
def test_golden_vectors_tell_weights_that_were_changed(
    export_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = copy_with_only(export_dir, tmp_path / "export", "classifier.onnx")
    weights = load_file(export / "weights.safetensors")
    weights["encoder.y_head.bias"][0] += 0.01
    save_file(weights, export / "weights.safetensors")
    rerecord(export)
    status, _, error = verify(export, capsys)
    assert status == 3
    assert "first weights.safetensors on eager: probabilities differs by" in error


@one_variant
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("classifier.output.label", lambda a: a.astype(np.int32)),
        ("decoder.input.z", lambda a: a[:, :1]),
        ("encoder.output.y", lambda a: a[1:]),
        ("classifier.input.images", lambda a: a[:0]),
        ("encoder.output.z", None),
    ],
)
def test_golden_vectors_of_another_model_are_refused(
    export_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, change: Callable[[Any], Any] | None
) -> None:
    export = copy_with_only(export_dir, tmp_path / "export", "classifier.onnx")
    with np.load(export / "golden.npz") as content:
        vectors = dict(content)
    values = vectors.pop(name)
    np.savez(export / "golden.npz", **vectors, **({} if change is None else {name: change(values)}))
    rerecord(export)
    status, _, error = verify(export, capsys)
    assert (status, error.count("\n")) == (1, 1)
    assert "golden.npz has no vectors" in error


@one_variant
def test_golden_vectors_that_are_no_npz_are_refused(
    export_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = copy_with_only(export_dir, tmp_path / "export", "classifier.onnx")
    np.save(export / "golden.npy", np.array([{}], dtype=object), allow_pickle=True)
    (export / "golden.npy").rename(export / "golden.npz")
    rerecord(export)
    status, _, error = verify(export, capsys)
    assert (status, error.count("\n")) == (1, 1)
    assert "golden.npz is damaged or not npz" in error


@one_variant
def test_an_export_without_artifacts_is_not_verified(
    export_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, error = verify(copy_with_only(export_dir, tmp_path / "export", "none of them"), capsys)
    assert (status, error.count("\n")) == (3, 1)
    assert "nothing compared: 0 artifacts; the export is not verified" in error


def test_a_report_is_truthy_only_when_everything_passed() -> None:
    good = Comparison("classifier.onnx", "onnxruntime", "cpu", passed=True)
    bad = Comparison("classifier.onnx", "onnxruntime", "cpu")

    def report(n: int, *results: Comparison) -> ParityReport:
        return ParityReport(n, "test", (1,), 1e-4, None, list(results))

    assert good
    assert not bad
    assert report(1, good, good)
    assert not any([report(1), report(0, good), report(1, bad), report(1, good, bad)])
    assert report(1, good).to_json()["passed"] is True
    assert report(0, good).to_json()["passed"] is False
    assert asdict(good).keys() == RESULT_KEYS


def test_the_error_of_a_refusal_has_its_own_exit_status() -> None:
    assert ParityError("no").exit_status == 3


@one_variant
@pytest.mark.usefixtures("without_compiling")
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("aae.class_names", '["row_1", "row_0", "row_2"]'),
        ("aae.class_names", None),
        ("aae.artifact", "encoder"),
        ("aae.contract", "{}"),
    ],
)
def test_a_file_that_names_its_classes_otherwise_is_refused_though_it_computes_the_same(
    export_dir: Path, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str, value: str | None
) -> None:
    export = copy_with_only(export_dir, tmp_path / "export", "classifier.onnx")
    model = onnx.load(export / "classifier.onnx")
    kept = {entry.key: entry.value for entry in model.metadata_props if entry.key != key}
    onnx.helper.set_model_props(model, kept | ({} if value is None else {key: value}))
    onnx.save(model, export / "classifier.onnx")
    rerecord(export)
    status, report, error = check(export, data_dir, capsys)
    assert status == 3
    assert error.count("\n") == 1
    assert f"its metadata say {key} is {value}, the model's is" in report["results"][0]["reason"]
    assert run(["verify", str(export)]) == 3


def flip_margins(found: int, label_alone: bool = False) -> tuple[float, float]:
    y = np.array([[0.5, 0.48, 0.02]], np.float32)
    expected: dict[ArtifactName, Tensors] = {"encoder": {"y": y}, "classifier": {"category": np.array([0])}}
    case = Case("images", {}, expected, (1,), whole=True)
    return _margins(case, 0, 0 if label_alone else found)


def test_a_margin_is_to_the_category_that_was_found() -> None:
    assert flip_margins(1) == pytest.approx((0.02, np.log(0.5 / 0.48)), abs=1e-6)
    assert flip_margins(2) == pytest.approx((0.48, np.log(0.5 / 0.02)), abs=1e-6)


def test_where_the_label_alone_differs_or_there_is_no_such_category_no_rounding_explains_it() -> None:
    for margin, logit_margin in (flip_margins(0, label_alone=True), flip_margins(7), flip_margins(-1)):
        assert margin == pytest.approx(0.5)
        assert 80 < logit_margin < 90
