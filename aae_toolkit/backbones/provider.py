"""Providers of backbones: packages with networks and weights. A provider's module is imported when first used."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, cast

from aae_toolkit.errors import UsageError
from aae_toolkit.text import nearest

if TYPE_CHECKING:
    from torch import Tensor, nn

Interpolation = Literal["bilinear", "bicubic"]
PROVIDERS = ("timm", "torchvision")
_LONGEST = 80  # characters of an unknown name in a message


class Preprocessing(NamedTuple):
    """Input of a network, and the terms of its weights: fields of `BackboneDescription`."""

    input_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Interpolation
    licence: str


class Provider(Protocol):
    """Module of a provider."""

    names: Callable[[], list[str]]
    create: Callable[[str], nn.Module]
    classifier_weights: Callable[[str], tuple[str, ...]]
    preprocessing: Callable[[str], Preprocessing]
    pretrained: Callable[[str], dict[str, Tensor]]


def require_backbone(backbone: str) -> None:
    """Raise `UsageError` unless `backbone` names a provider; imports none."""
    package, colon, _ = backbone.partition(":")
    if package not in PROVIDERS or not colon:
        raise UsageError(
            f"--backbone {backbone[:_LONGEST]!r} names no provider; give timm:NAME or torchvision:NAME, such as"
            " timm:resnet18"
        )


def find(backbone: str) -> tuple[Provider, str]:
    """Return the provider of a backbone such as `timm:resnet18`, and the name of the network there.

    Raises:
        ModuleNotFoundError: the provider's package is not installed.
        UsageError: there is no such provider or network.
    """
    require_backbone(backbone)
    package, _, name = backbone.partition(":")
    import_module(package)
    provider = cast(Provider, import_module(f"aae_toolkit.backbones.{package}_networks"))
    known = provider.names()
    if name not in known:
        near = nearest(name, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"it has {len(known)}, such as {known[0]}"
        raise UsageError(f"--backbone: {package} has no network {name[:_LONGEST]!r}; {hint}")
    return provider, name
