"""The five networks: encoder Q, decoder P, mode decoder, and the two discriminators.

Image tensors here are float32 [B, C, H, W] scaled to [0, 1]; scaling from uint8 belongs to the callers.
Sources: Makhzani et al., "Adversarial Autoencoders", sections 4 and 5, appendix A; the seed document, "The Model".
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aae_toolkit.backbones.network import Backbone
from aae_toolkit.models.description import Architecture

_SIDE_TO_STRIDE = 16  # least side in pixels at which the first convolution stage halves the picture
_SIDE_TO_POOL = 4  # least side at which a later stage does
_LAST_SIDE = 4  # side of the picture that the heads see


class Dropout(nn.Dropout):
    """Dropout with a mask that costs a quarter of torch's on the CPU: a random number gives four of 16 bits."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (the base class's name)
        """Drop values with probability p, to a 65536th, and scale the others."""
        if not self.training or input.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(input)
        bits = torch.empty(-(-input.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
        kept = bits[: input.numel()].view_as(input) >= round(self.p * 2**16) - 2**15
        return input * (kept.to(input.dtype) / (1 - self.p))


class Standardize(nn.Module):
    """Images [B, C, H, W] or embeddings [B, F] -> mean 0 and standard deviation 1 over the training set, each value.

    The buffers are set before training (`training.standardizing`); a value that never varies has a scale of 1.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        """Start as the identity on images or embeddings of a shape."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))

    def forward(self, images: Tensor) -> Tensor:
        """Standardize images."""
        return (images - self.mean) / self.scale

    def undo(self, standardized: Tensor) -> Tensor:
        """Turn standardized values [B, C*H*W] back into images [B, C*H*W] in [0, 1]."""
        return (standardized * self.scale.flatten() + self.mean.flatten()).clamp(0, 1)


def _hidden_layers(sizes: list[int], *, batch_norm: bool, dropout: float = 0.0) -> nn.Sequential:
    """Build linear layers of `sizes`, each followed by BatchNorm if asked, ReLU, and dropout if asked."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers.append(nn.Linear(n_in, n_out, bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm1d(n_out))
        layers.append(nn.ReLU(inplace=True))
        if dropout:
            layers.append(Dropout(dropout))
    return nn.Sequential(*layers)


def _conv_stages(
    image_shape: tuple[int, int, int], widths: tuple[int, ...], dropout: float, *, early_pool: bool
) -> tuple[nn.Sequential, int]:
    """Build a convolution stage per width; return the stages and F, the number of their features [B, F].

    The first stage's stride (6 x 6, a quarter of the cost of full resolution) and pooling between stages halve the
    picture as long as its sides allow it; at the end a larger picture is averaged down to about 4 x 4. Without
    `early_pool` a first stage with a stride is not pooled too.
    """
    channels, height, width = image_shape
    layers: list[nn.Module] = []
    for index, (n_in, n_out) in enumerate(pairwise((channels, *widths))):
        kernel, stride = (6, 2) if index == 0 and min(height, width) >= _SIDE_TO_STRIDE else (3, 1)
        padding = (kernel - 1) // 2
        layers += [nn.Conv2d(n_in, n_out, kernel, stride, padding, bias=False), nn.BatchNorm2d(n_out)]
        height, width = ((side + 2 * padding - kernel) // stride + 1 for side in (height, width))
        pools = index < len(widths) - 1 and (early_pool or stride == 1)
        if pools and min(height, width) >= _SIDE_TO_POOL:
            layers.append(nn.MaxPool2d(2))  # commutes with ReLU, which then has a quarter to do
            height, width = height // 2, width // 2
        layers.append(nn.ReLU(inplace=True))
    window = (max(1, height // _LAST_SIDE), max(1, width // _LAST_SIDE))
    if window != (1, 1):
        layers.append(nn.AvgPool2d(window))
    layers.append(nn.Flatten())
    if dropout:
        layers.append(Dropout(dropout))
    n_features = widths[-1] * (height // window[0]) * (width // window[1])
    return nn.Sequential(*layers).to(memory_format=torch.channels_last), n_features


class Encoder(nn.Module):
    """Q: images [B, C, H, W] in [0, 1], or embeddings [B, F] of a backbone -> `y_logits` [B, K], `z` [B, Z]."""

    def __init__(self, a: Architecture) -> None:
        """Build the features (`mlp`: two hidden layers, `conv`: convolution stages) and the two heads."""
        super().__init__()
        if a.backbone is not None:
            sizes = [a.backbone.embedding_size, a.hidden_size, a.hidden_size]
            hidden = _hidden_layers(sizes, batch_norm=True, dropout=a.encoder_dropout)
            self.features = nn.Sequential(Standardize((sizes[0],)), *hidden)
            n_features = a.hidden_size
        elif a.encoder == "mlp":
            sizes = [math.prod(a.image_shape), a.hidden_size, a.hidden_size]
            hidden = _hidden_layers(sizes, batch_norm=True, dropout=a.encoder_dropout)
            self.features = nn.Sequential(nn.Flatten(), *hidden)
            n_features = a.hidden_size
        else:
            self.features, n_features = _conv_stages(
                a.image_shape, a.conv_channels, a.encoder_dropout, early_pool=a.early_pool
            )
        if a.standardize and a.backbone is None:  # embeddings always are
            self.features.insert(0, Standardize(a.image_shape))
        self.y_head = nn.Linear(n_features, a.n_classes)
        self.z_head = nn.Linear(n_features, a.z_size)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode images; `y = softmax(y_logits)`."""
        features = self.features(images)
        return self.y_head(features), self.z_head(features)

    @property
    def noise_unit(self) -> Tensor | float:
        """Unit of input noise: standard deviation of each value, [C, H, W] or [F]; 1 where nothing is standardized."""
        first = self.features[0]
        return first.scale if isinstance(first, Standardize) else 1.0


class ImageEncoder(nn.Module):
    """Backbone and encoder as one: images [B, C, H, W] in [0, 1] -> `y_logits` [B, K], `z` [B, Z]."""

    def __init__(self, backbone: Backbone, encoder: Encoder) -> None:
        """Join a backbone and an encoder of its embeddings."""
        super().__init__()
        self.backbone = backbone
        self.encoder = encoder

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Embed and encode images."""
        return self.encoder(self.backbone(images))  # type: ignore[no-any-return]


class _Decoding(nn.Module):
    """Base of the decoders: the meaning of their output [B, C*H*W]."""

    def __init__(self, a: Architecture) -> None:
        """Keep the scale of Gaussian output."""
        super().__init__()
        self.standardize = Standardize(a.picture_shape) if a.reconstruction == "gaussian" else None

    def images(self, x_recon: Tensor) -> Tensor:
        """Turn output [B, C*H*W] into images [B, C*H*W] in [0, 1]; output is logits, or else standardized values."""
        return x_recon.sigmoid() if self.standardize is None else self.standardize.undo(x_recon)


class Decoder(_Decoding):
    """P: `y` [B, K], `z` [B, Z] -> `x_recon` [B, C*H*W]."""

    def __init__(self, a: Architecture) -> None:
        """Build two hidden layers without BatchNorm: a code decodes to the same picture in any batch."""
        super().__init__(a)
        self.hidden = _hidden_layers([a.n_classes + a.z_size, a.hidden_size, a.hidden_size], batch_norm=False)
        self.out = nn.Linear(a.hidden_size, math.prod(a.picture_shape))

    def forward(self, y: Tensor, z: Tensor) -> Tensor:
        """Decode category probabilities (or one-hot rows) and styles."""
        return self.out(self.hidden(torch.cat([y, z], dim=1)))  # type: ignore[no-any-return]


class ModeDecoder(_Decoding):
    """`y` [B, K] alone -> `x_recon` [B, C*H*W]: the picture of a category, without style."""

    def __init__(self, a: Architecture) -> None:
        """Build two hidden layers, as in the decoder."""
        super().__init__(a)
        self.hidden = _hidden_layers([a.n_classes, a.hidden_size, a.hidden_size], batch_norm=False)
        self.out = nn.Linear(a.hidden_size, math.prod(a.picture_shape))

    def forward(self, y: Tensor) -> Tensor:
        """Decode category probabilities (or one-hot rows)."""
        return self.out(self.hidden(y))  # type: ignore[no-any-return]


class Discriminator(nn.Module):
    """D_cat or D_gauss: codes [B, K or Z] -> logit [B, 1], high for samples of the prior."""

    def __init__(self, n_inputs: int, hidden_size: int) -> None:
        """Build two hidden layers without BatchNorm."""
        super().__init__()
        self.hidden = _hidden_layers([n_inputs, hidden_size, hidden_size], batch_norm=False)
        self.out = nn.Linear(hidden_size, 1)

    def forward(self, codes: Tensor) -> Tensor:
        """Judge codes."""
        return self.out(self.hidden(codes))  # type: ignore[no-any-return]


class Networks(nn.Module):
    """All networks of one model; a network that the configuration does not train is None."""

    def __init__(
        self,
        architecture: Architecture,
        *,
        mode_decoder: bool,
        conditional_style_prior: bool = False,
        n_over_clusters: int | None = None,
        pseudo_label_head: bool = False,
    ) -> None:
        """Build the networks with torch's default initialization.

        With `conditional_style_prior` the Gaussian discriminator judges z together with y. The mode decoder and further
        heads on the encoder's features are built last: the initial weights of the other networks are the same with or
        without them.
        """
        super().__init__()
        self.architecture = architecture
        self.encoder = Encoder(architecture)
        self.decoder = Decoder(architecture)
        self.categorical_discriminator = Discriminator(architecture.n_classes, architecture.hidden_size)
        n_codes = architecture.z_size + (architecture.n_classes if conditional_style_prior else 0)
        self.gaussian_discriminator = Discriminator(n_codes, architecture.hidden_size)
        self.mode_decoder = ModeDecoder(architecture) if mode_decoder else None
        n_features = self.encoder.y_head.in_features
        self.over_clustering = nn.Linear(n_features, n_over_clusters) if n_over_clusters else None
        self.pseudo_labels = nn.Linear(n_features, architecture.n_classes) if pseudo_label_head else None


def decode_modes(decoder: Decoder, architecture: Architecture) -> Tensor:
    """Decode every category at z = 0, in one batch: `x_recon` [K, C*H*W]."""
    device = decoder.out.weight.device
    y = torch.eye(architecture.n_classes, device=device)  # [K, K]
    z = torch.zeros(architecture.n_classes, architecture.z_size, device=device)  # [K, Z]
    return decoder(y, z)  # type: ignore[no-any-return]


def enlarge(pictures: Tensor, image_shape: tuple[int, int, int]) -> Tensor:
    """Enlarge pictures [N, C, h, w] to images [N, C, H, W]; equal sizes are left unchanged."""
    size = image_shape[1:]
    return pictures if pictures.shape[2:] == size else F.interpolate(pictures, size=size, mode="nearest-exact")


def scale(images: Tensor) -> Tensor:
    """Scale uint8 [..., H, W], 0-255, to float32 in [0, 1]; floating-point images are in [0, 1] already.

    Embeddings, which are stored in float16, become float32.
    """
    return images.to(torch.float32) / 255 if images.dtype == torch.uint8 else images.float()


def class_map(category_to_class: tuple[int, ...], n_classes: int) -> Tensor:
    """Build one-hot rows, float32 [K, number of classes], which sum category probabilities by class."""
    return F.one_hot(torch.tensor(category_to_class), n_classes).to(torch.float32)
