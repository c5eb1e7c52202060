"""Rows of the table of results: configuration, data, target, and published figures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from aae_toolkit.config import Variant, VariantConfig, load_config
from aae_toolkit.config.auto import AUTO, Facts
from aae_toolkit.config.auto_rows import RowFacts
from aae_toolkit.training.choosing import chosen_by


@dataclass(frozen=True)
class DataSet:
    """Data set of several rows.

    Attributes:
        title: its name on the page.
        flags: arguments of `aae init-datasets`, besides those of a draw.
        n_classes: number of classes.
        has_files: True if `--raw-dir` names its files.
        features: what baselines see of its images, from `methods.FEATURES`.
    """

    title: str
    flags: tuple[str, ...]
    n_classes: int = 10
    has_files: bool = True
    features: tuple[str, ...] = ("pixels", "gradients")


DATA_SETS = {
    "mnist": DataSet("MNIST", ("--source", "mnist")),
    "fashion-mnist": DataSet("Fashion-MNIST", ("--source", "fashion-mnist")),
    "digits": DataSet("Digits", ("--source", "digits"), has_files=False),
    "glyphs": DataSet("Glyphs", ("--source", "folder", "--validation", "10000", "--test", "10000")),
    "photos": DataSet(
        "Photographs",
        ("--source", "folder", "--image-size", "32", "--channels", "3"),
        n_classes=5,
        features=("pixels", "gradients", "colours"),
    ),
}


@dataclass(frozen=True)
class Task:
    """Problem that a row and its baselines share: data, labels, and the naming of categories.

    Attributes:
        source: key of `DATA_SETS`.
        labeled: number of labelled images; 0 asks for categories.
        n_categories: number of categories without labels, K.
        one_to_one: whether categories are matched to classes one to one, or by majority; on validation images.
    """

    source: str
    labeled: int
    n_categories: int = 0
    one_to_one: bool = False

    @property
    def data_set(self) -> DataSet:
        """The data set."""
        return DATA_SETS[self.source]

    @property
    def name(self) -> str:
        """Key in docs/results.json."""
        if self.labeled:
            return f"{self.source}-{self.labeled}"
        return f"{self.source}-k{self.n_categories}-{'one-to-one' if self.one_to_one else 'majority'}"

    @property
    def title(self) -> str:
        """Name on the page."""
        if self.labeled:
            return f"{self.labeled} labels"
        return f"no labels, K = {self.n_categories}, {'one-to-one' if self.one_to_one else 'majority'}"

    def command(self, seed: int, directory: str, raw_dir: str) -> list[str]:
        """Arguments of `aae` that draw the splits; `raw_dir` holds the MNIST family's files, or folders of images."""
        files = ["--raw-dir", raw_dir] if self.data_set.has_files else []
        source, name, *more = self.data_set.flags
        draw = ["--labeled", str(self.labeled), "--seed", str(seed)]
        return ["init-datasets", "--data", directory, source, name, *files, *more, *draw]


def checksum(config: VariantConfig) -> str:
    """Checksum of a configuration's values, which a new key does not change; results of another one are ignored."""
    values = config.model_dump(mode="json", exclude_defaults=True)
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Row:
    """Row of the table: configuration, data and target."""

    name: str
    title: str
    variant: Variant
    config: str  # name or path of a configuration, or AUTO
    target: float | None  # mean test accuracy in percent
    minutes: float  # at most, a run
    seeds: int = 3
    source: str = "mnist"  # key of DATA_SETS
    labeled: int = 0
    one_to_one: bool = False  # categories are matched to classes one to one, on validation
    n_classes: int | None = None  # number of categories, K; None: as configured
    aae_paper: str = ""  # published test accuracy in percent: of the adversarial autoencoder's paper,
    best_published: str = ""  # and of the best method that we know for the same labels and kind of network

    def config_for(self, run: Mapping[str, Any]) -> VariantConfig:
        """Load the configuration, or choose it anew by the facts of the data that a run has recorded."""
        if self.config != AUTO:
            return load_config(self.config, self.variant)
        facts: Facts | RowFacts = TypeAdapter(Facts | RowFacts).validate_python(run["facts"])
        return chosen_by(facts, self.variant)[0]

    def is_current(self, run: Mapping[str, Any]) -> bool:
        """Tell whether a recorded run had the configuration that it would have now."""
        return bool(run) and run["config_sha256"] == checksum(self.config_for(run))

    @property
    def task(self) -> Task:
        """The problem, which baselines are measured on too."""
        if self.labeled:
            return Task(self.source, self.labeled)
        configured = None if self.config == AUTO else load_config(self.config, self.variant).model.n_classes
        n_categories = self.n_classes or configured or DATA_SETS[self.source].n_classes
        return Task(self.source, 0, n_categories, self.one_to_one)

    def commands(self, seed: int, directory: str = "data", raw_dir: str = "RAW") -> list[list[str]]:
        """Commands of a run, as arguments of `aae`; `raw_dir` holds the files of the data set."""
        training = ["train", self.variant.replace("_", "-"), "--data", directory, "--config", self.config]
        categories = [] if self.n_classes is None else ["--n-classes", str(self.n_classes)]
        return [
            self.task.command(seed, directory, raw_dir),
            [*training, *categories, "--seed", str(seed), "--resume"],
        ]


SEMI: Variant = "semi_supervised"
UN: Variant = "unsupervised"
ROWS = [
    Row("seed", "3000 labels, the seed's configuration", SEMI, "seed", 97.5, 20, labeled=3000),
    Row("labels-3000", "3000 labels", SEMI, "labels-3000", 99.45, 10, labeled=3000),
    Row("labels-1000", "1000 labels", SEMI, "labels-1000", 99.35, 10, labeled=1000, aae_paper="98.40 [1]"),
    Row(
        "labels-100",
        "100 labels",
        SEMI,
        "labels-100",
        99.2,
        10,
        seeds=5,
        labeled=100,
        aae_paper="98.10 [1]",
        best_published="99.20 [2]",
    ),
    Row(
        "labels-100-mlp",
        "100 labels, MLP, no augmentation",
        SEMI,
        "labels-100-mlp",
        98.9,
        30,
        labeled=100,
        aae_paper="98.10 [1]",
        best_published="98.94 [3]",
    ),
    Row(
        "clusters-10",
        "no labels, K = 10, one-to-one",
        UN,
        "clusters-10",
        98.9,
        10,
        seeds=5,
        one_to_one=True,
        best_published="98.4 [4], [5]",
    ),
    Row("clusters-30", "no labels, K = 30, majority", UN, "clusters-30", 98.9, 10, aae_paper="95.90 [1]"),
    Row(
        "clusters-30-mlp",
        "no labels, K = 30, majority, MLP, no augmentation",
        UN,
        "clusters-30-mlp",
        95.9,
        30,
        aae_paper="95.90 [1]",
    ),
    Row("digits-100", "digits, 100 labels", SEMI, "digits", 97.0, 2, source="digits", labeled=100),
    Row(
        "digits-10",
        "digits, no labels, K = 10, one-to-one",
        UN,
        "digits",
        93.0,
        2,
        source="digits",
        one_to_one=True,
    ),
    Row("glyphs-3000", "glyphs, 3000 labels", SEMI, "labels-3000", None, 10, 3, "glyphs", 3000),
    Row("glyphs-1000", "glyphs, 1000 labels", SEMI, "labels-1000", None, 10, 3, "glyphs", 1000),
    Row("glyphs-100", "glyphs, 100 labels", SEMI, "labels-100", None, 10, 3, "glyphs", 100),
    Row("glyphs-10", "glyphs, K = 10, one-to-one", UN, "clusters-10", None, 10, 3, "glyphs", one_to_one=True),
    Row("glyphs-30", "glyphs, K = 30, majority", UN, "clusters-30", None, 10, 3, "glyphs"),
    *(
        Row(f"auto-mnist-{labels}", f"auto, {labels} labels", SEMI, AUTO, target, 30, seeds, labeled=labels)
        for labels, target, seeds in (
            *((10, 98.5, 5), (20, 98.8, 5), (50, 98.9, 5)),
            *((100, 99.1, 3), (1000, 99.3, 3), (3000, 99.45, 3)),
        )
    ),
    Row("auto-mnist", "auto, no labels, K = 10, one-to-one", UN, AUTO, 99.1, 30, 5, one_to_one=True),
    Row("auto-fashion-1000", "Fashion-MNIST, auto, 1000 labels", SEMI, AUTO, 88.0, 30, 3, "fashion-mnist", 1000),
    Row("auto-fashion-100", "Fashion-MNIST, auto, 100 labels", SEMI, AUTO, 80.0, 30, 5, "fashion-mnist", 100),
    Row(
        "auto-fashion",
        "Fashion-MNIST, auto, no labels, K = 10, one-to-one",
        *(UN, AUTO, 77.0, 30, 5, "fashion-mnist"),
        one_to_one=True,
    ),
    Row("auto-glyphs", "glyphs, auto, K = 10, one-to-one", UN, AUTO, None, 30, 5, "glyphs", one_to_one=True),
    Row("auto-photos-50", "photographs, auto, 10 labels a class", SEMI, AUTO, None, 30, 5, "photos", 50),
    Row("auto-photos-100", "photographs, auto, 20 labels a class", SEMI, AUTO, None, 30, 5, "photos", 100),
]


def tasks_of(rows: list[Row]) -> dict[Task, int]:
    """Return the tasks of rows with the number of draws of each, in the order of DATA_SETS."""
    draws: dict[Task, int] = {}
    for row in rows:
        draws[row.task] = max(row.seeds, draws.get(row.task, 0))
    order = list(DATA_SETS)
    return dict(sorted(draws.items(), key=lambda item: (order.index(item[0].source), item[0].labeled or 10**9)))
