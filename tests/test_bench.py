import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import torch
from exports import add_reduced, copy_with_only, one_variant, replace_artifact
from pages import Reader
from refusals import refused
from torch import Tensor, nn

from aae_toolkit.backends.protocol import BackendName
from aae_toolkit.bench import BenchReport, Effort, Measurement, bench
from aae_toolkit.bench import run as run_module
from aae_toolkit.bench.session import Job, Opened, Session
from aae_toolkit.cli.app import run
from aae_toolkit.errors import AaeError, ParityError, UsageError
from aae_toolkit.export.contract import Format, Precision
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.machine.environment import describe_environment, usable_cores
from aae_toolkit.progress import Silent

ONCE = Effort(rounds=1, seconds=0, iterations=1, warm_up_seconds=0, queries=2)
QUICK: tuple[BackendName, ...] = ("eager", "torchscript", "torch-export", "onnxruntime")
KEYS = {
    *("backend", "artifact", "precision", "device", "batch_size", "threads", "images_per_second", "latency_ms"),
    *("speedup_over_eager", "scenario", "io", "rate", "p99_bound_ms", "within_bound", "latency_interval_ms"),
    *("speedup_interval", "stable", "import_seconds", "load_seconds", "first_run_ms", "peak_rss_mib", "file_bytes"),
    *("rounds", "samples_ms"),
}


class InProcess:
    """A worker whose session runs here: what goes over a pipe is tested in test_bench_worker."""

    order: list[str] = []  # noqa: RUF012  (of whose turns came)

    def __init__(self, job: Job) -> None:
        self.session, self.backend = Session(job), job.runnable.backend

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if method is Session.start:
            self.session.load()
            return Opened("cpu", 0.1, 0.2)
        if method is Session.time:
            self.order.append(self.backend)
        return method(self.session, *args, **kwargs)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[InProcess]]:
    """Measure in this process, which costs no start."""
    threads_before = torch.get_num_threads()
    monkeypatch.setattr(run_module, "Worker", InProcess)
    monkeypatch.setattr(InProcess, "order", [])
    yield InProcess
    torch.set_num_threads(threads_before)


@pytest.fixture
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be started."""
    monkeypatch.setattr(run_module, "Worker", lambda job: pytest.fail("a process was started"))


def measure(
    export_dir: Path,
    backends: tuple[BackendName, ...] = QUICK,
    batch_sizes: tuple[int, ...] = (1,),
    threads: tuple[int, ...] = (1,),
    effort: Effort = ONCE,
    **more: Any,
) -> BenchReport:
    export = ExportDirectory.open(export_dir)
    return bench(export, batch_sizes, threads, backends, effort=effort, progress=Silent(), **more)


@pytest.fixture(scope="module")
def report(export_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> BenchReport:
    """Two processes, and everything that can be asked of them."""
    export = copy_with_only(export_dir, tmp_path_factory.mktemp("bench") / "export", "classifier.onnx")
    effort = Effort(rounds=5, seconds=0, iterations=2, warm_up_seconds=0, queries=10)
    ios = ("end-to-end", "bound")
    return measure(export, batch_sizes=(1, 3), ios=ios, server_rates=(5000.0,), p99_ms=1e6, effort=effort)


@one_variant
def test_every_cell_has_every_backend_with_the_contract_s_keys(report: BenchReport) -> None:
    content = report.to_json()
    assert {"python", "cpu", "cores", "versions", "threads", "config_hash"} <= content["environment"].keys()
    cells = [("single-stream", 1, "end-to-end"), ("single-stream", 1, "bound"), ("offline", 3, "end-to-end")]
    cells += [("offline", 3, "bound"), ("server", 1, "end-to-end")]
    assert [((r["scenario"], r["batch_size"], r["io"]), r["backend"]) for r in content["results"]] == [
        (cell, backend) for cell in cells for backend in ("eager", "onnxruntime")
    ]
    for result in content["results"]:
        assert result.keys() >= KEYS
        assert (result["precision"], result["device"].split()[0], result["threads"]) == ("fp32", "cpu", 1)
        assert result["latency_ms"].keys() == {"p50", "p90", "p95", "p99"}
        low, high = result["latency_interval_ms"]
        assert 0 < low <= high
        assert min(result[key] for key in ("import_seconds", "load_seconds", "first_run_ms", "file_bytes")) > 0
    json.dumps(content, allow_nan=False)


@one_variant
def test_raw_samples_are_kept_by_round_and_everything_follows_from_them(report: BenchReport) -> None:
    for m in (m for m in report.results if m.rate is None):
        assert m.rounds == [2] * 5
        assert len(m.samples_ms) == 10
        assert m.images_per_second == pytest.approx(1000 * m.batch_size * 10 / sum(m.samples_ms))
        assert min(m.samples_ms) <= m.latency_ms["p50"] <= m.latency_ms["p99"] <= max(m.samples_ms)
        assert m.medians() == [pytest.approx(sum(m.samples_ms[i : i + 2]) / 2) for i in range(0, 10, 2)]
        if m.is_reference:
            assert (m.speedup_over_eager, m.speedup_interval) == (1, (1, 1))
        else:
            assert m.speedup_interval is not None
            assert m.speedup_interval[0] <= m.speedup_over_eager <= m.speedup_interval[1]


@one_variant
def test_queries_have_a_rate_a_bound_and_no_speed_up(report: BenchReport) -> None:
    served = [m for m in report.results if m.scenario == "server"]
    assert [(m.rate, m.p99_bound_ms, m.within_bound, m.speedup_over_eager) for m in served] == [
        (5000, 1e6, True, None)
    ] * 2
    assert all(m.rounds == [10] * 5 for m in served)
    assert all(m.rate is m.p99_bound_ms is m.within_bound is None for m in report.results if m.scenario != "server")


@one_variant
def test_memory_is_that_of_each_process(report: BenchReport) -> None:
    eager, onnxruntime = (next(m for m in report.results if m.backend == b) for b in ("eager", "onnxruntime"))
    assert 0 < onnxruntime.peak_rss_mib < eager.peak_rss_mib  # torch is not in its process


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, aae_toolkit.bench.worker; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def a_measurement(rounds: list[list[float]], **content: Any) -> Measurement:
    m = Measurement("onnxruntime", "classifier.onnx", "fp32", "cpu", 4, 1, "offline", "end-to-end", **content)
    for samples in rounds:
        m.add_round(samples, sum(samples) / 1000)
    m.summarize()
    return m


def test_a_speed_up_is_paired_by_round_so_that_drift_cancels() -> None:
    drift = [1, 1.5, 2, 3, 4, 6]
    slow = a_measurement([[2 * d, 2 * d, 99] for d in drift])
    fast = a_measurement([[d, d] for d in drift])
    fast.compare_with(slow)
    assert fast.speedup_over_eager == pytest.approx(2)
    assert fast.speedup_interval == pytest.approx((2, 2))
    assert fast.latency_interval_ms[0] < fast.latency_interval_ms[1] - 1  # by itself, drift is noise
    assert fast.differs_from_eager


def test_an_interval_that_spans_one_is_no_difference() -> None:
    eager = a_measurement([[1.0]] * 6)
    other = a_measurement([[value] for value in (0.9, 1.1, 0.95, 1.05, 0.9, 1.1)])
    other.compare_with(eager)
    assert other.speedup_interval[0] < 1 < other.speedup_interval[1]
    assert not other.differs_from_eager


@pytest.mark.parametrize(("bound", "within"), [(9.0, True), (8.0, False), (None, None)])
def test_the_99th_percentile_is_held_against_the_bound(bound: float | None, within: bool | None) -> None:
    assert a_measurement([[1.0] * 98 + [9.0] * 2], p99_bound_ms=bound).within_bound is within


@one_variant
def test_every_backend_is_measured_in_turns_that_change_direction(
    export_dir: Path, in_process: type[InProcess]
) -> None:
    report = measure(export_dir, effort=Effort(rounds=3, seconds=0, iterations=1, warm_up_seconds=0))
    assert [r.backend for r in report.results] == list(QUICK)
    assert in_process.order == [*QUICK, *reversed(QUICK), *QUICK]
    assert all(r.latency_interval_ms is None for r in report.results)  # three rounds are too few


@one_variant
def test_threads_are_measured_in_their_order_each_once(export_dir: Path, in_process: type[InProcess]) -> None:
    results = measure(export_dir, ("onnxruntime",), (2, 1), (2, 1, 2)).results
    assert [(r.threads, r.batch_size) for r in results] == [(2, 2), (2, 1), (1, 2), (1, 1)]


@one_variant
def test_more_threads_than_cores_are_measured_with_one_line_of_warning(
    export_dir: Path, in_process: type[InProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    progress = Silent()
    monkeypatch.setattr(progress, "say", said.append)
    n = usable_cores() + 1
    report = bench(ExportDirectory.open(export_dir), (1,), (1, n), ("onnxruntime",), effort=ONCE, progress=progress)
    assert [r.threads for r in report.results] == [1, n]
    assert said == [f"warning: --threads {n}, but this process may use {n - 1} cores: they compete"]


@one_variant
def test_the_hash_is_of_the_settings_and_the_files(export_dir: Path, tmp_path: Path, in_process: type) -> None:
    def hash_of(export: Path, **settings: Any) -> object:
        return measure(export, ("onnxruntime",), **settings).environment["config_hash"]

    other = copy_with_only(export_dir, tmp_path / "export", "classifier.onnx")
    replace_artifact(other, "classifier", Format.ONNX, ExportDirectory.open(other).module("classifier"))
    add_reduced(other, "int8")
    hashes = [hash_of(export_dir), hash_of(export_dir, batch_sizes=(2,)), hash_of(export_dir, threads=(2,))]
    assert len({*hashes, hash_of(other)}) == 4
    assert hash_of(export_dir) == hashes[0]


@one_variant
def test_the_compiled_model_is_measured_too(export_dir: Path, in_process: type[InProcess]) -> None:
    results = measure(export_dir, ("eager", "compiled")).results
    assert [(r.backend, r.artifact) for r in results] == [
        ("eager", "weights.safetensors"),
        ("compiled", "weights.safetensors"),
    ]


@one_variant
def test_without_eager_there_is_no_speed_to_compare_with(export_dir: Path, in_process: type[InProcess]) -> None:
    (result,) = measure(export_dir, ("onnxruntime",)).results
    assert (result.speedup_over_eager, result.speedup_interval) == (None, None)


@one_variant
def test_backends_without_a_file_are_left_out_and_none_left_is_wrong_usage(
    export_dir: Path, tmp_path: Path, in_process: type[InProcess]
) -> None:
    export = copy_with_only(export_dir, tmp_path / "export", "classifier.onnx")
    assert [r.backend for r in measure(export).results] == ["eager", "onnxruntime"]
    with pytest.raises(UsageError, match="has no file for torchscript, torch-export; export those formats"):
        measure(export, ("torchscript", "torch-export"))


@one_variant
def test_reduced_precisions_are_measured_beside_the_full_one(
    export_dir: Path, tmp_path: Path, in_process: type[InProcess]
) -> None:
    export = copy_with_only(export_dir, tmp_path / "export", "classifier.onnx")
    for precision in ("int8", "fp16"):
        add_reduced(export, precision)  # type: ignore[arg-type]
    results = measure(export).results
    assert [(r.title, r.artifact) for r in results] == [
        ("eager", "weights.safetensors"),
        ("onnxruntime", "classifier.onnx"),
        ("onnxruntime int8", "classifier.int8.onnx"),
        ("onnxruntime fp16", "classifier.fp16.onnx"),
    ]
    assert [r.is_reference for r in results] == [True, False, False, False]


class Doubtful(nn.Module):
    def __init__(self, classifier: nn.Module, factor: float = 0.99) -> None:
        super().__init__()
        self.classifier, self.factor = classifier, factor

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        label, probabilities, category = self.classifier(images)
        return label, probabilities * self.factor, category


@one_variant
@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_a_reduced_file_is_held_to_its_own_gate(
    export_dir: Path, tmp_path: Path, in_process: type[InProcess], precision: Precision
) -> None:
    close, far = (copy_with_only(export_dir, tmp_path / name, "classifier.onnx") for name in ("close", "far"))
    classifier = ExportDirectory.open(export_dir).module("classifier")
    add_reduced(close, precision, Doubtful(classifier, 0.995))  # too far for fp32
    assert measure(close, ("onnxruntime",)).results[-1].precision == precision
    file = add_reduced(far, precision, Doubtful(classifier, 0.9))
    with refused("onnxruntime", file, "probabilities differ by 0.", "(allowed 0.01)", kind=ParityError):
        measure(far, ("onnxruntime",))


@one_variant
def test_golden_vectors_that_are_missing_are_refused(export_dir: Path, tmp_path: Path, no_process: None) -> None:
    export = copy_with_only(export_dir, tmp_path / "export", "classifier.onnx")
    add_reduced(export, "int8")
    (export / "golden.int8.npz").unlink()
    with refused("golden.int8.npz is missing"):
        measure(export)


@one_variant
@pytest.mark.parametrize("backends", ["eager,onnxruntime", "onnxruntime"])
def test_a_backend_with_other_outputs_is_refused_and_nothing_is_reported(
    export_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], backends: str
) -> None:
    export = copy_with_only(export_dir, tmp_path / "export", "classifier.onnx")
    replace_artifact(export, "classifier", Format.ONNX, Doubtful(ExportDirectory.open(export).module("classifier")))
    output = tmp_path / "bench.json"
    flags = ["--export", str(export), "--backends", backends, "--output", str(output)]
    assert run(["bench", *flags]) == ParityError.exit_status == 3
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "onnxruntime gives other outputs for the golden images with classifier.onnx" in printed.err
    assert "probabilities differ by 0.0" in printed.err
    assert not output.exists()


@one_variant
def test_a_damaged_export_is_not_measured(export_dir: Path, tmp_path: Path, no_process: None) -> None:
    export = copy_with_only(export_dir, tmp_path / "export")
    (export / "classifier.pt2").write_bytes(b"")
    with pytest.raises(AaeError, match=r"classifier\.pt2 is damaged: SHA-256"):
        measure(export, ("eager",))


@one_variant
def test_the_command_prints_tables_writes_the_report_and_the_page_and_compares(
    export_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], in_process: type[InProcess]
) -> None:
    output, page = tmp_path / "new" / "bench.json", tmp_path / "new" / "bench.html"
    flags = ["bench", "--export", str(export_dir), "--batch-sizes", "1,2", "--threads", "1", "--rounds", "5"]
    flags += ["--backends", "eager,onnxruntime", "--server-rates", "5000"]
    assert run([*flags, "--output", str(output), "--html", str(page)]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert max(map(len, printed.out.splitlines())) <= 120
    for expected in ("onnxruntime", "1.00x", "loading and memory", "server: one image per query", str(page)):
        assert expected in printed.out
    report = json.loads(output.read_text())
    assert report.keys() >= {"environment", "results"}
    assert len(report["results"]) == 6
    words = Reader(page.read_text()).words
    assert "aae bench --export" in words
    assert f"--server-rates 5000 --output {output}" in words

    for result in report["results"]:
        result["latency_interval_ms"] = [1e6, 1e6]
    earlier = tmp_path / "earlier.json"
    earlier.write_text(json.dumps(report))
    assert run([*flags, "--baseline", str(earlier)]) == 0
    assert f"not slower than {earlier} by more than 10% in any of 6 cells" in capsys.readouterr().out

    report["results"][0]["latency_interval_ms"] = [1e-9, 1e-9]
    earlier.write_text(json.dumps(report))
    output.unlink()
    assert run([*flags, "--baseline", str(earlier), "--max-regression", "50%", "--output", str(output)]) == 6
    printed = capsys.readouterr()
    assert output.exists()
    assert "onnxruntime" in printed.out
    assert printed.err.count("\n") == 1
    assert "by more than 50% in 1 of 6 cells; worst eager on weights.safetensors (batch 1, 1 thread" in printed.err


ELSEWHERE = {"environment": {"cpu": "abacus", "cores": 1}, "results": []}


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
        (["--io", "unbound"], 2, "--io 'unbound': choose from end-to-end, bound"),
        (["--io", ""], 2, "--io ''"),
        (["--rounds", "4"], 2, "'--rounds': Input should be greater than or equal to 5"),
        (["--server-rates", "fast"], 2, "--server-rates 'fast': give positive numbers of queries a second"),
        (["--p99-ms", "0"], 2, "--p99-ms 0: give a positive number of milliseconds"),
        (["--p99-ms", "nan"], 2, "--p99-ms nan"),
        (["--max-regression", "5%"], 2, "--max-regression needs --baseline"),
        (["--baseline", "{tmp}/elsewhere.json", "--max-regression", "5"], 2, "--max-regression '5': give a percentage"),
        (["--baseline", "{tmp}/absent.json"], 1, "absent.json cannot be read"),
        (["--baseline", "{tmp}/text.json"], 1, "text.json is no JSON"),
        (["--baseline", "{tmp}/foreign.json"], 1, "foreign.json is not a report"),
        (["--baseline", "{tmp}/elsewhere.json"], 1, "is not comparable: its cpu is abacus"),
        (["--baseline", "{tmp}/empty.json"], 1, "has no cell in common with this run"),
        (["--output", "/dev/null/x.json"], 1, "--output /dev/null/x.json cannot be written"),
        (["--html", "/dev/null/x.html"], 1, "--html /dev/null/x.html cannot be written"),
        (["--html", "{tmp}"], 1, "cannot be written: give a file"),
    ],
)
def test_what_cannot_be_measured_is_one_line_before_anything_is_started(
    export_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    no_process: None,
    flags: list[str],
    status: int,
    said: str,
) -> None:
    (tmp_path / "text.json").write_text("not JSON")
    (tmp_path / "foreign.json").write_text("{}")
    (tmp_path / "elsewhere.json").write_text(json.dumps(ELSEWHERE))
    here = {"environment": describe_environment(), "results": []}
    (tmp_path / "empty.json").write_text(json.dumps(here))
    given = [flag.format(tmp=tmp_path) for flag in flags]
    assert run(["bench", "--export", str(export_dir), *given]) == status
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error
    assert "internal error" not in error
