"""Generator of docs/configuration.md and docs/commands.md, the reference pages that are made from the code.

    python tools/reference.py

`make docs` runs it. A test fails if a page is not up to date.
"""

from __future__ import annotations

import json
import re
import typing
from argparse import Action, ArgumentParser
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any, Literal

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from aae_toolkit.cli.commands import application
from aae_toolkit.cli.predict import parser
from aae_toolkit.config import SemiSupervisedConfig, UnsupervisedConfig, auto, auto_rows, shipped_configs
from aae_toolkit.config.augmentation_sets import AUGMENTATION_SETS
from aae_toolkit.files import write_text
from aae_toolkit.training import facts

DOCS = Path(__file__).parent.parent / "docs"

_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
_TYPES = {bool: "true or false", int: "whole number", float: "number"}
_SOURCE = re.compile(r"\s*\[([^\[\]]+)\]\.$")  # at the end of a key's meaning

CONFIGURATION = """\
# Configuration reference

This page lists every key of the YAML file that `--config` takes. `python tools/reference.py` writes it from
`aae_toolkit/config/sections.py`.

A file has a section for one variant or both, `semi_supervised` and `unsupervised`; each contains the sections below.
Missing keys have the seed document's value or, where it has none, the default below. Flags of the command line win
over the file. Unknown keys, values of the wrong type and values out of range are refused, with the key's full path and
the nearest valid name.

```yaml
unsupervised:
  model:
    n_classes: 30
  training:
    n_epochs: 16
    ema_decay: 0.999
  consistency:
    lambda_pairs: 1.0
    lambda_balance: 4.0
```

Training writes its complete configuration to `config.yml` in the model directory; `--config` accepts that file.
[Method](method.md) explains the terms and lists the [sources](method.md#sources).
"""

AUTO_PAGE = """\
## `auto`

`aae train` without `--config` chooses settings for the data and prints each choice with its reason. `config.yml`
holds the result. The rules for images are in `aae_toolkit/config/auto.py`, those for embeddings of a backbone and for
rows of features in `aae_toolkit/config/auto_rows.py` ([Python](python-api.md#parameters)). They were chosen on
validation images, and none of them knows a data set by name. The seed's own commands keep `seed`.

{rules}

With a backbone, and for rows of features in Python:

{row_rules}

The named sets of augmentation, which `consistency.augmentation` takes instead of a number:

{sets}
"""

AUTO_RULES = {
    "encoder": (
        f"convolutions from a side of {auto._SIDE_TO_CONVOLVE} pixels on, an MLP below; a fourth stage, and pooling"
        f" after the first, from {auto._SIDE_OF_LARGE} pixels on"
    ),
    "augmentation": (
        "`drawings` if less than a third of the pixels differ from the background, which is the median of an image's"
        f" border; else `photos`; `tiny` below a side of {auto._SIDE_OF_STROKES} pixels; without labels, `photos` is"
        " bent like `drawings` and not cropped; `top-down` is for aerial and microscope images and never chosen"
    ),
    "flips and quarter turns": (
        f"whatever the set says, each one after which an image still lies among like images: of its {facts._NEIGHBORS}"
        " nearest neighbours enough are in its own cluster (k-means on gradients, relative to the unchanged image): "
        + ", ".join(f"{change.replace('_', ' ')} {100 * least:.0f}%" for change, least in auto._KEPT.items())
    ),
    "batches": (
        f"{auto._BATCH} images, or a {auto._BATCHES_AN_EPOCH}th of a smaller set, but at least {auto._SMALLEST_BATCH}"
    ),
    "epochs": f"about {auto._STEPS} steps in all, from {auto._FEWEST_EPOCHS} to {auto._MOST_EPOCHS} epochs",
    "learning rates": f"without labels they rise over the first {100 * auto._WARMED_UP:.0f}% of the epochs",
    "EMA": (
        f"decay such that the average covers {100 * auto._AVERAGED:.0f}% of all steps, at most {auto._LONGEST_AVERAGE}"
    ),
    "losses on y, without labels": (
        f"neighbour pairs, balance, and pseudo-labels after {100 * auto._AVERAGED:.0f}% of the epochs"
    ),
    f"losses on y, fewer than {auto._FEW_LABELS} labels a class": (
        "neighbour pairs, balance, and pseudo-labels that begin with spread labels and a logistic regression with an"
        " RBF kernel"
    ),
    "losses on y, more labels": "such pseudo-labels alone, on a head of their own",
    "memory of pseudo-labels": (
        f"one from the start has faded to 1/e after {100 * auto._REMEMBERED:.0f}% of the epochs: a network after"
        " few steps knows less"
    ),
    "neighbours": "by gradients, and by colours too where there are some",
    "tolerance of the balance loss": (
        f"if the largest class has at least {auto._UNEVEN} times an even share, the balance loss allows as much"
        " unevenness (entropy) as the classes have, counted on validation images or on the labelled ones; class weights"
        " and the labels' prior stay off ([measured](your-images.md#uneven-classes))"
    ),
}

ROW_RULES = {
    "networks": (
        "with a backbone two hidden layers of 256 units on standardized embeddings, which the autoencoder's losses do"
        " not train; else 128 units, standardized input and Gaussian reconstruction"
    ),
    "length": (
        f"about {auto_rows._STEPS['semi_supervised']} steps with labels, {auto_rows._STEPS['unsupervised']} without,"
        f" at least {auto_rows._FEWEST_PICTURED} with a backbone and at least {auto_rows._LEAST_EPOCHS} epochs, in"
        f" batches of {auto_rows._BATCH_SIZE}"
    ),
    "EMA": f"decay such that the average covers a {auto_rows._AVERAGED}th of all steps, at most 0.999",
    "neighbours": (
        f"{auto_rows._N_NEIGHBORS} by standardized features, or by their direction beyond"
        f" {auto_rows._MANY_FEATURES} features; fewer than half of the rows"
    ),
    "losses on y, some labels": "pseudo-labels that begin with spread labels and a logistic regression",
    "losses on y, without labels": "neighbour pairs, and pseudo-labels that begin with a spectral clustering",
    "losses on y, nothing but labels": "the label loss",
}

COMMANDS = """\
# Command reference

This page lists every command and flag, as `--help` prints them. `python tools/reference.py` writes it from the command
line's own definitions.

`aae --version` prints the version. Every command takes `--help`, and `--debug`, which shows the traceback of an error.
`python -m aae_toolkit` is the same as `aae`. `--json` prints one JSON object on standard output and nothing else there
(`predict`: one a line). An error is one line on standard error. Exit statuses:

| status | meaning |
| --- | --- |
| 0 | success |
| 1 | failure |
| 2 | wrong usage |
| 3 | parity refused: a file differs from the trained model |
| 4 | reduced precision refused: it costs accuracy, or has no advantage |
| 5 | the requested device or provider did not run |
| 6 | slower than the baseline allows |
| 130, 143 | stopped by SIGINT, by SIGTERM |
| 141 | the reader of the output has ended |

The seed document's four commands run the same code under other names: `init_datasets` is `aae init-datasets`,
`train_semi_supervised` is `aae train semi-supervised`, `train_unsupervised` is `aae train unsupervised`, and
`generate_model_visualization` is `aae visualize`. Both training commands keep `seed` as their default configuration.
"""


def main() -> None:
    """Write both pages."""
    for name, text in pages().items():
        write_text(DOCS / name, text)


def pages() -> dict[str, str]:
    """Text of each page, by its name in docs/."""
    return {"configuration.md": configuration_page(), "commands.md": commands_page()}


def configuration_page() -> str:
    """Tables of all keys, one for each section, and of the shipped files."""
    parts = [CONFIGURATION]
    unsupervised = dict(_sections(UnsupervisedConfig()))
    for path, section in _sections(SemiSupervisedConfig()):
        other = unsupervised[path]
        shared = next(c for c in type(section).__mro__ if isinstance(other, c))
        lines = [f"## `{path}`", "", " ".join((shared.__doc__ or "").split()), ""]
        lines += _table("key", "meaning", "values", "default", "variant", "source")
        for key, field in (type(other).model_fields | type(section).model_fields).items():
            if not isinstance(getattr(section, key, None), BaseModel):  # those have a table of their own
                meaning, source = _meaning(field)
                values = f"{_type(field.annotation)} {_range(field.metadata)}".strip()
                lines.append(_row(f"`{key}`", meaning, values, *_defaults(section, other, key), source))
        parts.append("\n".join(lines) + "\n")
    return "\n".join([*parts, _auto(), _shipped()])


def _auto() -> str:
    """Rules of `auto`, and the named sets of augmentation with the keys that are on in each."""
    rules, row_rules = (
        "\n".join([*_table("choice", "rule"), *(_row(*rule) for rule in rules.items())])
        for rules in (AUTO_RULES, ROW_RULES)
    )
    lines = _table("set", "strengths")
    for name, strengths in AUGMENTATION_SETS.items():
        on = ", ".join(f"`{key}: {json.dumps(value)}`" for key, value in strengths.items() if value)
        lines.append(_row(f"`{name}`", on or "none"))
    return AUTO_PAGE.format(rules=rules, row_rules=row_rules, sets="\n".join(lines))


def _sections(section: BaseModel, path: str = "") -> Iterator[tuple[str, BaseModel]]:
    """Subsections of a section, by the path of their key."""
    for key, value in section:
        if isinstance(value, BaseModel):
            inner = f"{path}.{key}" if path else key
            yield inner, value
            yield from _sections(value, inner)


def _meaning(field: FieldInfo) -> tuple[str, str]:
    """Meaning of a key, and its source."""
    text = " ".join((field.description or "").split())
    source = _SOURCE.search(text)
    return _SOURCE.sub("", text), source[1] if source else ""


def _defaults(semi_supervised: BaseModel, unsupervised: BaseModel, key: str) -> tuple[str, str]:
    """Default in YAML, and the variants that have the key."""
    sections = {"semi-supervised": semi_supervised, "unsupervised": unsupervised}
    found = {name: _plain(getattr(section, key)) for name, section in sections.items() if hasattr(section, key)}
    if len(found) == 1:
        [(name, default)] = found.items()
        return default, name
    if len(set(found.values())) == 1:
        return next(iter(found.values())), "both"
    return ", ".join(f"{name} {default}" for name, default in found.items()), "both"


def _plain(value: Any) -> str:
    """Value in YAML."""
    return f"`{json.dumps(value)}`".replace('"', "")


def _type(annotation: Any) -> str:
    """Readable name of a type."""
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if typing.get_origin(annotation) is tuple:
        number, constraints = typing.get_args(arguments[0])
        return f"list, each a {_type(number)} {_range(constraints.metadata)}"
    if arguments:  # X | None
        return f"`null` or {_type(arguments[0])}"
    return _TYPES[annotation]


def _range(metadata: list[Any]) -> str:
    """Bounds, such as `≥ 0, < 1`."""
    bounds = ((sign, getattr(m, name)) for m in metadata for name, sign in _BOUNDS.items() if hasattr(m, name))
    return ", ".join(f"{sign} {'2^63' if limit == 2**63 else limit}" for sign, limit in bounds)


def _shipped() -> str:
    """Table of the shipped files, with the comment at the top of each."""
    lines = ["## Shipped configurations", "", "`--config` takes one of these names, or the path of a file.", ""]
    lines += _table("name", "purpose", "variants")
    for name, path in shipped_configs().items():
        text = path.read_text(encoding="utf-8").splitlines()
        comment = " ".join(line.lstrip("# ") for line in text if line.startswith("#"))
        variants = ", ".join(f"`{line.rstrip(':')}`" for line in text if re.match(r"\w", line))
        lines.append(_row(f"`{name}`", comment, variants))
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """Section for each command, with its description and flags."""
    parts = [COMMANDS]
    for words, command in _commands(typer.main.get_command(application()), ("aae",)):
        meaning, flags = _of_argparse(parser()) if words[-1] == "predict" else _of_typer(command, words)
        lines = [f"## `{' '.join(words)}`", "", _escape(" ".join(meaning.split())), "", *_table("flag", "meaning")]
        lines += [_row(f"<code>{_escape(flag)}</code>", _escape(text)) for flag, text in flags]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _of_typer(command: Any, words: tuple[str, ...]) -> tuple[str, list[tuple[str, str]]]:
    """Description of a command, and its flags with their meaning."""
    context = command.make_context(" ".join(words), [], resilient_parsing=True)
    records = (parameter.get_help_record(context) for parameter in command.params)
    return command.help, [record for record in records if record is not None]  # None: hidden


def _of_argparse(command: ArgumentParser) -> tuple[str, list[tuple[str, str]]]:
    """Description and flags of `aae predict`."""
    flags = []
    for action in command._actions:  # argparse has no other list of them
        name = ", ".join(action.option_strings) or str(action.metavar)
        value = "" if action.nargs == 0 or not action.option_strings else f" {_value(action)}"
        flags.append((name + value, action.help or ""))
    return command.description or "", flags


def _value(action: Action) -> str:
    return "[" + "|".join(action.choices) + "]" if action.choices else action.dest.upper()


def _commands(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All commands below one, with the words that call them."""
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from _commands(inner, (*words, name))
    else:
        yield words, command


def _escape(text: str) -> str:
    """Text without characters that Markdown treats as markup."""
    return escape(text, quote=False).replace("|", "&#124;").replace("[", "&#91;").replace("*", "&#42;")


def _table(*titles: str) -> list[str]:
    """Header of a table."""
    return [_row(*titles), _row(*("---" for _ in titles))]


def _row(*cells: str) -> str:
    """Row of a table."""
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
