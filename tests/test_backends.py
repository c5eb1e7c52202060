import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx  # noqa: TID253  (the rule keeps the package quick to import)
import onnxruntime
import pytest
import torch
from builds import Builds
from exports import copy_with_only, one_variant, unverified

from aae_toolkit.backends import registry
from aae_toolkit.backends.onnx_reference import OnnxReferenceBackend
from aae_toolkit.backends.onnxruntime_backend import OnnxRuntimeBackend
from aae_toolkit.backends.protocol import BackendName, Runnable
from aae_toolkit.backends.registry import ARBITER, BACKENDS, is_for, open_backend, parse_backends, runnables
from aae_toolkit.cli.app import run
from aae_toolkit.config import Variant
from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.errors import AaeError, DeviceError, UsageError
from aae_toolkit.export.card import model_card
from aae_toolkit.export.contract import ARTIFACTS, ArtifactName, Contract, Format, Tensors, contract_of
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.export.formats import write_artifact
from aae_toolkit.export.manifest import ArtifactEntry, read_manifest
from aae_toolkit.files import sha256
from aae_toolkit.models.description import read_description
from aae_toolkit.parity.check import check_parity
from aae_toolkit.parity.files import WAYS
from aae_toolkit.predict.classifier_file import ClassifierFile
from aae_toolkit.progress import Silent

QUICK: tuple[BackendName, ...] = ("eager", "torchscript", "torch-export", "onnxruntime")  # compiling takes seconds
PORTABLE = tuple(name for name in BACKENDS if name != "aoti")  # compiled for one machine, and not exported unasked


def offered(export_dir: Path, artifact: ArtifactName) -> list[Runnable]:
    return runnables(ExportDirectory.open(export_dir), artifact)


def runnable_on(export_dir: Path, backend: BackendName, artifact: ArtifactName = "classifier") -> Runnable:
    return next(r for r in offered(export_dir, artifact) if r.backend == backend)


def feeds_for(contract: Contract, n: int) -> Tensors:
    rng = np.random.default_rng(n)
    feeds = {}
    for spec in contract.inputs:
        shape = (n, *(int(size) for size in spec.shape[1:]))
        uint8 = spec.dtype == "uint8"
        feeds[spec.name] = rng.integers(0, 256, shape, np.uint8) if uint8 else rng.random(shape, np.float32)
    return feeds


@pytest.mark.parametrize("batch_size", [1, 2, 7])
@pytest.mark.parametrize("backend", QUICK)
@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_every_backend_keeps_the_contract_at_any_batch_size(
    export_dir: Path, artifact: ArtifactName, backend: BackendName, batch_size: int
) -> None:
    contract = contract_of(artifact, read_description(export_dir))
    opened = open_backend(ExportDirectory.open(export_dir), runnable_on(export_dir, backend, artifact))
    assert opened.name == backend
    assert opened.artifact == runnable_on(export_dir, backend, artifact).file
    assert opened.input_names == contract.input_names
    assert opened.device.startswith("cpu")
    outputs = opened.run(feeds_for(contract, batch_size))
    assert list(outputs) == contract.output_names
    for spec in contract.outputs:
        assert outputs[spec.name].dtype == spec.dtype
        assert outputs[spec.name].shape == (batch_size, *spec.shape[1:])
    for name in {"probabilities", "y"} & outputs.keys():
        np.testing.assert_allclose(outputs[name].sum(axis=1), 1, atol=1e-5)
    if artifact == "decoder":
        assert 0 <= outputs["images"].min() <= outputs["images"].max() <= 1
    opened.close()


@one_variant
def test_the_reference_comes_first_and_files_that_were_not_exported_are_not_offered(
    export_dir: Path, tmp_path: Path
) -> None:
    assert tuple(r.backend for r in offered(export_dir, "classifier")) == PORTABLE
    only = copy_with_only(export_dir, tmp_path / "export", "classifier.onnx")
    assert [r.backend for r in offered(only, "classifier")] == ["eager", "compiled", "onnxruntime"]
    assert [r.backend for r in offered(only, "encoder")] == ["eager", "compiled"]


@one_variant
@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "absent", "another format"])
@pytest.mark.parametrize("backend", QUICK)
def test_a_damaged_artifact_is_one_line(
    export_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], backend: BackendName, damage: str
) -> None:
    export = copy_with_only(export_dir, tmp_path / "export")
    runnable = runnable_on(export, backend)
    path = export / runnable.file
    contents = {
        "truncated": path.read_bytes()[: path.stat().st_size // 2],
        "empty": b"",
        "garbage": b"garbage\0" * 100,
        "another format": (export / "golden.npz").read_bytes(),
    }
    path.write_bytes(contents.get(damage, b""))
    if damage == "absent":
        path.unlink()
    with pytest.raises(AaeError) as caught:
        open_backend(ExportDirectory.open(export), runnable)
    assert runnable.file in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


@one_variant
def test_a_pt2_archive_damaged_inside_is_one_line(export_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails_like_its_deserializer(path: Path) -> None:
        raise TypeError("Node.__init__() missing 1 required positional argument: 'metadata'")

    monkeypatch.setattr(torch.export, "load", fails_like_its_deserializer)
    with pytest.raises(AaeError, match=r"is damaged or not a torch\.export archive"):
        open_backend(ExportDirectory.open(export_dir), runnable_on(export_dir, "torch-export"))


@one_variant
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
@pytest.mark.parametrize("backend", PORTABLE)
def test_cuda_where_there_is_none_is_said_and_never_replaced_by_the_cpu(
    export_dir: Path, backend: BackendName, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DeviceError, match=r"CUDA|cuda") as caught:
        open_backend(ExportDirectory.open(export_dir), runnable_on(export_dir, backend), device="cuda")
    assert caught.value.exit_status == 5
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def pretend_cuda(monkeypatch: pytest.MonkeyPatch, names: Callable[[object], list[str]]) -> None:
    """ONNX Runtime that is asked for CUDA and runs on the CPU."""
    session = onnxruntime.InferenceSession

    class Pretender:
        def __init__(self, path: str, options: onnxruntime.SessionOptions, **_: object) -> None:
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "0")
            self.live = session(path, options, providers=["CPUExecutionProvider"])
            self.get_provider_graph_assignment_info = self.live.get_provider_graph_assignment_info

        def get_providers(self) -> list[str]:
            return names(self.live)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Pretender)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)


@one_variant
@pytest.mark.parametrize(
    ("names", "said"),
    [
        (lambda live: live.get_providers(), "asked for CUDAExecutionProvider, ONNX Runtime runs CPUExecutionProvider"),
        (
            lambda _: ["CUDAExecutionProvider", "CPUExecutionProvider"],
            "asked for CUDAExecutionProvider, but of 13 nodes 13 on CPUExecutionProvider",
        ),
    ],
)
def test_a_cpu_session_passed_off_as_cuda_is_refused(
    export_dir: Path,
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    names: Callable[[object], list[str]],
    said: str,
) -> None:
    export = copy_with_only(export_dir, tmp_path / "export", "classifier.onnx")
    monkeypatch.setattr(registry, "WEIGHTS_BACKENDS", ("eager",))
    pretend_cuda(monkeypatch, names)
    flags = ["--export", str(export), "--data", str(data_dir), "--device", "cuda"]
    assert run(["parity", *flags]) == DeviceError.exit_status == 5
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error


@one_variant
def test_onnx_runtime_says_how_many_nodes_each_provider_runs(export_dir: Path) -> None:
    backend = OnnxRuntimeBackend(export_dir / "classifier.onnx")
    assert list(backend.nodes) == ["CPUExecutionProvider"]
    assert backend.nodes["CPUExecutionProvider"] >= 5


@one_variant
def test_a_gpu_beyond_those_there_is_said(export_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(DeviceError, match="--device cuda:3 asked for, 1 CUDA devices found"):
        open_backend(ExportDirectory.open(export_dir), runnable_on(export_dir, "eager"), device="cuda:3")


@one_variant
@pytest.mark.parametrize("device", ["banana", "auto", "cuda:x", "cuda:-1", "", "mps"])
@pytest.mark.parametrize("backend", ["eager", "onnxruntime"])
def test_a_device_that_is_none_is_wrong_usage(export_dir: Path, backend: BackendName, device: str) -> None:
    with pytest.raises(UsageError, match="choose cpu, cuda or cuda:<index>"):
        open_backend(ExportDirectory.open(export_dir), runnable_on(export_dir, backend), device=device)


@one_variant
def test_threads_are_those_asked_for(export_dir: Path) -> None:
    before = torch.get_num_threads()
    try:
        open_backend(ExportDirectory.open(export_dir), runnable_on(export_dir, "eager"), threads=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    opened = OnnxRuntimeBackend(export_dir / "classifier.onnx", threads=1)
    assert opened._session.get_session_options().intra_op_num_threads == 1


@one_variant
def test_weights_that_are_not_laid_out_anew_give_the_same_to_rounding(export_dir: Path) -> None:
    path = export_dir / "classifier.onnx"
    feeds = feeds_for(contract_of("classifier", read_description(export_dir)), 64)
    packed, plain = (OnnxRuntimeBackend(path, prepacked=prepacked).run(feeds) for prepacked in (True, False))
    np.testing.assert_array_equal(plain["label"], packed["label"])
    np.testing.assert_allclose(plain["probabilities"], packed["probabilities"], atol=1e-6)


@one_variant
def test_onnx_runtime_runs_without_torch_being_imported(export_dir: Path) -> None:
    code = f"""
import sys
import numpy as np
from pathlib import Path
from aae_toolkit.backends.onnx_reference import OnnxReferenceBackend
from aae_toolkit.predict.classifier_file import ClassifierFile
classifier = ClassifierFile(Path({str(export_dir / "classifier.onnx")!r}))
outputs = classifier.run(np.zeros((3, 1, 6, 6), np.uint8))
assert outputs["label"].shape == (3,) and classifier.class_names == ["row_0", "row_1", "row_2"]
assert not {{"torch", "onnx"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@one_variant
@pytest.mark.parametrize("metadata", [{}, {"aae.class_names": "{"}, {"aae.class_names": "null"}])
def test_a_classifier_that_names_no_classes_is_damaged(
    export_dir: Path, tmp_path: Path, metadata: dict[str, str]
) -> None:
    model = onnx.load(export_dir / "classifier.onnx")
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {"aae.artifact": "classifier", **metadata})
    onnx.save(model, tmp_path / "classifier.onnx")
    with pytest.raises(AaeError, match="it names no classes"):
        ClassifierFile(tmp_path / "classifier.onnx")


def test_backends_are_chosen_by_name_in_the_table_s_order() -> None:
    assert parse_backends(None) == BACKENDS
    assert parse_backends(" onnxruntime, eager") == ("eager", "onnxruntime")


@pytest.mark.parametrize("names", ["", ",", "tensorrt", "eager,tensorrt"])
def test_an_unknown_backend_is_refused_with_the_names_there_are(names: str) -> None:
    with pytest.raises(UsageError, match="choose from eager, compiled, torchscript, torch-export, aoti, onnxruntime"):
        parse_backends(names)


@one_variant
def test_without_a_compiler_the_compiled_backend_is_left_out(export_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    names = [r.backend for r in runnables(ExportDirectory.open(export_dir), "classifier")]
    assert names == ["eager", "torchscript", "torch-export", "onnxruntime"]


@one_variant
@pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler here")
def test_the_compiled_model_varies_in_its_batch_alone(export_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export = ExportDirectory.open(export_dir)
    shapes: list[list[bool]] = []

    def compiling(graph: torch.fx.GraphModule, inputs: object) -> Callable[..., object]:
        given = [node.meta["example_value"] for node in graph.graph.nodes if node.op == "placeholder"]
        [images] = (one for one in given if isinstance(one, torch.Tensor) and one.dtype == torch.uint8)
        shapes.append([isinstance(side, torch.SymInt) for side in images.shape])
        return graph

    compile_module = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda module, **options: compile_module(module, backend=compiling, **options)
    )
    images = np.zeros((9, *export.description.architecture.image_shape), np.uint8)
    with open_backend(export, runnable_on(export_dir, "compiled")) as backend:
        for n in (1, 2, 5, 9):
            assert len(backend.run({"images": images[:n]})["label"]) == n
    assert shapes == [[False] * 4, [True, False, False, False]]  # a batch of one is a case of its own


def add_package(export_dir: Path, path: Path) -> None:
    copy_with_only(export_dir, path, "classifier.onnx")
    manifest, contract = read_manifest(path), contract_of("classifier", read_description(path))
    package = path / "classifier.aoti.pt2"
    module = ExportDirectory.open(path).module("classifier")
    facts = write_artifact(Format.AOTI, module, contract, package, {"aae.artifact": "classifier"})
    entry = ArtifactEntry(
        file=package.name, artifact="classifier", format=Format.AOTI, contract=contract, size_bytes=1, **facts
    )
    checksums = manifest.sha256 | {package.name: sha256(package)}
    manifest.model_copy(update={"artifacts": (*manifest.artifacts, entry), "sha256": checksums}).save(path)


@pytest.fixture
def compiled_export(variant: Variant, export_dir: Path, builds: Builds, tmp_path: Path) -> Path:
    """A copy of an export with an AOTInductor package of the classifier beside its ONNX file."""
    built = builds.get(f"{variant}-aoti", lambda path: add_package(export_dir, path / "export"))
    return Path(shutil.copytree(built / "export", tmp_path / "compiled"))


@one_variant
def test_an_aotinductor_package_is_the_same_classifier_and_says_what_it_was_compiled_for(
    compiled_export: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "WEIGHTS_BACKENDS", ("eager",))
    entry = read_manifest(compiled_export).artifacts[-1]
    assert entry.compiled_for is not None
    assert entry.compiled_for.startswith(f"cpu, {platform.machine()}")
    card = model_card(read_description(compiled_export), read_manifest(compiled_export))
    assert f"`{entry.file}` (runs on {entry.compiled_for} only)" in card
    report = check_parity(
        ExportDirectory.open(compiled_export), DataDirectory(data_dir).load("test"), "test", progress=Silent()
    )
    assert [r.backend for r in report.results if r.backend not in WAYS] == ["aoti", "onnxruntime", "onnx-reference"]
    assert report


@one_variant
def test_an_aotinductor_package_for_another_processor_is_refused_before_its_code_is_loaded(
    compiled_export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch._inductor, "aoti_load_package", lambda *_, **__: pytest.fail("loaded"))
    monkeypatch.setattr("torch._inductor.cpu_vec_isa.valid_vec_isa_list", list)
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(DeviceError, match=r"classifier\.aoti\.pt2 was compiled for cpu, .*; this is cpu, riscv64"):
        open_backend(ExportDirectory.open(compiled_export), runnable_on(compiled_export, "aoti"))


@one_variant
@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_a_damaged_aotinductor_package_is_one_line(
    compiled_export: Path, tmp_path: Path, content: bytes | None, capfd: pytest.CaptureFixture[str]
) -> None:
    export = copy_with_only(compiled_export, tmp_path / "export")
    path = export / "classifier.aoti.pt2"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content is None else content)
    with pytest.raises(AaeError, match=r"classifier\.aoti\.pt2 is damaged or not an AOTInductor package"):
        open_backend(unverified(export), runnable_on(compiled_export, "aoti"))
    assert capfd.readouterr().err == ""


@one_variant
def test_files_are_offered_where_they_run(compiled_export: Path) -> None:
    manifest = read_manifest(compiled_export)
    onnx_file, package = manifest.artifacts
    assert [is_for(onnx_file, device) for device in ("cpu", "cuda", "cuda:1")] == [True, True, True]
    assert [is_for(package, device) for device in ("cpu", "cuda", "cuda:1")] == [True, False, False]
    int8 = onnx_file.model_copy(update={"precision": "int8"})
    assert [is_for(int8, device) for device in ("cpu", "cuda")] == [True, False]
    assert "aoti" not in [r.backend for r in runnables(unverified(compiled_export), "classifier", "cuda")]


@one_variant
@pytest.mark.parametrize("name", ["../../escaped", "/escaped", "c/../../escaped"])
def test_an_aotinductor_package_that_would_be_unpacked_elsewhere_is_refused(
    compiled_export: Path, tmp_path: Path, name: str
) -> None:
    export = copy_with_only(compiled_export, tmp_path / "export")
    with zipfile.ZipFile(export / "classifier.aoti.pt2", "a") as package:
        package.writestr(name, "escaped")
    with pytest.raises(AaeError, match="leads outside of it; it cannot be trusted"):
        open_backend(unverified(export), runnable_on(compiled_export, "aoti"))


def with_external_data(directory: Path, location: str) -> Path:
    """An ONNX file that adds what lies at `location` to its input."""
    weights = onnx.TensorProto(name="w", data_type=1, dims=[4], data_location=onnx.TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        weights.external_data.add(key=key, value=value)
    x, y = (onnx.helper.make_tensor_value_info(name, 1, [4]) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [weights])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    path = directory / "classifier.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("location", ["../secret", "ABSOLUTE", "link"])
@pytest.mark.parametrize("backend", [OnnxRuntimeBackend, OnnxReferenceBackend])
def test_onnx_whose_weights_lie_outside_its_directory_is_refused(
    tmp_path: Path, backend: Callable[[Path], object], location: str
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    np.arange(4, dtype=np.float32).tofile(tmp_path / "secret")
    (inside / "link").symlink_to("../secret")
    (inside / "own").write_bytes((tmp_path / "secret").read_bytes())
    backend(with_external_data(inside, "own"))  # the file itself is right
    path = with_external_data(inside, str(tmp_path / "secret") if location == "ABSOLUTE" else location)
    with pytest.raises(AaeError, match=r"classifier\.onnx is ") as caught:
        backend(path)
    assert "\n" not in str(caught.value)


@one_variant
@pytest.mark.parametrize("artifact", ["classifier", "decoder"])
@pytest.mark.parametrize("backend", [*QUICK, ARBITER])
def test_a_bound_run_gives_what_an_unbound_one_does(
    export_dir: Path, artifact: ArtifactName, backend: BackendName
) -> None:
    file = f"{artifact}.onnx" if backend == ARBITER else runnable_on(export_dir, backend, artifact).file
    opened = open_backend(ExportDirectory.open(export_dir), Runnable(artifact, backend, file), threads=1)
    feeds, others = (feeds_for(contract_of(artifact, read_description(export_dir)), n) for n in (3, 5))
    bound, bound_too = opened.bind(feeds), opened.bind(others)
    for _ in range(2):
        bound.run()
        bound_too.run()
        for given, wanted in ((bound.outputs(), opened.run(feeds)), (bound_too.outputs(), opened.run(others))):
            assert list(given) == list(wanted)
            for name, values in wanted.items():
                np.testing.assert_array_equal(given[name], values)
    opened.close()
