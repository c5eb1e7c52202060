"""Backbone as a network: images of any size in, embeddings out. It is never trained."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aae_toolkit.backbones.description import BackboneDescription, Shape
from aae_toolkit.backbones.provider import find
from aae_toolkit.errors import AaeError

_RGB = 3


class Resize(nn.Module):
    """Resizing with antialiasing, as two matrix products, which every exported format computes alike."""

    rows: Tensor
    columns: Tensor

    def __init__(self, size: tuple[int, int], to: tuple[int, int], interpolation: str) -> None:
        """Compute the share of each pixel, of images of size (H, W), in each pixel of images of the new size."""
        super().__init__()
        height, width = (_weights(*sides, interpolation) for sides in zip(size, to, strict=True))
        self.register_buffer("rows", height, persistent=False)
        self.register_buffer("columns", width.T.contiguous(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Resize images [B, C, H, W]."""
        return self.rows @ images @ self.columns


def _weights(n: int, to: int, interpolation: str) -> Tensor:
    """Return the weights of `n` pixels along a side for each of `to` pixels, float32 [to, n]."""
    with torch.device("cpu"):
        return F.interpolate(torch.eye(n)[None, None], size=(to, n), mode=interpolation, antialias=True)[0, 0]


class Backbone(nn.Module):
    """Images float32 [B, C, H, W] in [0, 1] -> embeddings float32 [B, F]; C is 1 (grey) or 3 (RGB)."""

    mean: Tensor
    std: Tensor

    def __init__(self, description: BackboneDescription, image_shape: Shape, network: nn.Module | None = None) -> None:
        """Put resizing and normalization before `network`; None builds it with random weights."""
        super().__init__()
        size = image_shape[1], image_shape[2]
        is_resized = size != description.input_size
        self.resize = Resize(size, description.input_size, description.interpolation) if is_resized else nn.Identity()
        self.register_buffer("mean", _by_channel(description.mean), persistent=False)
        self.register_buffer("std", _by_channel(description.std), persistent=False)
        network = create(description.name) if network is None else network
        self.network = network.to(memory_format=torch.channels_last)
        self.train(False).requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Embed images."""
        resized: Tensor = self.resize(images)
        colored = resized.expand(-1, _RGB, -1, -1)  # grey is repeated
        return self.network((colored - self.mean) / self.std)  # type: ignore[no-any-return]

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode: BatchNorm is fixed, and nothing is dropped."""
        return super().train(False)


def _by_channel(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).view(1, -1, 1, 1)


def create(backbone: str) -> nn.Module:
    """Build the network of a backbone with random weights, without its classifier.

    Raises:
        ModuleNotFoundError: the provider's package is not installed.
        UsageError: there is no such backbone.
    """
    provider, name = find(backbone)
    return provider.create(name)


def n_weight_bytes(name: str) -> int:
    """Return the size of a network's weights in bytes, without allocating them; 0 where that cannot be told."""
    try:
        with torch.device("meta"):
            return sum(p.numel() * p.element_size() for p in create(name).parameters())
    except NotImplementedError:  # some networks compute their sizes by tensors
        return 0


def changes_of_images(description: BackboneDescription, image_shape: Shape) -> list[str]:
    """Describe the changes that a backbone makes to images of another size or without colours."""
    channels, height, width = image_shape
    changes = []
    if (height, width) != description.input_size:
        larger = description.input_size[0] > height
        to = f"{description.input_size[0]} x {description.input_size[1]}"
        changes.append(f"images of {height} x {width} pixels are {'enlarged' if larger else 'reduced'} to {to}")
    if channels == 1:
        changes.append("grey images are repeated to three channels")
    return changes


@torch.inference_mode()
def embedding_size(network: nn.Module, name: str, input_size: tuple[int, int]) -> int:
    """Return the number of features that a network gives.

    Raises:
        AaeError: it does not take images of this size, or gives anything but a row of features for each.
    """
    try:
        given = network.eval()(torch.zeros(1, _RGB, *input_size))
    except Exception as error:  # networks check sizes in ways of their own
        raise AaeError(f"backbone {name} does not take images of {input_size[0]} x {input_size[1]} pixels") from error
    if not isinstance(given, Tensor) or given.ndim != 2:
        raise AaeError(f"backbone {name} gives no row of features for each image; choose a network for classification")
    return given.shape[1]
