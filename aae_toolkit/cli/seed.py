"""Console scripts with the seed document's four commands, flags and default configuration; same code as `aae`."""

from __future__ import annotations

import sys

from aae_toolkit.cli.app import main
from aae_toolkit.config import DEFAULT_CONFIG

_SEED = ("--config-path", DEFAULT_CONFIG)  # a later --config-path wins


def init_datasets() -> None:
    """Run `aae init-datasets`."""
    main(["init-datasets", *sys.argv[1:]])


def train_semi_supervised() -> None:
    """Run `aae train semi-supervised`."""
    main(["train", "semi-supervised", *_SEED, *sys.argv[1:]])


def train_unsupervised() -> None:
    """Run `aae train unsupervised`."""
    main(["train", "unsupervised", *_SEED, *sys.argv[1:]])


def generate_model_visualization() -> None:
    """Run `aae visualize`."""
    main(["visualize", *sys.argv[1:]])
