"""Gradients that a training step sends between processes, for the shipped configurations, as a Markdown table."""

from __future__ import annotations

from training_step import architecture_of

from aae_toolkit.config import load_config
from aae_toolkit.models.networks import Networks
from aae_toolkit.training.phases import build_phases

for variant, name in (
    ("unsupervised", "seed"),
    ("semi_supervised", "seed"),
    ("unsupervised", "clusters-30-mlp"),
    ("semi_supervised", "labels-3000"),
):
    config = load_config(name, variant)
    networks = Networks(architecture_of(config), mode_decoder=getattr(config.training, "use_mode_decoder", False))
    phases = build_phases(networks, config)
    n = sum(parameter.numel() / phase.every for phase in phases for parameter in phase.trained)  # a step on average
    print(f"| {variant}, `{name}.yaml` | {n / 1e6:.1f} million | {4 * n / 1e6:.0f} MB | {2 * n / 1e6:.0f} MB |")
