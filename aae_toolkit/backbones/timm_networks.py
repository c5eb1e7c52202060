"""Networks of the package timm."""

from __future__ import annotations

import timm
import timm.data
import torch
from torch import nn

from aae_toolkit.backbones.provider import Preprocessing


def names() -> list[str]:
    """Names of all networks, and of those with each of their sets of weights, such as `resnet18.a1_in1k`."""
    return [*timm.list_models(), *timm.list_pretrained()]


def create(name: str) -> nn.Module:
    """Build a network without its classifier, with random weights."""
    return timm.create_model(name, pretrained=False, num_classes=0, exportable=True)


def classifier_weights(name: str) -> tuple[str, ...]:
    """Return the names, or prefixes of names, of the classifier's weights, which are left out."""
    named = _facts(name).classifier
    return (named,) if isinstance(named, str) else tuple(named or ())


def preprocessing(name: str) -> Preprocessing:
    """Return how the network takes images, and the terms of its weights."""
    facts = _facts(name)
    size = facts.input_size[1:]
    interpolation = "bilinear" if facts.interpolation == "bilinear" else "bicubic"
    return Preprocessing(size, facts.mean, facts.std, interpolation, facts.license or "not recorded by timm")


def pretrained(name: str) -> dict[str, torch.Tensor]:
    """Download the weights.

    Raises:
        LookupError: there are none.
        Exception: any error of the download.
    """
    if not _facts(name).has_weights:
        raise LookupError("timm has no pretrained weights of it")
    return timm.create_model(name, pretrained=True, num_classes=0, exportable=True).state_dict()


def _facts(name: str) -> timm.models.PretrainedCfg:
    return timm.get_pretrained_cfg(name)
