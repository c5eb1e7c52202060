"""Wall of examples: images that the model labels wrong and right, or, without labels, images of each category."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aae_toolkit.data.split import UNLABELED, Split, SplitName
from aae_toolkit.evaluation import Integers, encode_split
from aae_toolkit.html.rendering import data_address
from aae_toolkit.models.directory import TrainedModel
from aae_toolkit.visualization.many import largest

_SEED = 0
_MOST_WRONG, _MOST_RIGHT = 24, 12
_CATEGORIES, _EACH = 12, 6  # categories without labels, and images of each
_LARGEST_SIDE = 96  # pixels; larger images are made smaller
_COARSE = 48  # pixels of a side up to which a page shows single pixels


@dataclass(frozen=True)
class Example:
    """Image with the label that the model gives it.

    Attributes:
        address: data URL of a PNG, at most 96 pixels a side.
        given: class that the model gives.
        probability: its probability, in [0, 1].
        true: true class; None if it is not known.
        is_coarse: the image is so small that it is enlarged without smoothing.
    """

    address: str
    given: str
    probability: float
    true: str | None
    is_coarse: bool


@dataclass(frozen=True)
class Group:
    """Examples that belong together, of `n` such images."""

    title: str
    examples: list[Example]
    n: int


@dataclass(frozen=True)
class Wall:
    """Examples of a split, wrong ones first; `labelled` is false where no image has a label."""

    split: SplitName
    labelled: bool
    groups: list[Group] = field(default_factory=list)

    @property
    def n_bytes(self) -> int:
        """Size of the pictures in the page, in bytes."""
        return sum(len(example.address) for group in self.groups for example in group.examples)


def wall_of(model: TrainedModel, split: Split, name: SplitName) -> Wall | None:
    """Choose examples of a split; None if it has no images.

    With labels: the mistakes with the most probable label first, and random images of each class that are right.
    Without: the most certain images of the largest categories.

    Raises:
        AaeError: the split has another image shape than the model.
    """
    known = split.labels != UNLABELED
    scored = split.of(known) if known.any() else split
    if len(scored) == 0:
        return None
    y, _ = encode_split(model, scored)
    mapping, n_classes = np.array(model.description.category_to_class), len(model.description.class_names)
    probabilities = y @ np.eye(n_classes, dtype=np.float32)[mapping]
    given = mapping[y.argmax(axis=1)]  # as the deployed classifier: the class of the likeliest category
    shown = _Shown(model.description.class_names, scored, given, probabilities[np.arange(len(y)), given])
    if not known.any():
        return Wall(name, labelled=False, groups=_by_category(shown, y.argmax(axis=1), model.architecture.n_classes))
    wrong = np.flatnonzero(given != scored.labels)
    right = np.flatnonzero(given == scored.labels)
    worst = wrong[np.argsort(-shown.certainty[wrong], kind="stable")][:_MOST_WRONG]
    groups = [
        Group("Wrong, the most confident first", shown.of(worst), len(wrong)),
        Group(
            "Right, some of each class at random", shown.of(_in_turn(right, scored.labels)[:_MOST_RIGHT]), len(right)
        ),
    ]
    return Wall(name, labelled=True, groups=[group for group in groups if group.n])


@dataclass(frozen=True)
class _Shown:
    """Images with the labels given, int64 [N], and their certainty, float32 [N]."""

    names: tuple[str, ...]
    split: Split
    given: Integers
    certainty: NDArray[np.float32]

    def of(self, chosen: Iterable[int]) -> list[Example]:
        """Return examples of these indices."""
        return [self._one(int(i)) for i in chosen]

    def _one(self, i: int) -> Example:
        image, label = self.split.images[i], int(self.split.labels[i])
        true = None if label == UNLABELED else self.names[label]
        coarse = max(image.shape[1:]) <= _COARSE
        return Example(png_address(image), self.names[self.given[i]], float(self.certainty[i]), true, coarse)


def _by_category(shown: _Shown, categories: Integers, n_categories: int) -> list[Group]:
    sizes, groups = np.bincount(categories, minlength=n_categories), []
    for category in largest(sizes, _CATEGORIES):
        members = np.flatnonzero(categories == category)
        surest = members[np.argsort(-shown.certainty[members], kind="stable")][:_EACH]
        if len(members):
            groups.append(Group(f"Category {category}", shown.of(surest), len(members)))
    return groups


def _in_turn(chosen: Integers, labels: Integers) -> Integers:
    """Shuffle indices so that each class comes in turn."""
    order = np.random.default_rng(_SEED).permutation(chosen)
    turn = np.zeros(len(order), dtype=np.int64)  # number of images of the same class before each
    for label in np.unique(labels[order]):
        member = labels[order] == label
        turn[member] = np.arange(member.sum())
    in_turn: Integers = order[np.lexsort((labels[order], turn))]
    return in_turn


def png_address(image: NDArray[Any]) -> str:
    """Return an image [C, H, W] as a data URL: 3 channels as RGB, others as their mean."""
    scaled = image if image.dtype == np.uint8 else np.rint(255 * image)
    pixels = scaled.transpose(1, 2, 0) if len(image) == 3 else scaled.mean(axis=0).round()
    picture = Image.fromarray(np.ascontiguousarray(pixels.astype(np.uint8)))
    picture.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    written = io.BytesIO()
    picture.save(written, format="PNG", optimize=True)
    return data_address("image/png", written.getvalue())
