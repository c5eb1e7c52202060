"""Rows of the table of results: configuration, data, target, and published figures."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

from aae_toolkit.config import Variant, load_config


@dataclass(frozen=True)
class Row:
    """Row of the table: configuration, data and target."""

    name: str
    title: str
    variant: Variant
    config: str
    target: float | None  # mean test accuracy in percent
    minutes: float  # at most, a run
    seeds: int = 3
    source: Literal["mnist", "digits", "glyphs"] = "mnist"
    labeled: int = 0
    one_to_one: bool = False  # categories are matched to classes one to one, on validation
    aae_paper: str = ""  # published test accuracy in percent: of the adversarial autoencoder's paper,
    best_published: str = ""  # and of the best method that we know for the same labels and kind of network

    @property
    def config_sha256(self) -> str:
        """Checksum of the current configuration; results of another one are ignored."""
        chosen = load_config(self.config, self.variant).model_dump(mode="json", exclude_defaults=True)
        return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()

    def commands(self, seed: int, directory: str = "data", raw_dir: str = "RAW") -> list[list[str]]:
        """Commands of a run, as arguments of `aae`; `raw_dir` holds MNIST's files, or folders of glyphs."""
        source = {
            "mnist": ["--source", "mnist", "--raw-dir", raw_dir],
            "digits": ["--source", "digits"],
            "glyphs": ["--source", "folder", "--raw-dir", raw_dir, "--validation", "10000", "--test", "10000"],
        }[self.source]
        split = [*source, "--labeled", str(self.labeled), "--seed", str(seed)]
        training = ["train", self.variant.replace("_", "-"), "--dir-path", directory, "--config-path", self.config]
        return [["init-datasets", "--dir-path", directory, *split], [*training, "--seed", str(seed), "--resume"]]


SEMI, UN = "semi_supervised", "unsupervised"
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
    Row("glyphs-3000", "glyphs, 3000 labels", SEMI, "labels-3000", None, 10, 1, "glyphs", 3000),
    Row("glyphs-1000", "glyphs, 1000 labels", SEMI, "labels-1000", None, 10, 1, "glyphs", 1000),
    Row("glyphs-100", "glyphs, 100 labels", SEMI, "labels-100", None, 10, 1, "glyphs", 100),
    Row("glyphs-10", "glyphs, K = 10, one-to-one", UN, "clusters-10", None, 10, 3, "glyphs", one_to_one=True),
    Row("glyphs-30", "glyphs, K = 30, majority", UN, "clusters-30", None, 10, 1, "glyphs"),
]
