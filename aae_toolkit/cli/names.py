"""Names of commands, in the order of the pipeline, and of flags: those that help shows, and longer ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping

PROGRAM = "aae"

# Sections of the help, with their commands. Each command is a module in this folder.
SECTIONS = {
    "Prepare": ("init-datasets",),
    "Train": ("train", "tune"),
    "Judge": ("evaluate", "visualize", "name-categories", "report"),
    "Deploy": ("export", "parity", "bench", "predict", "web", "verify"),
    "This machine": ("doctor", "demo"),
}
COMMANDS = tuple(name for names in SECTIONS.values() for name in names)

# Scripts of the seed document, with the command that each runs.
SEED_COMMANDS = {
    "init_datasets": ("init-datasets",),
    "train_semi_supervised": ("train", "semi-supervised"),
    "train_unsupervised": ("train", "unsupervised"),
    "generate_model_visualization": ("visualize",),
}

# Longer name -> name that help shows. The seed document's commands show the longer one.
LONGER = {
    "--output-path": "--output",
    "--dir-path": "--data",
    "--model-dir-path": "--model",
    "--export-dir-path": "--export",
    "--output-dir-path": "--output",
    "--config-path": "--config",
    "--study-path": "--study",
}
SEED = {shown: longer for longer, shown in LONGER.items()}


def renamed(arguments: list[str], known: Collection[str], own: Mapping[str, str] | None = None) -> list[str]:
    """Return `arguments` with each flag under the name that a command knows.

    Args:
        arguments: words of a command line; those after `--` are no flags.
        known: names of the command's flags.
        own: further names of this command's flags, each with the one that is known.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return [_renamed(word, known, own or {}) for word in arguments[:end]] + arguments[end:]


def _renamed(word: str, known: Collection[str], own: Mapping[str, str]) -> str:
    flag, sign, value = word.partition("=")
    names = (flag, LONGER.get(flag), SEED.get(flag), own.get(flag))
    return next((name for name in names if name is not None and name in known), flag) + sign + value
