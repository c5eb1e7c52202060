"""Networks of the package timm."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from aae_toolkit.backbones.provider import Interpolation, Preprocessing


def names() -> list[str]:
    """Names of all networks, and of those with each of their sets of weights, such as `resnet18.a1_in1k`."""
    import timm

    return [*timm.list_models(), *timm.list_pretrained()]


def create(name: str) -> nn.Module:
    """Build a network without its classifier, with random weights."""
    return _create(name, pretrained=False)


def classifier_weights(name: str) -> tuple[str, ...]:
    """Return the names, or prefixes of names, of the classifier's weights, which are left out."""
    named = _facts(name).classifier
    return (named,) if isinstance(named, str) else tuple(named or ())


def preprocessing(name: str) -> Preprocessing:
    """Return how the network takes images, and the terms of its weights."""
    facts = _facts(name)
    interpolation: Interpolation = "bilinear" if facts.interpolation == "bilinear" else "bicubic"
    licence = facts.license or "not recorded by timm"
    return Preprocessing(facts.input_size[1:], facts.mean, facts.std, interpolation, licence)


def pretrained(name: str) -> dict[str, Tensor]:
    """Download the weights.

    Raises:
        LookupError: there are none.
        Exception: any error of the download.
    """
    if not _facts(name).has_weights:
        raise LookupError("timm has none")
    return _create(name, pretrained=True).state_dict()


def _create(name: str, *, pretrained: bool) -> nn.Module:
    import timm

    network: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=0, exportable=True)
    return network


def _facts(name: str) -> Any:
    import timm

    return timm.get_pretrained_cfg(name)
