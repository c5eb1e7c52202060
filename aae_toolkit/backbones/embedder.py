"""Embedding of images and of augmented views of them by a backbone."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F

from aae_toolkit.backbones.description import BackboneDescription, Shape
from aae_toolkit.backbones.network import Backbone, embedding_size
from aae_toolkit.backbones.provider import find
from aae_toolkit.backbones.weights import download, load_state, own_tensors, read_state
from aae_toolkit.errors import AaeError

_BATCH = {"cpu": 8, "cuda": 64}  # images a forward pass; on a CPU the values of more do not fit its caches
_CROP = 0.35  # smallest area of a crop, as a fraction of the image
_ASPECT = 0.25  # largest change of the aspect ratio, as a logarithm
_ROTATION = 0.17  # largest angle, radians
_LIGHT = 0.3  # largest change of brightness, contrast and saturation, as a fraction
_GREY = Tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)  # luminance of red, green and blue [ITU-R BT.601]


class Embedder:
    """Backbone with weights, which embeds uint8 images.

    Attributes:
        description: description of the backbone.
        weights: content of `backbone.safetensors`.
    """

    def __init__(self, backbone: str, weights: Path | None, image_shape: Shape, device: torch.device) -> None:
        """Build the network and load its weights from a file, or with None from the provider's hub.

        Raises:
            AaeError: the weights cannot be had, or do not fit.
            ModuleNotFoundError: the provider's package is not installed.
            UsageError: there is no such backbone.
        """
        provider, name = find(backbone)
        facts = provider.preprocessing(name)
        network = provider.create(name)
        if weights is None:
            state, source = download(provider, name), "the provider's file"
        else:
            state, source = read_state(weights), f"--backbone-weights {weights}"
            facts = facts._replace(licence=f"not known: read from a file; terms of the usual weights: {facts.licence}")
        load_state(network, state, source, backbone, provider.classifier_weights(name))
        self.weights = save(own_tensors(network))
        self.description = BackboneDescription(
            name=backbone,
            sha256=hashlib.sha256(self.weights).hexdigest(),
            embedding_size=embedding_size(network, backbone, facts.input_size),
            **facts._asdict(),
        )
        self._device = device
        self._backbone = Backbone(self.description, image_shape, network).to(device)

    @torch.inference_mode()
    def __call__(self, images: NDArray[np.uint8], n_views: int, seed: tuple[int, ...]) -> NDArray[np.float16]:
        """Embed images uint8 [n, C, H, W] and views of each, drawn by `seed`: float16 [n, 1 + V, F], the image first.

        Raises:
            AaeError: a feature is not finite.
        """
        generator = torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]))
        pixels = torch.from_numpy(images).float() / 255
        looks = [pixels, *(random_view(pixels, generator) for _ in range(n_views))]
        table = torch.stack([self._embed(look) for look in looks], dim=1)
        if not table.isfinite().all():
            raise AaeError(f"{self.description.name} gives embeddings that are not finite; its weights are damaged")
        return table.numpy()

    def _embed(self, images: Tensor) -> Tensor:
        """Embed images float32 [n, C, H, W], a few at a time: float16 [n, F]."""
        size = _BATCH[self._device.type]
        pieces = [images[first : first + size].to(self._device) for first in range(0, len(images), size)]
        return torch.cat([self._backbone(piece).half().cpu() for piece in pieces])


def random_view(images: Tensor, generator: torch.Generator) -> Tensor:
    """Crop, turn and mirror each image at random, and change its light; grey images, often signs, are not mirrored.

    Args:
        images: float32 [B, C, H, W] in [0, 1].
        generator: source of random numbers, on the CPU.
    """
    n, channels = images.shape[:2]
    area, aspect, angle, x, y, mirror, *light = torch.rand(9, n, generator=generator)
    area = (_CROP + (1 - _CROP) * area).sqrt()
    ratio = (_ASPECT * (2 * aspect - 1)).exp().sqrt()
    width, height = (area * ratio).clamp_max(1), (area / ratio).clamp_max(1)
    angle = _ROTATION * (2 * angle - 1)
    sign = torch.where(mirror < 0.5, -1.0, 1.0) if channels > 1 else torch.ones(n)
    cos, sin = angle.cos(), angle.sin()
    across = torch.stack([sign * width * cos, -height * sin, (1 - width) * (2 * x - 1)], dim=1)
    down = torch.stack([sign * width * sin, height * cos, (1 - height) * (2 * y - 1)], dim=1)
    grid = F.affine_grid(torch.stack([across, down], dim=1), list(images.shape), align_corners=False)
    cropped = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    brightness, contrast, saturation = (1 + _LIGHT * (2 * drawn - 1).view(-1, 1, 1, 1) for drawn in light)
    if channels > 1:
        grey = (cropped * _GREY).sum(dim=1, keepdim=True)
        cropped = grey.lerp(cropped, saturation)
    mean = cropped.mean(dim=(1, 2, 3), keepdim=True)
    view: Tensor = (mean.lerp(cropped, contrast) * brightness).clamp(0, 1)
    return view
