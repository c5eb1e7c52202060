"""Lines and tables that several commands print for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from aae_toolkit.cli.options import ConsoleProgress
from aae_toolkit.models.classes import listed, unknown_line
from aae_toolkit.text import percent

if TYPE_CHECKING:
    from aae_toolkit.bench.results import BenchReport, Measurement
    from aae_toolkit.data.directory import DatasetIndex
    from aae_toolkit.evaluation import Evaluation
    from aae_toolkit.parity.check import ParityReport


def dataset_line(index: DatasetIndex) -> str:
    """Return the seed document's line about the sizes of a data set, with the test set added."""
    n = {name: split.n for name, split in index.splits.items()}
    return (
        f"dataset size in use: {n['train_labeled']} [labeled trainset] {n['train_unlabeled']} [un-labeled trainset]"
        f" {n['validation']} [validation] {n['test']} [test]"
    )


def show_evaluation(evaluation: Evaluation, progress: ConsoleProgress) -> None:
    """Print the scores of a model."""
    for report in evaluation.per_class:
        if report.best_category is not None:
            share = percent(report.share_in_best_category)
            progress.result(f"Label {report.class_name}: {share}, Best matching label; {report.best_category}")
    if evaluation.never_predicted_categories:
        progress.result(f"never predicted: categories {', '.join(map(str, evaluation.never_predicted_categories))}")
    if evaluation.missing_classes:
        progress.result(f"not scored, without images: {listed(evaluation.missing_classes)}")
    if evaluation.unknown_classes:
        progress.result(unknown_line(evaluation.unknown_classes))
    table = Table(title=f"{evaluation.variant.replace('_', '-')}, {evaluation.split}, n = {evaluation.n}")
    table.add_column("score")
    table.add_column("value", justify="right")
    table.add_row("accuracy of the label", percent(evaluation.accuracy))
    table.add_row("balanced accuracy", percent(evaluation.balanced_accuracy))
    table.add_row("macro-F1", percent(evaluation.macro_f1))
    table.add_row("majority accuracy, map refitted here", percent(evaluation.majority_accuracy))
    table.add_row("Hungarian accuracy", percent(evaluation.hungarian_accuracy))
    table.add_row("NMI", f"{evaluation.nmi:.4f}")
    table.add_row("ARI", f"{evaluation.ari:.4f}")
    progress.console.print(table)
    progress.result(f"ACCURACY: {percent(evaluation.accuracy)}")


def show_parity(report: ParityReport, progress: ConsoleProgress) -> None:
    """Print the comparisons of a parity check."""
    from aae_toolkit.backends.registry import ARBITER

    sizes = ", ".join(map(str, report.batch_sizes))
    table = Table(title=f"parity on {report.n} {report.split} images, batch sizes {sizes}")
    for column in ("artifact", "backend", "verdict", "largest difference", "label agreement", "accuracy"):
        table.add_column(column, justify="left" if column in ("artifact", "backend") else "right")
    for r in report.results:
        floats = [v for k, v in r.max_abs_diff.items() if k not in ("label", "category", "pixels")]
        largest = max(floats, default=float("nan"))
        verdict = "same" if r else "REFUSED"
        of = f" of {r.paired.n}" if r.paired and r.backend == ARBITER else ""
        scores = percent(r.label_agreement), percent(r.accuracy) + of
        table.add_row(r.artifact, r.backend, verdict, f"{largest:.2e}", *scores)
    progress.console.print(table)
    for r in report.results:
        if r.first_difference:
            progress.result(f"{r.artifact} on {r.backend} {r.first_difference}")
    accuracy = "" if report.accuracy is None else f"; accuracy of the trained model {percent(report.accuracy)}"
    progress.result(f"parity: {'proven' if report else 'REFUSED'}{accuracy}")


def show_bench(report: BenchReport, progress: ConsoleProgress) -> None:
    """Print the measurements of a benchmark: latency, loading, and the server scenario."""
    environment = report.environment
    table = Table(title=f"classifier on {environment.get('gpu') or environment['cpu']}, {environment['cores']} cores")
    left = ("backend", "fed")
    columns = ("threads", "batch", "fed", "backend", "images/s", "p50 ms", "95% interval", "p99 ms", "over eager")
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right", no_wrap=True)
    previous = None
    timed = [m for m in report.results if m.rate is None]
    for m in timed:
        cell = (m.threads, m.batch_size, m.io)
        if previous not in (None, cell):
            table.add_section()
        previous = cell
        speed = f"{m.images_per_second:,.0f}", f"{m.latency_ms['p50']:.3f}{'' if m.stable else '*'}"
        spread = _interval(m.latency_interval_ms, 3), f"{m.latency_ms['p99']:.3f}"
        table.add_row(str(m.threads), str(m.batch_size), m.io, m.title, *speed, *spread, _speedup(m))
    if not all(m.stable for m in timed):
        table.caption = "* latency had not settled at the end of the warm-up"
    progress.console.print(table)
    _show_loads(report.results, progress)
    _show_served([m for m in report.results if m.rate is not None], progress)


def _show_loads(results: list[Measurement], progress: ConsoleProgress) -> None:
    from aae_toolkit.bench.results import last_of_each_process

    table = Table(title="loading and memory")
    for column in ("threads", "backend", "import s", "load s", "first run ms", "peak MiB", "file MB"):
        table.add_column(column, justify="left" if column == "backend" else "right")
    for m in last_of_each_process(results):
        took = f"{m.import_seconds:.2f}", f"{m.load_seconds:.2f}", f"{m.first_run_ms:.1f}"
        table.add_row(str(m.threads), m.title, *took, f"{m.peak_rss_mib:.0f}", f"{m.file_bytes / 1e6:.2f}")
    progress.console.print(table)


def _show_served(served: list[Measurement], progress: ConsoleProgress) -> None:
    if not served:
        return
    table = Table(title=f"server: one image per query, p99 latency limit {served[0].p99_bound_ms:g} ms")
    for column in ("threads", "queries/s", "backend", "answered/s", "p50 ms", "p90 ms", "p99 ms", "p99"):
        table.add_column(column, justify="left" if column == "backend" else "right")
    for m in served:
        latency = [f"{m.latency_ms[p]:.3f}" for p in ("p50", "p90", "p99")]
        verdict = "within" if m.within_bound else "BEYOND"
        table.add_row(str(m.threads), f"{m.rate:g}", m.title, f"{m.images_per_second:,.0f}", *latency, verdict)
    progress.console.print(table)


def _interval(interval: tuple[float, float] | None, digits: int) -> str:
    return "-" if interval is None else f"{interval[0]:.{digits}f}-{interval[1]:.{digits}f}"


def _speedup(m: Measurement) -> str:
    if m.speedup_over_eager is None:
        return "-"
    if m.is_reference:
        return "1.00x"
    if not m.differs_from_eager:
        return "no difference"
    interval = "" if m.speedup_interval is None else f" ({_interval(m.speedup_interval, 2)})"
    return f"{m.speedup_over_eager:.2f}x{interval}"
