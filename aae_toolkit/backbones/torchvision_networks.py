"""Networks for classification of the package torchvision."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from aae_toolkit.backbones.provider import Interpolation, Preprocessing

_CLASSIFIERS = ("fc", "classifier", "head", "heads")  # name of the last part of every network
_AUXILIARY = ("aux1", "aux2", "AuxLogits")  # parts of two networks that only their training needs
_LICENCE = "torchvision's code is BSD-3-Clause; terms of the weights depend on the data that they were trained on"


def names() -> list[str]:
    """Names of all networks."""
    from torchvision import models

    return list(models.list_models(module=models))


def create(name: str) -> nn.Module:
    """Build a network without its classifier, with random weights."""
    from torchvision import models

    options = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    network: nn.Module = models.get_model(name, weights=None, **options)
    last, part = list(network.named_children())[-1]
    assert last in _CLASSIFIERS
    setattr(network, last, _without_classes(part))
    return network


def classifier_weights(name: str) -> tuple[str, ...]:
    """Return the prefixes of names of the classifier's weights, which are left out."""
    return _CLASSIFIERS + _AUXILIARY


def preprocessing(name: str) -> Preprocessing:
    """Return how the network takes images, and the terms of its weights."""
    taken = _usual_weights(name).transforms()
    side = taken.crop_size[0]
    interpolation: Interpolation = "bicubic" if taken.interpolation.value == "bicubic" else "bilinear"
    return Preprocessing((side, side), tuple(taken.mean), tuple(taken.std), interpolation, _LICENCE)


def pretrained(name: str) -> dict[str, Tensor]:
    """Download the weights.

    Raises:
        Exception: any error of the download.
    """
    state: dict[str, Tensor] = _usual_weights(name).get_state_dict(progress=False, check_hash=True, weights_only=True)
    return state


def _usual_weights(name: str) -> Any:
    from torchvision import models

    return models.get_model_weights(name).DEFAULT


def _without_classes(part: nn.Module) -> nn.Module:
    """Return the last part of a network up to its last linear layer, which gives the classes."""
    if isinstance(part, nn.Linear):
        return nn.Identity()
    layers = list(part.children())
    linear = [index for index, layer in enumerate(layers) if isinstance(layer, nn.Linear)]
    if not linear:  # squeezenet classifies by a convolution before it averages
        return nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(*layers[: linear[-1]])
