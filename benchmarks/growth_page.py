"""Table and picture of docs/growth.json, in docs/scaling.md."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from results_page import describe_machine, table

from aae_toolkit.files import write_text

DOCS = Path(__file__).parent.parent / "docs"
PICTURE = DOCS / "images" / "growth.png"
STEPS = ("init-datasets", "facts", "neighbours", "train", "evaluate", "visualize", "predict")
_BEGIN, _END = "<!-- growth: written by benchmarks/growth.py -->\n", "<!-- end of growth -->"
_AXES = (  # what varies, its place in a cell's name, and the cells drawn
    ("images (10 classes, 28 pixels)", 0, lambda n, k, side: (k, side) == (10, 28)),
    ("classes (100 000 images, 28 pixels)", 1, lambda n, k, side: (n, side) == (10**5, 28)),
    ("pixels of a side (10 000 images, 10 classes)", 2, lambda n, k, side: (n, k) == (10**4, 10)),
)
Results = dict[str, dict[str, Any]]


def write_page(results: Results) -> None:
    """Write the picture, and the section of docs/scaling.md."""
    draw(results, PICTURE)
    page = DOCS / "scaling.md"
    write_text(page, with_section(page.read_text(), section(results)))


def with_section(text: str, generated: str) -> str:
    """Text of the page with another generated section."""
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError("docs/scaling.md has lost the marks of its section on growth")
    return f"{before}{begin}\n{generated}\n{end}{after}"


def section(results: Results) -> str:
    """Table of all cells, with the machines that measured them."""
    ordered = sorted(results, key=numbers)
    measured = [name for name in ordered if "steps" in results[name]]
    rows = [cells_of(name, results[name]) for name in measured]
    machines = sorted({describe_machine(results[name]["environment"]) for name in measured})
    parts = [
        "Each cell is seconds, and peak memory in MiB.",
        table(("images", "classes", "pixels", "file, MiB", *STEPS, "checkpoint, MiB"), rows),
        f"Measured on: {'; '.join(machines)}; one thread.",
    ]
    if any(results[name]["preliminary"] for name in measured):
        parts.append("Times in brackets are preliminary: the machine had other work. They are of the processor.")
    if left_out := [f"- {titled(name)}: {results[name]['left_out']}." for name in ordered if name not in measured]:
        parts.append("Left out:\n\n" + "\n".join(left_out))
    return "\n\n".join(parts) + "\n"


def cells_of(name: str, result: dict[str, Any]) -> list[str]:
    """Cells of a row."""
    n, n_classes, side = numbers(name)
    cells = [f"{n:_}".replace("_", " "), str(n_classes), f"{side} x {side}", f"{result['images_mib']:.0f}"]
    for step in STEPS:
        measured = result["steps"][step]
        preliminary = f"({measured['cpu_seconds']:.1f})"
        seconds = preliminary if result["preliminary"] else f"{measured['seconds']:.1f}"
        cells.append(f"{seconds}, {measured['peak_mib']:.0f}")
    return [*cells, f"{result['checkpoint_mib']:.1f}"]


def numbers(name: str) -> tuple[int, int, int]:
    """Number of images, of classes, and of pixels along a side, from the name of a cell."""
    n, n_classes, side = map(int, name.split("/"))
    return n, n_classes, side


def titled(name: str) -> str:
    """Name of a cell in a sentence."""
    n, n_classes, side = numbers(name)
    return f"{n:_} images, {n_classes} classes, {side} x {side} pixels".replace("_", " ")


def draw(results: Results, path: Path) -> None:
    """Draw processor seconds and memory of each step, on logarithmic axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7), layout="constrained")
    kinds = (("processor time, s", "cpu_seconds"), ("peak memory, MiB", "peak_mib"))
    for axes, (title, key) in zip(figure.subplots(2, len(_AXES), sharey="row"), kinds, strict=True):
        for ax, (label, position, is_drawn) in zip(axes, _AXES, strict=True):
            for step in STEPS:
                ax.plot(*series(results, position, is_drawn, step, key), marker="o", label=step)
            ax.set(xscale="log", yscale="log", xlabel=label)
            ax.grid(visible=True, which="both", alpha=0.3)
        axes[0].set_ylabel(title)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(STEPS))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def series(
    results: Results, position: int, is_drawn: Callable[[int, int, int], bool], step: str, key: str
) -> tuple[list[int], list[float]]:
    """Points of a curve: what varies, and what was measured."""
    names = sorted((name for name in results if "steps" in results[name] and is_drawn(*numbers(name))), key=numbers)
    return [numbers(name)[position] for name in names], [results[name]["steps"][step][key] for name in names]
