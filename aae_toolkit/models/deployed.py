"""The three exported modules; scaling, BatchNorm, softmax and the category -> class map are inside."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from aae_toolkit.models.networks import Decoder, Encoder, ImageEncoder, class_map, scale


class DeployedClassifier(nn.Module):
    """`images` uint8 [N, C, H, W] -> `label` int64 [N], `probabilities` float32 [N, classes], `category` int64 [N].

    `label` is the class that the likeliest category stands for; `probabilities` are category probabilities summed by
    class.
    """

    map: Tensor
    category_to_class: Tensor

    def __init__(self, encoder: Encoder | ImageEncoder, category_to_class: tuple[int, ...], n_classes: int) -> None:
        """Wrap a trained encoder; `n_classes` is the number of classes, not of categories."""
        super().__init__()
        self.encoder = encoder
        self.register_buffer("map", class_map(category_to_class, n_classes))
        self.register_buffer("category_to_class", torch.tensor(category_to_class))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Classify images."""
        y_logits, _ = self.encoder(scale(images))
        category = y_logits.argmax(dim=1)
        return self.category_to_class[category], y_logits.softmax(dim=1) @ self.map, category


class DeployedEncoder(nn.Module):
    """`images` uint8 [N, C, H, W] -> `y` float32 [N, K], `z` float32 [N, Z]."""

    def __init__(self, encoder: Encoder | ImageEncoder) -> None:
        """Wrap a trained encoder."""
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode images."""
        y_logits, z = self.encoder(scale(images))
        return y_logits.softmax(dim=1), z


class DeployedDecoder(nn.Module):
    """`y` float32 [N, K], `z` float32 [N, Z] -> `images` float32 [N, C, H, W] in [0, 1], as the decoder gives."""

    def __init__(self, decoder: Decoder, picture_shape: tuple[int, int, int]) -> None:
        """Wrap a trained decoder."""
        super().__init__()
        self.decoder = decoder
        self.picture_shape = picture_shape

    def forward(self, y: Tensor, z: Tensor) -> Tensor:
        """Decode codes."""
        decoded: Any = self.decoder.images(self.decoder(y, z))
        images: Tensor = decoded.unflatten(1, self.picture_shape)
        return images
