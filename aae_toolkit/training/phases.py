"""The phases of both variants, built as the configuration asks; a phase that it turns off is never built."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from aae_toolkit.config import (
    SemiSupervisedConfig,
    SemiSupervisedTrainingConfig,
    TrainingConfig,
    VariantConfig,
)
from aae_toolkit.models.networks import Decoder, Discriminator, Encoder, ModeDecoder, Networks, decode_modes
from aae_toolkit.training import losses
from aae_toolkit.training.augmentation import add_noise, random_warp
from aae_toolkit.training.batches import Batch
from aae_toolkit.training.consistency import ConsistencyPhase
from aae_toolkit.training.frequencies import ALL_ALIKE, Frequencies
from aae_toolkit.training.phase import Phase
from aae_toolkit.training.terms.memory import Memory
from aae_toolkit.training.terms.registry import terms_on_codes
from aae_toolkit.training.terms.term import Codes, Term, weighted


class ReconstructionPhase(Phase):
    """Encoder and decoder reconstruct the clean image from a noisy one. [AAE, section 2]."""

    name = "reconstruction"
    trains = ("encoder", "decoder")
    style_parts = ("encoder.z_head", "decoder")
    updates_batch_norm = False  # its inputs are noisy, those of a trained model are not

    def __init__(
        self,
        networks: Networks,
        learning_rate: float,
        training: TrainingConfig,
        terms: Iterable[Term[Codes]] = (),
        *,
        style_rate: float | None = None,
    ) -> None:
        """Keep the noise and the optional terms on the codes."""
        super().__init__(networks, learning_rate, training, style_rate=style_rate)
        self.input_noise = training.input_noise
        self.terms = list(terms)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Compute `reconstruction` and the optional terms."""
        y_logits, z = self.encoder(add_noise(batch.images, self.input_noise, self.encoder.noise_unit))
        y = y_logits.softmax(dim=1)
        reconstruction = _reconstruction(self.decoder, self.decoder(y, z), batch.pictures)
        return {"reconstruction": reconstruction} | weighted(self.terms, Codes(y, z))


def _reconstruction(decoder: Decoder | ModeDecoder, x_recon: Tensor, images: Tensor) -> Tensor:
    """Compute the loss of a decoder's output under the distribution that the output describes."""
    if decoder.standardize is None:
        return losses.reconstruction(x_recon, images)
    return losses.gaussian_reconstruction(x_recon, decoder.standardize(images).flatten(1))


class DiscriminatorPhase(Phase):
    """Both discriminators tell prior samples from the encoder's codes. [AAE, section 2]."""

    name = "discriminator"
    trains = ("categorical_discriminator", "gaussian_discriminator")
    uses = ("encoder",)

    prior: Tensor | None

    def __init__(
        self,
        networks: Networks,
        learning_rate: float,
        training: TrainingConfig,
        *,
        weigh_categories: bool,
        prior: Tensor | None = None,
    ) -> None:
        """Choose the prior of y.

        Categories are drawn by their shares `prior` [K]; else, with `weigh_categories`, rarer ones more often; else all
        alike.
        """
        super().__init__(networks, learning_rate, training)
        self.weigh_categories = weigh_categories
        self.register_buffer("prior", prior, persistent=False)
        self.conditional = training.use_conditional_style_prior

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Compute `discriminator_categorical` and `discriminator_gaussian`."""
        with torch.no_grad():  # the encoder's codes are this phase's data
            y_logits, z = self.encoder(batch.images)
            y = y_logits.float().softmax(dim=1)
            real_y = losses.sample_categories(self._weights(y), len(y))
            z = z.float()
            real_z = torch.randn_like(z)
            if self.conditional:
                z, real_z = torch.cat([z, y], dim=1), torch.cat([real_z, y], dim=1)
        return {
            "discriminator_categorical": _discrimination(self.categorical_discriminator, real_y, y),
            "discriminator_gaussian": _discrimination(self.gaussian_discriminator, real_z, z),
        }

    def _weights(self, y: Tensor) -> Tensor:
        """Weights of the categories in the prior, [K]."""
        if self.prior is not None:
            return self.prior
        return losses.prior_weights(y) if self.weigh_categories else torch.ones_like(y[0])


def _discrimination(discriminator: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
    """Compute the loss of one discriminator, on both in one batch: without BatchNorm the result is the same."""
    real_logits, fake_logits = discriminator(torch.cat([real, fake])).chunk(2)
    return losses.discrimination(real_logits, fake_logits)


class GeneratorPhase(Phase):
    """The encoder learns codes that pass for prior samples. [AAE, section 2]."""

    name = "generator"
    trains = ("encoder",)
    style_parts = ("encoder.z_head",)
    uses = ("categorical_discriminator", "gaussian_discriminator")

    def __init__(
        self, networks: Networks, learning_rate: float, training: TrainingConfig, *, style_rate: float | None = None
    ) -> None:
        """Keep whether the Gaussian discriminator sees y too."""
        super().__init__(networks, learning_rate, training, style_rate=style_rate)
        self.conditional = training.use_conditional_style_prior

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Compute `generator_categorical` and `generator_gaussian`."""
        y_logits, z = self.encoder(batch.images)
        y = y_logits.float().softmax(dim=1)
        style = torch.cat([z.float(), y.detach()], dim=1) if self.conditional else z
        return {
            "generator_categorical": losses.generation(self.categorical_discriminator(y)),
            "generator_gaussian": losses.generation(self.gaussian_discriminator(style)),
        }


class ClassificationPhase(Phase):
    """The encoder learns the labelled images' classes, on augmented and noisy inputs. [AAE, section 5]."""

    name = "classification"
    trains = ("encoder",)
    out_of_reach = ("encoder.z_head",)
    is_autoencoder = False
    updates_batch_norm = False  # its inputs are augmented images

    class_weights: Tensor | None

    def __init__(
        self,
        networks: Networks,
        learning_rate: float,
        training: SemiSupervisedTrainingConfig,
        class_weights: Tensor | None = None,
    ) -> None:
        """Keep the noise, the augmentation, and the weights of the classes, [K]."""
        super().__init__(networks, learning_rate, training)
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.input_noise = training.input_noise
        self.augment = training.augment_labeled

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Compute `classification`."""
        assert batch.labeled_images is not None
        assert batch.labels is not None
        images = random_warp(batch.labeled_images) if self.augment else batch.labeled_images
        y_logits, _ = self.encoder(add_noise(images, self.input_noise, self.encoder.noise_unit))
        return {"classification": losses.classification(y_logits, batch.labels, self.class_weights)}


class MutualInformationPhase(Phase):
    """Cyclic mode loss: the picture that a code decodes to has the code's category. [seed, section 7.1, point 1]."""

    name = "mutual_information"
    trains = ("encoder", "decoder")
    updates_batch_norm = False  # its second input is a reconstruction

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Compute `mutual_information`."""
        y_logits, z = self.encoder(batch.images)
        y = y_logits.float().softmax(dim=1)
        recon = self.decoder.images(self.decoder(y, z)).reshape_as(batch.images)
        y_logits_again, _ = self.encoder(recon)
        return {"mutual_information": losses.mutual_information(y.detach(), y_logits_again)}


class ModeDecoderPhase(Phase):
    """Mode decoder and encoder reconstruct the image from y alone. [seed, section 7.1, point 3]."""

    name = "mode_reconstruction"
    trains = ("encoder", "mode_decoder")
    out_of_reach = ("encoder.z_head",)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Compute `mode_reconstruction`."""
        y_logits, _ = self.encoder(batch.images)
        x_mode = self.mode_decoder(y_logits.softmax(dim=1))
        return {"mode_reconstruction": _reconstruction(self.mode_decoder, x_mode, batch.pictures)}


class ModeSeparationPhase(Phase):
    """Reversed pairwise mode loss: the decoder's K modes move apart. [seed, section 7.1, point 4]."""

    name = "mode_separation"
    trains = ("decoder",)

    def __init__(self, networks: Networks, learning_rate: float, training: TrainingConfig) -> None:
        """Keep the sizes of the codes."""
        super().__init__(networks, learning_rate, training)
        self.architecture = networks.architecture

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Compute `mode_separation`, which does not depend on the batch."""
        modes = self.decoder.images(decode_modes(self.decoder, self.architecture).float())
        return {"mode_separation": losses.mode_separation(modes)}


# Key of section `training` -> the phase that it turns on, and the key of its learning rate.
OPTIONAL_PHASES: dict[str, tuple[type[Phase], str]] = {
    "use_mode_decoder": (ModeDecoderPhase, "mode_lr"),
    "use_mutual_info": (MutualInformationPhase, "info_lr"),
    "use_disentanglement": (ModeSeparationPhase, "disentanglement_lr"),
}


def build_phases(
    networks: Networks,
    config: VariantConfig,
    *,
    teacher: Encoder | None = None,
    memory: Memory | None = None,
    frequencies: Frequencies = ALL_ALIKE,
) -> list[Phase]:
    """Build the phases of one step, in order.

    Args:
        networks: the networks to train.
        config: the variant's section.
        teacher: the encoder of averaged weights; needed for pseudo-labels and adversarial changes.
        memory: memory of the unlabelled training images; needed for pseudo-labels.
        frequencies: the classes' weights and shares.
    """
    if not config.training.use_autoencoder:  # labels are learned in the consistency phase, even without its terms
        return [ConsistencyPhase(networks, config.learning_rates.consistency_lr, config, teacher, memory, frequencies)]
    rates, training, consistency = config.learning_rates, config.training, config.consistency
    weigh_categories = getattr(training, "use_adversarial_categorial_weights", False)
    terms = terms_on_codes(config, networks)
    phases: list[Phase] = [
        ReconstructionPhase(networks, rates.auto_encoder_lr, training, terms, style_rate=rates.style_lr),
        DiscriminatorPhase(
            networks,
            rates.discriminator_lr,
            training,
            weigh_categories=weigh_categories,
            prior=frequencies.prior,
        ),
        GeneratorPhase(networks, rates.generator_lr, training, style_rate=rates.style_lr),
    ]
    if isinstance(config, SemiSupervisedConfig) and not consistency.is_on:
        rate = config.learning_rates.classifier_lr
        phases.append(ClassificationPhase(networks, rate, config.training, frequencies.weights))
    for switch, (phase, rate_name) in OPTIONAL_PHASES.items():
        if getattr(training, switch, False):
            phases.append(phase(networks, getattr(rates, rate_name), training))
    if consistency.is_on:
        for phase_before in phases:
            phase_before.updates_batch_norm = False
        phases.append(ConsistencyPhase(networks, rates.consistency_lr, config, teacher, memory, frequencies))
    return phases
