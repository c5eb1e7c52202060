import json
from pathlib import Path

import pytest
import torch
from exports import copy_with_only, one_variant, replace_artifact
from torch import Tensor, nn

from aae_toolkit import bench as bench_module
from aae_toolkit.backends.base import BackendName
from aae_toolkit.bench import BenchReport, Effort, bench, parse_sizes
from aae_toolkit.cli.app import run
from aae_toolkit.errors import AaeError, ParityError, UsageError
from aae_toolkit.export.contract import Format
from aae_toolkit.export.writer import load_exported
from aae_toolkit.progress import Silent

ONCE = Effort(rounds=1, seconds=0, iterations=1)
QUICK: tuple[BackendName, ...] = ("eager", "torchscript", "torch-export", "onnxruntime")
KEYS = {
    *("backend", "artifact", "precision", "device", "batch_size", "threads"),
    *("images_per_second", "latency_ms", "speedup_over_eager"),
}


def measure(
    export_dir: Path,
    backends: tuple[BackendName, ...] = QUICK,
    batch_sizes: tuple[int, ...] = (1,),
    threads: tuple[int, ...] = (1,),
    effort: Effort = ONCE,
) -> BenchReport:
    return bench(export_dir, batch_sizes, threads, backends, effort=effort, progress=Silent())


def test_every_cell_has_every_backend_with_the_contract_s_keys(export_dir: Path) -> None:
    threads_before = torch.get_num_threads()
    report = measure(export_dir, batch_sizes=(1, 3), threads=(1, 2)).to_json()
    assert torch.get_num_threads() == threads_before
    assert {"python", "cpu", "cores", "versions"} <= report["environment"].keys()
    assert [(r["threads"], r["batch_size"], r["backend"]) for r in report["results"]] == [
        (t, b, backend) for t in (1, 2) for b in (1, 3) for backend in QUICK
    ]
    for result in report["results"]:
        assert result.keys() >= KEYS
        assert (result["precision"], result["device"].split()[0]) == ("fp32", "cpu")
        assert result["latency_ms"].keys() == {"p50", "p90", "p95", "p99"}
        assert len(result["samples_ms"]) == 1
        assert result["images_per_second"] == pytest.approx(1000 * result["batch_size"] / result["samples_ms"][0])
        assert (result["speedup_over_eager"] == 1) or result["backend"] != "eager"
    json.dumps(report, allow_nan=False)


@one_variant
def test_percentiles_come_from_all_the_samples_that_are_kept(export_dir: Path) -> None:
    effort = Effort(rounds=3, seconds=0, iterations=4)
    for measurement in measure(export_dir, ("eager", "onnxruntime"), effort=effort).results:
        latency, samples = measurement.latency_ms, sorted(measurement.samples_ms)
        assert len(samples) == 12
        assert samples[0] <= latency["p50"] <= latency["p90"] <= latency["p95"] <= latency["p99"] <= samples[-1]
        assert latency["p50"] == pytest.approx((samples[5] + samples[6]) / 2)


@one_variant
def test_the_compiled_model_is_measured_too(export_dir: Path) -> None:
    results = measure(export_dir, ("eager", "compiled")).results
    assert [(r.backend, r.artifact) for r in results] == [
        ("eager", "weights.safetensors"),
        ("compiled", "weights.safetensors"),
    ]


@one_variant
def test_without_eager_there_is_no_speed_to_compare_with(export_dir: Path) -> None:
    (result,) = measure(export_dir, ("onnxruntime",)).results
    assert result.speedup_over_eager is None


@one_variant
def test_backends_without_a_file_are_left_out_and_none_left_is_wrong_usage(export_dir: Path, tmp_path: Path) -> None:
    export = copy_with_only(export_dir, tmp_path / "export", "classifier.onnx")
    assert [r.backend for r in measure(export).results] == ["eager", "onnxruntime"]
    with pytest.raises(UsageError, match="has no file for torchscript, torch-export; export those formats"):
        measure(export, ("torchscript", "torch-export"))


class Doubtful(nn.Module):
    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        label, probabilities, category = self.classifier(images)
        return label, probabilities * 0.99, category


@one_variant
@pytest.mark.parametrize("backends", ["eager,onnxruntime", "onnxruntime"])
def test_a_backend_with_other_outputs_is_refused_before_anything_is_timed(
    export_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    backends: str,
) -> None:
    monkeypatch.setattr(bench_module, "_time", lambda *_: pytest.fail("timed"))
    export = copy_with_only(export_dir, tmp_path / "export", "classifier.onnx")
    replace_artifact(export, "classifier", Format.ONNX, Doubtful(load_exported(export).deployed()["classifier"]))
    output = tmp_path / "bench.json"
    flags = ["--export-dir-path", str(export), "--backends", backends, "--output", str(output)]
    assert run(["bench", *flags]) == ParityError.exit_status == 3
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "onnxruntime gives probabilities that differ by 0.0" in error
    assert not output.exists()


class Fixed:
    """A backend that takes no other batch than 2, and gives what it is told to."""

    name, artifact, device = "onnxruntime", "classifier.onnx", "cpu"

    def __init__(self, outputs: dict[str, object]) -> None:
        self.outputs = outputs

    def run(self, feeds: dict[str, object]) -> dict[str, object]:
        if len(feeds["images"]) != 2:  # type: ignore[arg-type]
            raise RuntimeError("Got invalid dimensions\n Expected: 2")
        return self.outputs

    def close(self) -> None:
        pass


@one_variant
def test_a_backend_that_does_not_run_or_names_other_outputs_is_refused(
    export_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens = bench_module.open_backend
    monkeypatch.setattr(
        bench_module, "open_backend", lambda d, r, **k: opens(d, r, **k) if r.backend == "eager" else Fixed({})
    )
    with pytest.raises(
        AaeError, match=r"cannot run classifier\.onnx at batch size 1: Got invalid dimensions Expected: 2"
    ):
        measure(export_dir, ("onnxruntime",))
    with pytest.raises(ParityError, match=r"gives no probabilities of shape \(2, 3\)"):
        measure(export_dir, ("onnxruntime",), batch_sizes=(2,))


@one_variant
def test_a_damaged_export_is_not_measured(export_dir: Path, tmp_path: Path) -> None:
    export = copy_with_only(export_dir, tmp_path / "export")
    (export / "classifier.pt2").write_bytes(b"")
    with pytest.raises(AaeError, match=r"classifier\.pt2 is damaged: SHA-256"):
        measure(export, ("eager",))


@one_variant
def test_the_command_prints_a_table_and_writes_the_report(
    export_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "bench.json"
    flags = ["--batch-sizes", "1,2", "--threads", "1", "--backends", "eager,torchscript", "--output", str(output)]
    assert run(["bench", "--export-dir-path", str(export_dir), *flags]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "torchscript" in printed.out
    assert "1.00x" in printed.out
    report = json.loads(output.read_text())
    assert report.keys() >= {"environment", "results"}
    assert len(report["results"]) == 4


@one_variant
@pytest.mark.parametrize(
    ("flags", "status", "said"),
    [
        (["--backends", "tensorrt"], 2, "choose from eager"),
        (["--batch-sizes", "0"], 2, "--batch-sizes '0': give positive whole numbers"),
        (["--batch-sizes", "1,x"], 2, "--batch-sizes '1,x'"),
        (["--batch-sizes", ""], 2, "--batch-sizes ''"),
        (["--threads", "-1"], 2, "--threads '-1'"),
        (["--threads", "1.5"], 2, "--threads '1.5'"),
        (["--device", "banana"], 2, "--device banana is no device"),
        (
            ["--backends", "eager", "--batch-sizes", "1", "--threads", "1", "--output", "/dev/null/x.json"],
            1,
            "--output",
        ),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    export_dir: Path, capsys: pytest.CaptureFixture[str], flags: list[str], status: int, said: str
) -> None:
    assert run(["bench", "--export-dir-path", str(export_dir), *flags]) == status
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error


def test_sizes_are_read_in_their_order() -> None:
    assert parse_sizes("--batch-sizes", "256, 1") == (256, 1)
