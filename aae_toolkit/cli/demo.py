"""`aae demo`: the whole pipeline on data that ships with scikit-learn."""

from __future__ import annotations

import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aae_toolkit.cli.options import ConsoleProgress, QuietOption
from aae_toolkit.cli.showing import dataset_line, show_bench, show_parity
from aae_toolkit.cli.training_options import TrainingOptions
from aae_toolkit.cli.training_run import run_training
from aae_toolkit.config import VARIANTS, Variant
from aae_toolkit.errors import ParityError
from aae_toolkit.html.rendering import command
from aae_toolkit.text import percent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aae_toolkit.backends.protocol import BackendName
    from aae_toolkit.bench.results import BenchReport
    from aae_toolkit.data.directory import DataDirectory
    from aae_toolkit.evaluation import Evaluation
    from aae_toolkit.parity.check import ParityReport

_BATCH_SIZES = (1, 256)  # that are measured
_SHORT_EPOCHS = {"semi_supervised": 30}  # half as many lose no accuracy on these data
_SHORT_BACKENDS: tuple[BackendName, ...] = ("eager", "onnxruntime")
_SAMPLE_ENLARGEMENT = 16  # pixels of a sample file for one of an image, so that it can be seen


@dataclass(frozen=True)
class _Result:
    """Results of one variant."""

    evaluation: Evaluation
    files: tuple[str, ...]  # exported
    proof: ParityReport
    measured: BenchReport


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    output_dir_path: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Directory for all results; replaces an earlier demo there."
        ),
    ] = Path("aae-demo"),
    full: Annotated[
        bool,
        typer.Option("--full", help="Train longer, try torch.compile too, and measure all backends for longer."),
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Run the whole pipeline on a small data set.

    Trains with and without labels on scikit-learn's digits, draws pictures, exports, proves every exported file,
    measures speed, and writes reports and sample images. Needs no network.
    """
    started = time.monotonic()
    progress = ConsoleProgress(quiet=quiet)
    data = _write_digits(output_dir_path / "data", progress)
    samples = _write_samples(data, output_dir_path / "samples")
    results = {}
    for variant in VARIANTS:
        progress.say("")
        progress.say(f"== {variant.replace('_', '-')} ==")
        model_dir = output_dir_path / variant
        flags = {} if full else {"n_epochs": _SHORT_EPOCHS.get(variant)}
        run_training(TrainingOptions(variant, data.path, model_dir, "digits", flags=flags, overwrite=True, quiet=quiet))
        results[variant] = _draw_prove_and_measure(model_dir, data, full, progress)
        _write_report(model_dir, data, command("aae", "demo", "--output", output_dir_path), progress)
    progress.result("")
    took = f"{time.monotonic() - started:.0f} s ({sum(os.times()[:4]):.0f} s of processor time)"
    for line in _last_screen(results, data.size("train_labeled"), output_dir_path, samples, took):
        progress.result(line)
    if refused := [variant for variant, result in results.items() if not result.proof]:
        raise ParityError(f"parity refused for {', '.join(refused)}")


def _write_digits(data_dir: Path, progress: ConsoleProgress) -> DataDirectory:
    from aae_toolkit.data.directory import DataDirectory, write_data_directory
    from aae_toolkit.data.sources import load_source

    digits = load_source("digits", None, data_dir / "raw", (1, 8, 8), progress=progress)
    index = write_data_directory(data_dir, digits, None, None, None, seed=0, overwrite=True, progress=progress)
    progress.say(dataset_line(index))
    progress.say(f"written to {data_dir}")
    return DataDirectory(data_dir)


def _write_samples(data: DataDirectory, directory: Path) -> Path:
    """Write the first test image of each class as a PNG file into `directory`; return it."""
    from PIL import Image

    from aae_toolkit.files import atomic_path

    test = data.load("test")
    for index, name in enumerate(data.class_names):
        pixels = test.images[test.labels.tolist().index(index)][0]  # uint8 [H, W]
        size = tuple(_SAMPLE_ENLARGEMENT * side for side in pixels.shape[::-1])
        with atomic_path(directory / f"digit-{name}.png") as path:
            Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST).save(path)
    return directory


def _draw_prove_and_measure(model_dir: Path, data: DataDirectory, full: bool, progress: ConsoleProgress) -> _Result:
    """Draw the pictures of a trained model, score it, export it, prove each file, and measure speed."""
    from aae_toolkit.backends.registry import BACKENDS
    from aae_toolkit.bench import Effort, bench
    from aae_toolkit.evaluation import evaluate
    from aae_toolkit.export.directory import ExportDirectory
    from aae_toolkit.export.formats import DEFAULT_FORMATS
    from aae_toolkit.export.writer import export_model
    from aae_toolkit.files import write_json
    from aae_toolkit.models.directory import load_model
    from aae_toolkit.parity.check import check_parity
    from aae_toolkit.visualization.pictures import DIRECTORY, draw_all

    model, test = load_model(model_dir), data.load("test")
    draw_all(model, data.load("validation"), model_dir / DIRECTORY, progress)
    evaluation = evaluate(model, test, "test", data=data)
    export_model(model_dir, model_dir / "export", DEFAULT_FORMATS, progress)
    export = ExportDirectory.open(model_dir / "export")  # the files as a user would find them
    proof = check_parity(export, test, "test", compiled=full, progress=progress)
    show_parity(proof, progress)
    effort = Effort() if full else Effort(rounds=5, seconds=0.05, warm_up_seconds=0.5)
    backends = BACKENDS if full else _SHORT_BACKENDS
    measured = bench(export, _BATCH_SIZES, (1,), backends, effort=effort, progress=progress)
    show_bench(measured, progress)
    write_json(model_dir / "bench.json", measured.to_json())
    return _Result(evaluation, tuple(entry.file for entry in export.artifacts), proof, measured)


def _write_report(model_dir: Path, data: DataDirectory, made_by: str, progress: ConsoleProgress) -> None:
    from aae_toolkit.report.contents import Sources, gather
    from aae_toolkit.report.evidence import open_export
    from aae_toolkit.report.report_page import write_report

    sources = Sources(model_dir, open_export(model_dir, None), model_dir / "bench.json", data.path, "test")
    progress.say(write_report(model_dir / "report.html", gather(sources, progress), made_by))


def _last_screen(
    results: dict[Variant, _Result], n_labels: int, directory: Path, samples: Path, took: str
) -> Iterator[str]:
    """Yield the lines that end the demo: what was trained and how good it is, what to open, and what to do next."""
    from aae_toolkit.visualization.pictures import DIRECTORY, MODES

    yield f"Trained, exported, proven and measured on scikit-learn's digits (8 x 8 pixels) in {took}:"
    for variant, result in results.items():
        labels = "without labels" if variant == "unsupervised" else f"with {n_labels} labels"
        yield f"  {labels}: {_accuracy(result.evaluation)}"
        yield f"    {_parity(result)}; {_speed(result.measured)}"
    yield "Open:"
    yield f"  {directory / 'semi_supervised' / 'report.html'}: scores, pictures, parity and speed on one page"
    yield f"  {directory / 'unsupervised' / 'report.html'}: the same, trained without labels"
    yield f"  {directory / 'unsupervised' / DIRECTORY / MODES}: images of each category"
    yield "Next, label ten test images with the exported classifier:"
    model = directory / "semi_supervised" / "export"
    yield f"  {command(*_program(), 'predict', '--model', model, samples)}/*.png"


def _accuracy(evaluation: Evaluation) -> str:
    best = max(evaluation.baselines, key=lambda b: b.accuracy, default=None)
    beside = "" if best is None else f" ({best.title}: {percent(best.accuracy)})"
    return f"{percent(evaluation.accuracy)} of {evaluation.n} test images right{beside}"


def _parity(result: _Result) -> str:
    refused = {comparison.artifact for comparison in result.proof.results if not comparison}
    if refused or not result.proof:
        return f"parity REFUSED: {', '.join(sorted(refused))}"
    return f"{len(result.files)} exported files proven to be the trained model"


def _speed(measured: BenchReport) -> str:
    """Describe the latency of ONNX Runtime for one image, and its speed beside PyTorch's."""
    m = next(m for m in measured.results if m.backend == "onnxruntime" and m.batch_size == 1)
    beside = f", {m.speedup_over_eager:.1f}x PyTorch" if m.speedup_over_eager and m.differs_from_eager else ""
    return f"{m.latency_ms['p50']:.3f} ms an image{beside}"


def _program() -> list[str]:
    """Return the words that start `aae` in this shell: its name where that is this program, else its path."""
    called, on_path = Path(sys.argv[0]), shutil.which("aae")
    if called.name != "aae":
        return [sys.executable, "-m", "aae_toolkit"]
    if on_path is not None and Path(on_path).resolve() == called.resolve():
        return ["aae"]
    return [str(called.relative_to(Path.cwd()) if called.is_relative_to(Path.cwd()) else called)]
