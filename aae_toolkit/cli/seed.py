"""The seed document's four console scripts: its commands and flags, the same code as `aae`."""

from __future__ import annotations

import sys

from aae_toolkit.cli.app import main


def init_datasets() -> None:
    """`init_datasets` is `aae init-datasets`."""
    main(["init-datasets", *sys.argv[1:]])


def train_semi_supervised() -> None:
    """`train_semi_supervised` is `aae train semi-supervised`."""
    main(["train", "semi-supervised", *sys.argv[1:]])


def train_unsupervised() -> None:
    """`train_unsupervised` is `aae train unsupervised`."""
    main(["train", "unsupervised", *sys.argv[1:]])


def generate_model_visualization() -> None:
    """`generate_model_visualization` is `aae visualize`."""
    main(["visualize", *sys.argv[1:]])
