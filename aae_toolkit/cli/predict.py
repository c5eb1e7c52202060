"""`aae predict`: labels for image files, without torch."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from aae_toolkit.cli.options import ConsoleProgress, lines_now_and_then, percent
from aae_toolkit.errors import AaeError, UsageError

if TYPE_CHECKING:
    from aae_toolkit.predict import Prediction


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("predict")(predict)


def predict(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...",
            help="Image files, folders, patterns in quotes ('photos/**/*.png'), or - for paths on standard input, one a"
            " line or NUL-separated.",
        ),
    ],
    model: Annotated[Path, typer.Option(help="classifier.onnx, written by export.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="Write a file instead: .jsonl, one JSON object a line, or .csv.")
    ] = None,
    top_k: Annotated[int, typer.Option(min=0, help="Name so many of the likeliest classes besides.")] = 0,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="An image whose label is less probable is unsure, label -1.")
    ] = 0.0,
    invert: Annotated[
        Literal["auto", "yes", "no"],
        typer.Option(help="Make dark light and light dark; auto: images whose border is light, not dark."),
    ] = "no",
    batch_size: Annotated[int, typer.Option(min=1, help="Images that the model labels at once.")] = 64,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Cores that decode and label; default: all.", show_default=False)
    ] = None,
) -> None:
    """Label image files.

    Needs no torch: an exported classifier runs on ONNX Runtime. Exit 1 where a file could not be read.
    """
    if json and output is not None:
        raise UsageError("--json prints and --output writes a file, in the format of its suffix; give one of them")
    from aae_toolkit.data.paths import image_files
    from aae_toolkit.predict import predict as predict_files

    predictions = predict_files(
        model,
        image_files(images, sys.stdin.buffer),
        batch_size=batch_size,
        threads=threads,
        processes=True,
        top_k=top_k,
        threshold=threshold,
        invert=invert,
    )
    counts: Counter[str] = Counter()
    if output is not None:
        from aae_toolkit.prediction_file import write_predictions

        write_predictions(output, _counted(_tracked(predictions, images), counts), top_k)
        said = ", ".join(f"{counts[kind]} {kind}" for kind in ("labelled", "unsure", "unreadable"))
        print(f"{counts.total()} images, {said}; written to {output}")
    else:
        lines = predictions if sys.stdout.isatty() else _tracked(predictions, images)
        for prediction in _counted(lines, counts):
            print(dumps(prediction.to_json()) if json else _line(prediction))
    if counts["unreadable"]:
        raise AaeError(f"{counts['unreadable']} of {counts.total()} images could not be read")


def _tracked(predictions: Iterator[Prediction], images: list[str]) -> Iterator[Prediction]:
    """`predictions`, their progress shown on standard error; `images` as they were named."""
    if not sys.stderr.isatty():  # rich takes a while to import
        return lines_now_and_then(predictions, "images", say=partial(print, file=sys.stderr))
    from aae_toolkit.data.paths import STANDARD_INPUT, image_files

    known = STANDARD_INPUT not in images
    total = sum(1 for _ in image_files(images, sys.stdin.buffer)) if known else None
    return ConsoleProgress(stderr=True).track(predictions, "images", total)


def _counted(predictions: Iterable[Prediction], counts: Counter[str]) -> Iterator[Prediction]:
    """`predictions`, counted by what became of each."""
    for prediction in predictions:
        kind = "labelled" if prediction.label is not None else "unreadable"
        counts["unsure" if prediction.is_unsure else kind] += 1
        yield prediction


def _line(prediction: Prediction) -> str:
    """What people read of an image; what is not printable in a name is escaped."""
    if prediction.error is not None:
        line = f"{prediction.path}  could not be read: {prediction.error}"
    else:
        line = f"{prediction.path}  {prediction.class_name}  {percent(prediction.probability)}"
        if prediction.top:
            line += "  [" + ", ".join(f"{c.class_name} {percent(c.probability)}" for c in prediction.top) + "]"
        if prediction.notes:
            line += f"  ({', '.join(prediction.notes)})"
    return line if line.isprintable() else "".join(map(_shown, line))


def _shown(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()
