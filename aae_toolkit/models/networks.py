"""The five networks: encoder Q, decoder P, mode decoder, and the two discriminators.

Image tensors here are float32 [B, C, H, W] scaled to [0, 1]; scaling from uint8 belongs to the callers.
Sources: Makhzani et al., "Adversarial Autoencoders", sections 4 and 5, appendix A; the seed document, "The Model".
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aae_toolkit.models.description import Architecture


def _hidden_layers(sizes: list[int], *, batch_norm: bool, dropout: float = 0.0) -> nn.Sequential:
    """Linear layers through `sizes`, each followed by BatchNorm where asked, ReLU, and dropout where asked."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers.append(nn.Linear(n_in, n_out, bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm1d(n_out))
        layers.append(nn.ReLU(inplace=True))
        if dropout:
            layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


def _conv_stages(in_channels: int, widths: tuple[int, ...], size: int, dropout: float) -> nn.Sequential:
    """A 3x3 convolution stage per width, halving the picture between stages while its short side allows it."""
    layers: list[nn.Module] = []
    for index, (n_in, n_out) in enumerate(pairwise((in_channels, *widths))):
        if index and size >= 4:
            layers.append(nn.MaxPool2d(2))
            size //= 2
        layers += [nn.Conv2d(n_in, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    if dropout:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


class Encoder(nn.Module):
    """Q: images [B, C, H, W] in [0, 1] -> `y_logits` [B, K], `z` [B, Z]."""

    def __init__(self, a: Architecture) -> None:
        """Build the features (`mlp`: two hidden layers, `conv`: convolution stages) and the two heads."""
        super().__init__()
        channels, height, width = a.image_shape
        if a.encoder == "mlp":
            sizes = [channels * height * width, a.hidden_size, a.hidden_size]
            hidden = _hidden_layers(sizes, batch_norm=True, dropout=a.encoder_dropout)
            self.features = nn.Sequential(nn.Flatten(), *hidden)
            n_features = a.hidden_size
        else:
            self.features = _conv_stages(channels, a.conv_channels, min(height, width), a.encoder_dropout)
            n_features = a.conv_channels[-1]
        self.y_head = nn.Linear(n_features, a.n_classes)
        self.z_head = nn.Linear(n_features, a.z_size)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode images; `y = softmax(y_logits)`."""
        features = self.features(images)
        return self.y_head(features), self.z_head(features)


class Decoder(nn.Module):
    """P: `y` [B, K], `z` [B, Z] -> `x_recon_logits` [B, C*H*W]."""

    def __init__(self, a: Architecture) -> None:
        """Two hidden layers, without BatchNorm: a code decodes to the same picture in any batch."""
        super().__init__()
        self.hidden = _hidden_layers([a.n_classes + a.z_size, a.hidden_size, a.hidden_size], batch_norm=False)
        self.out = nn.Linear(a.hidden_size, a.image_shape[0] * a.image_shape[1] * a.image_shape[2])

    def forward(self, y: Tensor, z: Tensor) -> Tensor:
        """Decode category probabilities (or one-hot rows) and styles."""
        return self.out(self.hidden(torch.cat([y, z], dim=1)))  # type: ignore[no-any-return]


class ModeDecoder(nn.Module):
    """`y` [B, K] alone -> `x_recon_logits` [B, C*H*W]: the picture of a category, without style."""

    def __init__(self, a: Architecture) -> None:
        """Two hidden layers, as in the decoder."""
        super().__init__()
        self.hidden = _hidden_layers([a.n_classes, a.hidden_size, a.hidden_size], batch_norm=False)
        self.out = nn.Linear(a.hidden_size, a.image_shape[0] * a.image_shape[1] * a.image_shape[2])

    def forward(self, y: Tensor) -> Tensor:
        """Decode category probabilities (or one-hot rows)."""
        return self.out(self.hidden(y))  # type: ignore[no-any-return]


class Discriminator(nn.Module):
    """D_cat or D_gauss: codes [B, K or Z] -> logit [B, 1], high for samples of the prior."""

    def __init__(self, n_inputs: int, hidden_size: int) -> None:
        """Two hidden layers, without BatchNorm."""
        super().__init__()
        self.hidden = _hidden_layers([n_inputs, hidden_size, hidden_size], batch_norm=False)
        self.out = nn.Linear(hidden_size, 1)

    def forward(self, codes: Tensor) -> Tensor:
        """Judge codes."""
        return self.out(self.hidden(codes))  # type: ignore[no-any-return]


class Networks(nn.Module):
    """All networks of one model; the mode decoder exists only where it is trained."""

    def __init__(self, architecture: Architecture, *, mode_decoder: bool) -> None:
        """Build the networks with torch's default initialization.

        The mode decoder comes last, so that having it leaves the others' initial weights as they are.
        """
        super().__init__()
        self.architecture = architecture
        self.encoder = Encoder(architecture)
        self.decoder = Decoder(architecture)
        self.categorical_discriminator = Discriminator(architecture.n_classes, architecture.hidden_size)
        self.gaussian_discriminator = Discriminator(architecture.z_size, architecture.hidden_size)
        self.mode_decoder = ModeDecoder(architecture) if mode_decoder else None


def decode_modes(decoder: Decoder, architecture: Architecture) -> Tensor:
    """Every category's picture at z = 0, in one batch: `x_recon_logits` [K, C*H*W]."""
    device = decoder.out.weight.device
    y = torch.eye(architecture.n_classes, device=device)  # [K, K]
    z = torch.zeros(architecture.n_classes, architecture.z_size, device=device)  # [K, Z]
    return decoder(y, z)  # type: ignore[no-any-return]


def scale(images: Tensor) -> Tensor:
    """uint8 [..., H, W], 0-255 -> float32 in [0, 1]."""
    return images.to(torch.float32) / 255


def class_map(category_to_class: tuple[int, ...], n_classes: int) -> Tensor:
    """One-hot rows, float32 [K, number of classes], that sum category probabilities by class."""
    return F.one_hot(torch.tensor(category_to_class), n_classes).to(torch.float32)
