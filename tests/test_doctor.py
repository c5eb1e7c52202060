import json
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import onnxruntime
import pytest
import torch

from aae_toolkit.cli.app import run
from aae_toolkit.machine import doctor
from aae_toolkit.machine.environment import installed_versions


def diagnosed(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any], str]:
    status = run(["doctor", "--json"])
    printed = capsys.readouterr()
    return status, json.loads(printed.out), printed.err


def without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name == package else find_spec(name))


def test_it_says_what_this_machine_has(capsys: pytest.CaptureFixture[str]) -> None:
    status, found, error = diagnosed(capsys)
    assert (status, error, found["problems"]) == (0, "", [])
    assert found["environment"]["versions"] == installed_versions()
    assert found["environment"]["versions"]["torch"].startswith(torch.__version__.partition("+")[0])
    assert found["environment"]["cores"] >= 1
    assert "threads" in found["torch_devices"]["cpu"]
    assert set(found["onnxruntime_providers"]) == set(onnxruntime.get_available_providers())
    assert found["onnxruntime_providers"]["CPUExecutionProvider"] == "loads"


def test_a_provider_that_is_offered_but_does_not_load_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    for provider, finding in diagnosed(capsys)[1]["onnxruntime_providers"].items():
        if provider in ("CUDAExecutionProvider", "TensorrtExecutionProvider") and not torch.cuda.is_available():
            assert finding.startswith("does not load")


def test_people_get_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    printed = capsys.readouterr().out
    for fact in ("platform", "numpy", "torch cpu", "CPUExecutionProvider", "no problem found"):
        assert fact in printed


def test_both_packages_of_onnx_runtime_are_a_problem(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    both = {"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.31.1"}
    monkeypatch.setattr(doctor, "installed_versions", lambda: both)
    status, found, error = diagnosed(capsys)
    assert (status, len(found["problems"]), error.count("\n")) == (1, 1, 1)
    assert "onnxruntime and onnxruntime-gpu are both installed" in error
    assert run(["doctor"]) == 1
    assert "1 problems found" in capsys.readouterr().out


def test_without_torch_it_runs_and_says_what_brings_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without(monkeypatch, "torch")
    status, found, _ = diagnosed(capsys)
    assert (status, found["problems"]) == (0, [])
    assert found["torch_devices"] == {"torch": 'not installed; training needs: pip install "aae-toolkit[train,cpu]"'}


def test_where_torch_cannot_be_imported_it_runs_too() -> None:
    code = "import sys; sys.modules['torch'] = None; from aae_toolkit.cli.app import run; sys.exit(run(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, "doctor", "--json"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "not installed" in json.loads(done.stdout)["torch_devices"]["torch"]


def test_without_onnx_runtime_there_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without(monkeypatch, "onnxruntime")
    status, found, error = diagnosed(capsys)
    assert (status, found["onnxruntime_providers"]) == (1, {})
    assert 'predict needs: pip install "aae-toolkit[cpu]"' in error


def test_a_cpu_provider_that_does_not_load_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no such library\nat all")

    monkeypatch.setattr(onnxruntime, "InferenceSession", broken)
    status, found, error = diagnosed(capsys)
    assert (status, error.count("\n")) == (1, 1)
    assert found["onnxruntime_providers"]["CPUExecutionProvider"] == "does not load: no such library"
    assert "CPU provider does not load" in error


def test_a_gpu_that_does_not_run_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: no kernel image\nis available")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch, "ones", broken)
    status, found, error = diagnosed(capsys)
    assert (status, found["torch_devices"]["cuda:0"]) == (1, "does not run")
    assert "cuda:0 is there but does not run: CUDA error: no kernel image is available" in error


def explained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], libraries: tuple[str, ...], torch_cuda: str
) -> tuple[int, dict[str, Any], str]:
    """A machine with these libraries, whose CUDA provider does not load."""
    session = onnxruntime.InferenceSession

    def no_cuda(*arguments: Any, providers: list[str], **options: Any) -> Any:
        if providers == ["CUDAExecutionProvider"]:
            raise RuntimeError("Failed to load library")
        return session(*arguments, providers=providers, **options)

    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "InferenceSession", no_cuda)
    monkeypatch.setattr(doctor, "_loads", libraries.__contains__)
    monkeypatch.setattr(onnxruntime.capi.build_and_package_info, "cuda_version", "13.0", raising=False)
    monkeypatch.setattr(torch.version, "cuda", torch_cuda)
    return diagnosed(capsys)


def test_without_a_driver_cuda_that_does_not_load_is_no_problem(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, found, _ = explained(monkeypatch, capsys, (), "12.8")
    assert (status, found["problems"]) == (0, [])
    assert found["onnxruntime_providers"]["CUDAExecutionProvider"].endswith("no NVIDIA driver is found (libcuda.so.1)")


def test_with_a_driver_the_usual_causes_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, found, error = explained(monkeypatch, capsys, ("libcuda.so.1",), "12.8")
    assert (status, len(found["problems"]), error.count("\n")) == (1, 1, 1)
    assert "ONNX Runtime is built for CUDA 13.0 and torch brings CUDA 12.8; install builds of one major" in error
    assert "cuDNN is not found (libcudnn.so.9)" in error


def test_causes_that_are_not_there_are_not_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, error = explained(monkeypatch, capsys, ("libcuda.so.1", "libcudnn.so.9"), "13.0")
    assert status == 1
    assert "Failed to load library" in error
    assert "cuDNN" not in error
    assert "major" not in error
