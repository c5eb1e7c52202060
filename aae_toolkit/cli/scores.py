"""Scores of a model, printed for people: by class and by category, beside simple methods; and the seed's lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from aae_toolkit.cli.options import ConsoleProgress
from aae_toolkit.models.classes import listed, unknown_line
from aae_toolkit.text import percent, shown

if TYPE_CHECKING:
    from aae_toolkit.evaluation import Evaluation


def show_evaluation(evaluation: Evaluation, progress: ConsoleProgress) -> None:
    """Print the scores of a model: by class, by category where these are not the classes, and beside baselines."""
    title = f"{evaluation.variant.replace('_', '-')} model, {evaluation.n} {evaluation.split} images"
    progress.console.print(_by_class(evaluation, title))
    if _has_own_categories(evaluation):
        progress.console.print(_by_category(evaluation))
        _say_of_categories(evaluation, progress)
    if evaluation.missing_classes:
        progress.result(f"not scored, without images: {listed(evaluation.missing_classes)}")
    if evaluation.unknown_classes:
        progress.result(unknown_line(evaluation.unknown_classes))
    progress.console.print(_beside_baselines(evaluation))
    progress.result("; ".join(_further_scores(evaluation)))
    for baseline in evaluation.baselines:
        if baseline.standing != "better":
            progress.result(baseline.verdict)
    for line in evaluation.no_baselines:
        progress.result(line)


def show_seed_lines(evaluation: Evaluation, progress: ConsoleProgress) -> None:
    """Print the seed document's lines: each class's largest share in one category, and the accuracy."""
    for report in evaluation.per_class:
        if report.best_category is not None:
            share = percent(report.share_in_best_category)
            progress.result(f"Label {report.class_name}: {share}, Best matching label; {report.best_category}")
    progress.result(f"ACCURACY: {percent(evaluation.accuracy)}")


def _by_class(evaluation: Evaluation, title: str) -> Table:
    from aae_toolkit.report.scores import by_class

    table = Table(title=title)
    table.add_column("class")
    table.add_column("images", justify="right")
    table.add_column("accuracy", justify="right")
    table.add_column("most often mistaken for")
    for report in by_class(evaluation):
        mistake = ""
        if report.confused_with is not None:
            mistake = f"{report.confused_with}, {report.n_confused} of {report.n}"
        cells = report.class_name, str(report.n), percent(report.accuracy), mistake
        table.add_row(*map(_plain, cells))
    return table


def _by_category(evaluation: Evaluation) -> Table:
    """Tabulate the categories that have images, the largest of many."""
    from aae_toolkit.visualization.many import MOST, others

    table = Table(title=f"{len(evaluation.per_category)} categories, and the class that each stands for")
    table.add_column("category", justify="right")
    table.add_column("stands for")
    table.add_column("images", justify="right")
    table.add_column("of that class", justify="right")
    reports = [report for report in evaluation.per_category if report.n]
    if len(reports) > MOST:
        reports = sorted(reports, key=lambda report: -report.n)[: MOST - 1]
    for report in reports:
        cells = str(report.category), report.class_name, str(report.n), percent(report.accuracy)
        table.add_row(*map(_plain, cells))
    if n := evaluation.n - sum(report.n for report in reports):
        n_others = sum(report.n > 0 for report in evaluation.per_category) - len(reports)
        table.add_row("", others(n_others, "categories"), str(n), "")
    return table


def _beside_baselines(evaluation: Evaluation) -> Table:
    table = Table()
    for column in ("", "accuracy", "balanced accuracy", "learned from"):
        table.add_column(column, justify="right" if "accuracy" in column else "left")
    table.add_row("this model", percent(evaluation.accuracy), percent(evaluation.balanced_accuracy), "")
    for baseline in evaluation.baselines:
        scores = percent(baseline.accuracy), percent(baseline.balanced_accuracy)
        table.add_row(_plain(baseline.title), *scores, _plain(baseline.basis))
    return table


def _further_scores(evaluation: Evaluation) -> list[str]:
    scores = [f"macro-F1 {percent(evaluation.macro_f1)}"]
    if _has_own_categories(evaluation):
        scores += [f"majority accuracy, with categories named by these images, {percent(evaluation.majority_accuracy)}"]
    if evaluation.hungarian_accuracy is not None:
        scores += [f"Hungarian accuracy {percent(evaluation.hungarian_accuracy)}"]
    return [*scores, f"NMI {evaluation.nmi:.4f}", f"ARI {evaluation.ari:.4f}"]


def _say_of_categories(evaluation: Evaluation, progress: ConsoleProgress) -> None:
    """Say what the tables do not show of a model whose categories were named after training."""
    named = {report.class_name for report in evaluation.per_category}
    if nameless := [
        report.class_name for report in evaluation.per_class if report.n and report.class_name not in named
    ]:
        progress.result(f"no category stands for {listed(nameless)}: images of these classes are always labelled wrong")
    if evaluation.never_predicted_categories:
        empty = [str(k) for k in evaluation.never_predicted_categories]
        progress.result(f"never predicted: categories {listed(empty)}")
    if evaluation.variant == "unsupervised" and evaluation.split == "validation":
        progress.result("these images may have named the categories, which flatters the accuracy; see --split test")


def _has_own_categories(evaluation: Evaluation) -> bool:
    """Tell whether categories are not simply the classes."""
    return evaluation.variant == "unsupervised" or len(evaluation.per_category) != len(evaluation.per_class)


def _plain(text: str) -> Text:
    """Return a cell without markup: class names are anybody's."""
    return Text(shown(text))
