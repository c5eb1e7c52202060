"""Console scripts with the seed document's four commands, flags and default configuration; same code as `aae`."""

from __future__ import annotations

import sys

from aae_toolkit.cli.app import main


def init_datasets() -> None:
    """Run `aae init-datasets`."""
    main(sys.argv[1:], "init_datasets")


def train_semi_supervised() -> None:
    """Run `aae train semi-supervised`."""
    main(sys.argv[1:], "train_semi_supervised")


def train_unsupervised() -> None:
    """Run `aae train unsupervised`."""
    main(sys.argv[1:], "train_unsupervised")


def generate_model_visualization() -> None:
    """Run `aae visualize`."""
    main(sys.argv[1:], "generate_model_visualization")
