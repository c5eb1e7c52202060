"""Reference for the training step: a direct implementation of the seed's step.

Eager, float32, one optimizer per network and phase, each without a fused or foreach kernel. The wastes that the seed's
published code had are kept on purpose (DESIGN decisions list them as defects): losses that the configuration turns off
are computed all the same, the modes of every pair of categories are decoded again one by one, and the codes that the
discriminators judge are not detached, so that their loss is propagated through the encoder for nothing.
"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aae_toolkit.config import SemiSupervisedConfig, UnsupervisedConfig, VariantConfig
from aae_toolkit.models.description import Architecture
from aae_toolkit.models.networks import Networks
from aae_toolkit.training.batches import Batch


class PlainStep:
    """Step of either variant; call it with a batch."""

    def __init__(self, architecture: Architecture, config: VariantConfig) -> None:
        """Build networks (always with the mode decoder) and optimizers."""
        self.networks = networks = Networks(architecture, mode_decoder=isinstance(config, UnsupervisedConfig)).train()
        self.architecture, self.config = architecture, config
        rates = config.learning_rates

        def adam(network: nn.Module, rate: float) -> torch.optim.Adam:
            return torch.optim.Adam(network.parameters(), lr=rate, foreach=False, fused=False)

        self.encoder_adam = adam(networks.encoder, rates.auto_encoder_lr)
        self.decoder_adam = adam(networks.decoder, rates.auto_encoder_lr)
        self.categorical_adam = adam(networks.categorical_discriminator, rates.discriminator_lr)
        self.gaussian_adam = adam(networks.gaussian_discriminator, rates.discriminator_lr)
        self.generator_adam = adam(networks.encoder, rates.generator_lr)
        if isinstance(config, SemiSupervisedConfig):
            self.classifier_adam = adam(networks.encoder, config.learning_rates.classifier_lr)
        else:
            self.separation_adam = adam(networks.decoder, config.learning_rates.disentanglement_lr)

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Take the step; return the losses."""
        losses = {"reconstruction": self._reconstruct(batch.images)}
        losses |= {"discriminator": self._discriminate(batch.images), "generator": self._generate(batch.images)}
        if isinstance(self.config, SemiSupervisedConfig):
            losses["classification"] = self._classify(batch)
        else:
            losses |= self._unused(batch.images) | {"mode_separation": self._separate()}
        return losses

    def _encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        y_logits, z = self.networks.encoder(images)
        return y_logits.softmax(dim=1), z

    def _noisy(self, images: Tensor) -> Tensor:
        return images + self.config.training.input_noise * torch.randn_like(images)

    def _step(self, loss: Tensor, *optimizers: torch.optim.Adam) -> Tensor:
        self.networks.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        return loss

    def _reconstruct(self, images: Tensor) -> Tensor:
        y, z = self._encode(self._noisy(images))
        loss = F.binary_cross_entropy_with_logits(self.networks.decoder(y, z), images.flatten(1))
        if isinstance(self.config, UnsupervisedConfig):
            loss = loss + self.config.training.lambda_z_l2_regularization * torch.linalg.vector_norm(z)
        return self._step(loss, self.encoder_adam, self.decoder_adam)

    def _discriminate(self, images: Tensor) -> Tensor:
        networks = self.networks
        y, z = self._encode(images)
        real_y = torch.eye(y.shape[1])[torch.randint(y.shape[1], (len(y),))]
        losses = []
        for discriminator, real, fake in (
            (networks.categorical_discriminator, real_y, y),
            (networks.gaussian_discriminator, torch.randn_like(z), z),
        ):
            losses += [F.softplus(-discriminator(real)).mean(), F.softplus(discriminator(fake)).mean()]
        return self._step(sum(losses, torch.zeros(())), self.categorical_adam, self.gaussian_adam)

    def _generate(self, images: Tensor) -> Tensor:
        y, z = self._encode(images)
        categorical = F.softplus(-self.networks.categorical_discriminator(y)).mean()
        gaussian = F.softplus(-self.networks.gaussian_discriminator(z)).mean()
        return self._step(categorical + gaussian, self.generator_adam)

    def _classify(self, batch: Batch) -> Tensor:
        assert batch.labeled_images is not None
        assert batch.labels is not None
        y_logits, _ = self.networks.encoder(self._noisy(batch.labeled_images))
        return self._step(F.cross_entropy(y_logits, batch.labels), self.classifier_adam)

    def _unused(self, images: Tensor) -> dict[str, Tensor]:
        """Losses of cyclic mode and mode decoder, which are computed but not trained."""
        y, z = self._encode(images)
        again, _ = self._encode(self.networks.decoder(y, z).sigmoid().reshape_as(images))
        mode_decoder = self.networks.mode_decoder
        assert mode_decoder is not None
        return {
            "mutual_information": -(y * (again + 1e-8).log()).sum(dim=1).mean(),
            "mode_reconstruction": F.binary_cross_entropy_with_logits(mode_decoder(y), images.flatten(1)),
        }

    def _separate(self) -> Tensor:
        a = self.architecture
        loss = torch.zeros(())
        for pair in combinations(range(a.n_classes), 2):
            modes = [self.networks.decoder(torch.eye(a.n_classes)[k : k + 1], torch.zeros(1, a.z_size)) for k in pair]
            loss = loss - F.mse_loss(modes[0].sigmoid(), modes[1].sigmoid())
        return self._step(loss, self.separation_adam)
