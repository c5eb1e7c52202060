"""`aae predict`: label image files, without torch."""

from __future__ import annotations

import gc
import sys
from argparse import ArgumentParser, ArgumentTypeError, HelpFormatter, Namespace
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from aae_toolkit.cli import predict_ray as on_ray
from aae_toolkit.cli.names import renamed
from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.progress import periodic_lines
from aae_toolkit.text import percent, shown

if TYPE_CHECKING:
    import typer

    from aae_toolkit.predict import Prediction

_EXPORT_AS_MODEL = dict.fromkeys(("--export", "--export-dir-path"), "--model")  # where other commands take an export
_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def register(app: typer.Typer) -> None:
    """Add the command to the list; `cli.app` runs it without Typer."""
    app.command("predict", help="Label image files.", context_settings=_PASSED_ON)(lambda: None)


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def parser() -> ArgumentParser:
    """Return the parser of the command line."""
    command = _Parser(
        "aae predict",
        usage="aae predict --model classifier.onnx [OPTIONS] IMAGE...",
        description="Label image files. Needs no torch: an exported classifier runs on ONNX Runtime. Exit 1 if a"
        " file cannot be read.",
        allow_abbrev=False,
        formatter_class=partial(HelpFormatter, width=80),  # else argparse asks for the terminal's at each option
    )
    add = command.add_argument
    add(
        "images",
        nargs="+",
        metavar="IMAGE...",
        help="Image files, folders, quoted patterns ('photos/**/*.png'), or - for paths on standard input, one per"
        " line or NUL-separated.",
    )
    add(
        "--model",
        type=Path,
        required=True,
        help="Classifier file (classifier.onnx), or the export directory that holds it.",
    )
    add("--json", action="store_true", help="Print one JSON object per line.")
    add("--output", "-o", type=Path, help="Write predictions to a file: .jsonl (one JSON object per line) or .csv.")
    add("--top-k", type=_at_least(0), default=0, help="Also list the K most likely classes.")
    add(
        "--threshold",
        type=_fraction,
        default=0.0,
        help="Minimum probability of a label; less certain images get label -1 (unsure).",
    )
    add(
        "--invert",
        choices=("as-trained", "auto", "yes", "no"),
        default="as-trained",
        help="Invert brightness; auto: images whose border brightness is opposite to that of the training images;"
        " default: as the training images were.",
    )
    add("--follow-links", action="store_true", help="Follow links that lead outside of a folder.")
    add("--batch-size", type=_at_least(1), default=64, help="Images per batch; default: 64.")
    add("--threads", type=_at_least(1), help="Threads for decoding and labelling; default: one per core.")
    add("--quiet", "-q", action="store_true", help="Print results and errors only.")
    on_ray.add_options(command, _at_least)
    command.formatter_class = HelpFormatter
    return command


def parsed(arguments: list[str]) -> Namespace:
    """Return the values of a command line, whose flags may have their longer names.

    Raises:
        UsageError: wrong arguments.
    """
    command = parser()
    flags = {flag for action in command._actions for flag in action.option_strings}
    return command.parse_args(renamed(arguments, flags, _EXPORT_AS_MODEL))


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.removeprefix("-").isdecimal() or int(text) < least:
            raise ArgumentTypeError(f"{text!r} is not a whole number of {least} or more")
        return int(text)

    return number


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1:
        raise ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def predict(arguments: list[str]) -> None:
    """Label the images that the command line names.

    Raises:
        AaeError: the model does not run, a file cannot be written, or an image cannot be read.
        UsageError: wrong arguments.
    """
    given = parsed(arguments)
    if on_ray.is_asked_for(given):
        on_ray.predict(given)
        return
    if given.json and given.output is not None:
        raise UsageError("--json prints the predictions, --output writes them to a file; give one of them")
    gc.disable()  # imports create no garbage
    try:
        from aae_toolkit.data.left_out import LeftOut
        from aae_toolkit.data.paths import image_files
        from aae_toolkit.predict import predict as predict_files
        from aae_toolkit.predict.classifier_file import find_classifier

        left_out = LeftOut(lambda line: print(shown(line), file=sys.stderr))
        predictions = predict_files(
            find_classifier(given.model),
            image_files(given.images, sys.stdin.buffer, left_out=left_out, follow_links=given.follow_links),
            batch_size=given.batch_size,
            threads=given.threads,
            processes=True,
            top_k=given.top_k,
            threshold=given.threshold,
            invert=given.invert,
        )
    finally:
        gc.enable()
    counts, notes = Counter[str](), Counter[str]()
    predictions = _counted(predictions, counts, notes)
    if given.output is not None:
        from aae_toolkit.predict.output import write_predictions

        write_predictions(given.output, _tracked(predictions, given), given.top_k)
        kinds = ", ".join(f"{counts[kind]} {kind}" for kind in ("labelled", "unsure", "unreadable"))
        print(f"{counts.total()} images, {kinds}; written to {given.output}")
    else:
        lines = predictions if sys.stdout.isatty() else _tracked(predictions, given)
        for prediction in lines:
            print(dumps(prediction.to_json()) if given.json else _line(prediction))
    for note, n in notes.items():
        if counts.total() > 1 and not given.quiet:
            print(f"{n} of {counts.total()} images: {note}", file=sys.stderr)
    left_out.finish()
    if failed := counts["unreadable"] + left_out.n_failed:
        raise AaeError(f"{failed} of {counts.total() + left_out.n_failed} images could not be read")


def _tracked(predictions: Iterator[Prediction], given: Namespace) -> Iterator[Prediction]:
    """Yield `predictions` and show their progress on standard error; `given` is the command line."""
    if given.quiet:
        return predictions
    if not sys.stderr.isatty():
        return periodic_lines(predictions, "images", say=partial(print, file=sys.stderr))
    from aae_toolkit.cli.options import ConsoleProgress
    from aae_toolkit.data.paths import STANDARD_INPUT, image_files

    known = STANDARD_INPUT not in given.images
    files = image_files(given.images, sys.stdin.buffer, follow_links=given.follow_links)
    total = sum(1 for _ in files) if known else None
    return ConsoleProgress(stderr=True).track(predictions, "images", total)


def _counted(predictions: Iterable[Prediction], counts: Counter[str], notes: Counter[str]) -> Iterator[Prediction]:
    """Yield `predictions`; count them as labelled, unsure or unreadable, and count their notes."""
    for prediction in predictions:
        notes.update(prediction.notes)
        kind = "labelled" if prediction.label is not None else "unreadable"
        counts["unsure" if prediction.is_unsure else kind] += 1
        yield prediction


def _line(prediction: Prediction) -> str:
    """Return the line printed for an image, with unprintable characters of its name escaped."""
    if prediction.error is not None:
        line = f"{prediction.path}  could not be read: {prediction.error}"
    else:
        line = f"{prediction.path}  {prediction.class_name}  {percent(prediction.probability)}"
        if prediction.top:
            line += "  [" + ", ".join(f"{c.class_name} {percent(c.probability)}" for c in prediction.top) + "]"
        if prediction.notes:
            line += f"  ({', '.join(prediction.notes)})"
    return shown(line)
