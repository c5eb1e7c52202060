"""Names that people give to the categories of a model that was trained without labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from aae_toolkit.data.class_names import reads_as_no_label, require_distinct
from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.files import require_own, write_text
from aae_toolkit.files.lock import lock_directory
from aae_toolkit.models.description import FILE_NAME, ModelDescription, read_description
from aae_toolkit.progress import Progress
from aae_toolkit.text import one_line

_EXAMPLE = "write NAME=CATEGORY, such as cat=0,3"
_EXPORTED = "manifest.json"  # what only an export directory has
_BY_HAND = "; names given with aae name-categories"  # end of `category_to_class_from`


def own_name(category: int) -> str:
    """Return the name of a category that nobody has named."""
    return f"category_{category}"


def parse_names(words: Iterable[str]) -> dict[int, str]:
    """Parse words such as `cat=0,3`; return the name of each category.

    Raises:
        UsageError: a word has another form, its name cannot be one of a class, or a category is named twice.
    """
    names: dict[int, str] = {}
    for word in words:
        name, sign, numbers = word.rpartition("=")
        name = name.strip()
        if not sign or not name:
            raise UsageError(f"{one_line(repr(word), 80)} names no category; {_EXAMPLE}")
        if reads_as_no_label(name):
            raise UsageError(f"{name!r} reads as a mark of images without a label; give another name")
        for number in numbers.split(","):
            if not (number.strip().isascii() and number.strip().isdecimal() and len(number) < 10):
                found = one_line(repr(number), 40)
                raise UsageError(f"{one_line(repr(word), 80)}: {found} is not the number of a category; {_EXAMPLE}")
            category = int(number)
            if category in names:
                raise UsageError(f"category {category} is named twice, {names[category]!r} and {name!r}; name it once")
            names[category] = name
    return names


def named(description: ModelDescription, names: Mapping[int, str]) -> ModelDescription:
    """Return the description with these names of categories; other categories keep theirs.

    Classes of labelled data stay, also without a category, so that their images count in scores. Names that were
    given earlier and that no category has any more are removed.

    Args:
        description: description of a model that was trained without labels.
        names: new names by category.

    Raises:
        UsageError: a category does not exist, or a name is another category's own.
        AaeError: two names read alike.
    """
    n = len(description.category_to_class)
    for category, name in names.items():
        if category >= n:
            raise UsageError(f"category {category} does not exist: the model has the categories 0 to {n - 1}")
        if name != own_name(category) and name in map(own_name, range(n)):
            raise UsageError(f"{name} stands for a category without a name; give category {category} another one")
    before = description.class_names
    by_category = [names.get(k, before[c]) for k, c in enumerate(description.category_to_class)]
    added = {*description.given_names, *(name for name in names.values() if name not in before)}
    by_hand = added | {own_name(k) for k in range(n)}
    kept = [name for name in before if name in by_category or name not in by_hand]
    class_names = tuple(dict.fromkeys([*kept, *by_category]))
    require_distinct(class_names, "the model")
    return description.model_copy(
        update={
            "class_names": class_names,
            "category_to_class": tuple(class_names.index(name) for name in by_category),
            "category_to_class_from": description.category_to_class_from.removesuffix(_BY_HAND) + _BY_HAND,
            "given_names": tuple(name for name in class_names if name in added),
            "validation_accuracy": None,  # of the earlier names
        }
    )


def require_nameable(description: ModelDescription) -> None:
    """Raise `AaeError` unless the model was trained on images without labels."""
    if description.variant != "unsupervised":
        raise AaeError(
            "the model learned its classes from labels, so its categories have names; only those of aae train"
            " unsupervised can be named"
        )
    if description.arrays is not None:
        raise AaeError("the model was saved by an estimator, which numbers its clusters; name them in Python")


def read_model(directory: Path) -> ModelDescription:
    """Read the description of a model directory whose categories can be named.

    Raises:
        AaeError: it is none, it is an export directory, or the model learned its classes from labels.
    """
    description = read_description(directory)
    if (directory / _EXPORTED).exists():
        raise AaeError(f"{directory} is an export directory, which does not change; give its model's, and export again")
    require_own(directory / FILE_NAME)
    require_nameable(description)
    return description


def write_names(directory: Path, names: Mapping[int, str], progress: Progress) -> ModelDescription:
    """Name categories of a model directory, and return its new description; `model.json` changes whole or not at all.

    Args:
        directory: model directory.
        names: new names by category, at least one.
        progress: is told of another process that writes there.

    Raises:
        AaeError: the directory cannot be read, is locked, or cannot be written, or as `named` raises.
        UsageError: as `named` raises.
    """
    named(read_model(directory), names)  # refused before a lock is written
    path = directory / FILE_NAME
    try:
        with lock_directory(directory, progress):
            description = named(read_model(directory), names)
            write_text(path, description.model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise AaeError(f"{path} cannot be written: {error.strerror or error}") from error
    return description
