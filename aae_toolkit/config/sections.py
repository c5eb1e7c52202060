"""The sections and keys of the YAML configuration, as pydantic models.

The keys of `learning_rates`, `model.hidden_size`, `model.encoder_dropout` and the `use_*` / `lambda_*` switches are the
seed document's, spellings included; the others have defaults, so that the seed's file loads as it stands. The text
below a key is its meaning, and a name in square brackets at its end where the idea comes from; `docs/configuration.md`
is made of them.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Variant = Literal["semi_supervised", "unsupervised"]
VARIANTS: tuple[Variant, ...] = ("semi_supervised", "unsupervised")
TrainingPrecision = Literal["auto", "fp32", "bf16", "fp16"]
CompileMode = Literal["default", "reduce-overhead", "max-autotune"]
Likeness = Literal["gradients", "pixels"]


class Section(BaseModel):
    """A part of the configuration: unknown keys and values of the wrong type are refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def _rate(default: float) -> Any:
    return Field(default=default, ge=0, le=1)


class LearningRates(Section):
    """Step sizes at the start of the run; `training.schedule` changes all of them alike."""

    auto_encoder_lr: float = _rate(0.0008)
    """Of encoder and decoder, for reconstruction. [seed]."""
    generator_lr: float = _rate(0.001)
    """Of the encoder, for codes that pass as samples of the prior. [seed]."""
    discriminator_lr: float = _rate(0.0002)
    """Of both discriminators. [seed]."""
    style_lr: float | None = Field(default=None, ge=0, le=1)
    """Of z's head and the decoder, instead of `auto_encoder_lr` and `generator_lr`; `null`: those are theirs too."""
    consistency_lr: float = _rate(0.002)
    """Of the encoder, for the labels and the terms of `consistency`, where one of those is on."""


class SemiSupervisedLearningRates(LearningRates):
    """Step sizes of the semi-supervised variant."""

    classifier_lr: float = _rate(0.001)
    """Of the encoder, for the labels, where no term of `consistency` is on. [seed]."""


class UnsupervisedLearningRates(LearningRates):
    """Step sizes of the unsupervised variant."""

    generator_lr: float = _rate(0.002)
    """Of the encoder, for codes that pass as samples of the prior. [seed]."""
    info_lr: float = _rate(0.00001)
    """Of encoder and decoder, for `use_mutual_info`. [seed]."""
    mode_lr: float = _rate(0.0008)
    """Of encoder and mode decoder, for `use_mode_decoder`. [seed]."""
    disentanglement_lr: float = _rate(0.00005)
    """Of the decoder, for `use_disentanglement`. [seed]."""


class ModelConfig(Section):
    """The networks' kind and width."""

    encoder: Literal["mlp", "conv"] = "mlp"
    """Two hidden layers, or a convolution stage for each of `conv_channels`. All other networks are MLPs."""
    hidden_size: int = Field(default=1000, ge=1, le=65536)
    """Units of a hidden layer, in every network but a convolutional encoder. [seed]."""
    conv_channels: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(32, 64, 128), min_length=1, strict=False)
    """Channels of each stage of a convolutional encoder."""
    encoder_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the encoder's features that is dropped: after each hidden layer, or once before the heads. [seed]."""
    z_size: int = Field(default=2, ge=1, le=4096)
    """Z, the number of styles."""
    n_classes: int | None = Field(default=None, ge=2, le=4096)
    """K, the number of categories; `null`: as many as the data has classes."""


class ConsistencyConfig(Section):
    """Terms on y that join the labels' in a phase of their own, beside the autoencoder's; a weight of 0 is without.

    With pseudo-labels a memory holds what the averaged weights say of each image. Once it holds `looks_to_trust` looks,
    it labels the image, and weighs pairs by how likely they share a category.
    """

    augmentation: float = Field(default=1.0, ge=0, le=4)
    """Strength of a look's turns, shifts, slants and changes of size; 0: none."""
    elastic: float = Field(default=0.0, ge=0, le=1)
    """Local shifts of a look: their standard deviation over half the picture. [Simard et al.]."""
    lambda_pairs: float = Field(default=0.0, ge=0)
    """Weight of: two looks share a category. [IMSAT; SCAN]."""
    n_neighbors: int = Field(default=10, ge=0, le=1000)
    """The second look is at one of so many nearest neighbours of the image; 0: at the image itself. [SCAN]."""
    likeness: Likeness = "gradients"
    """Neighbours have like strokes and edges, or like pixels. [Dalal & Triggs]."""
    spread_labels: bool = False
    """Whether the memory begins with the labels, spread from neighbour to neighbour. [Zhou et al.]."""
    lambda_balance: float = Field(default=0.0, ge=0)
    """Weight of: all categories are used alike; needs pairs. [IMSAT]."""
    balance_tolerance: float = Field(default=0.0, ge=0)
    """Nats of entropy by which their use may fall short of even, at first."""
    trusted_balance_tolerance: float = Field(default=0.05, ge=0)
    """Nats by which it may once the memory of all images is trusted; in between while it is of some."""
    lambda_virtual_adversarial: float = Field(default=0.0, ge=0)
    """Weight of: y stays where a small change would move it most; needs `ema_decay`. [VAT]."""
    virtual_adversarial_radius: float = Field(default=1.5, gt=0)
    """Length of that change, over all pixels of an image scaled to 0 to 1. [VAT]."""
    lambda_pseudo_labels: float = Field(default=0.0, ge=0)
    """Weight of: an image's likeliest category over many looks is its label; needs `ema_decay`. [FixMatch]."""
    confidence: float = Field(default=0.9, ge=0, lt=1)
    """Images whose likeliest category is no likelier than this are left out. [FixMatch]."""
    memory: float = Field(default=0.8, ge=0, lt=1)
    """Share of the memory that is kept at each look. [Laine & Aila]."""
    looks_to_trust: int = Field(default=1, ge=1)
    """Looks until the memory of an image counts; there is one an epoch."""
    lambda_over_clustering: float = Field(default=0.0, ge=0)
    """Weight of: pairs share a category of a second head too; needs pairs. [IIC]."""
    n_over_clusters: int = Field(default=50, ge=2, le=4096)
    """Categories of that head, more than K. [IIC]."""

    @property
    def needs_teacher(self) -> bool:
        """Whether a term asks the averaged weights."""
        return self.lambda_pseudo_labels > 0 or self.lambda_virtual_adversarial > 0

    @property
    def is_on(self) -> bool:
        """Whether any term is."""
        return self.lambda_pairs > 0 or self.needs_teacher

    @model_validator(mode="after")
    def _terms_fit(self) -> ConsistencyConfig:
        if self.lambda_pairs == 0:
            for name in ("lambda_balance", "lambda_over_clustering"):
                if getattr(self, name):
                    raise ValueError(f"{name} is of pairs; set lambda_pairs above 0 too")
        if self.spread_labels and not (self.lambda_pseudo_labels and self.n_neighbors):
            raise ValueError(
                "spread_labels needs neighbours, and pseudo-labels to begin with; set n_neighbors and"
                " lambda_pseudo_labels above 0 too"
            )
        return self


class ScheduleConfig(Section):
    """How every learning rate changes over the run."""

    kind: Literal["constant", "cosine", "multistep"] = "cosine"
    """Constant, down to 0 along half a cosine, or times `gamma` at each milestone. [Loshchilov & Hutter]."""
    warmup_epochs: float = Field(default=0.0, ge=0)
    """Epochs over which rates first rise from 0, in a straight line."""
    milestones: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(50,), strict=False)
    """Epochs after which rates fall; `multistep` only. [seed]."""
    gamma: float = Field(default=0.1, gt=0, le=1)
    """Factor at each milestone; `multistep` only. [seed]."""


class TrainingConfig(Section):
    """The run: its length, its batches, its noise, its arithmetic."""

    n_epochs: int = Field(default=35, ge=1)
    """Passes over the unlabelled images. [seed]."""
    batch_size: int = Field(default=100, ge=2)  # BatchNorm needs two samples
    """Images a step, of all processes together. [seed]."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Of weights, noise and order."""
    input_noise: float = Field(default=0.3, ge=0)
    """Standard deviation of the noise on images scaled to 0 to 1. [AAE]."""
    use_adam_optimization: bool = True
    """Adam, or SGD with momentum 0.9, for every phase. [seed]."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Of every phase; beside Adam decoupled from the gradient, as in AdamW. [Loshchilov & Hutter]."""
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    """Share of the weights' average, which is the model, that each step keeps; 0: none. [Tarvainen & Valpola]."""
    use_conditional_style_prior: bool = False
    """Whether z follows its prior within each category, so that style does not tell it."""
    autoencoder_every: int = Field(default=1, ge=1)
    """Steps from one time that the autoencoder's own phases run to the next."""
    autoencoder_after: float = Field(default=0.0, ge=0, lt=1)
    """Share of the epochs before these first run: the phase of `consistency` learns y alone there."""
    schedule: ScheduleConfig = ScheduleConfig()
    """How every learning rate changes over the run."""
    precision: TrainingPrecision = "auto"
    """Arithmetic of matrix products; `auto`: bf16 where the hardware multiplies in it, else fp32."""
    compile: bool | None = None
    """Whether to use torch.compile; `null`: on CUDA only."""
    compile_mode: CompileMode = "default"
    """Of torch.compile; the other two record CUDA graphs."""
    deterministic: bool = False
    """Whether the weights are the same bit for bit each time, on one machine with as many threads."""
    resident_mib: int = Field(default=4096, ge=0)
    """Training images of up to so many MiB live on the device; larger sets stream to it."""

    @model_validator(mode="after")
    def _chooses_no_kernel_by_its_time(self) -> Self:
        if self.deterministic and self.compile_mode == "max-autotune":
            raise ValueError(
                "max-autotune chooses kernels by their time, which varies; with deterministic, use another"
            )
        return self


class SemiSupervisedTrainingConfig(TrainingConfig):
    """The run of the semi-supervised variant."""

    augment_labeled: bool = True
    """Small turns, shifts and slants of labelled images; where a term of `consistency` is on, `augmentation` says."""
    labeled_batch_size: int | None = Field(default=None, ge=2)
    """Labelled images a step; `null`: `batch_size`."""


class UnsupervisedTrainingConfig(TrainingConfig):
    """The run of the unsupervised variant, and its optional terms."""

    use_mutual_info: bool = False
    """Cyclic mode loss: a decoded code, encoded again, has the same category. [InfoGAN; seed]."""
    use_mode_decoder: bool = False
    """A second decoder rebuilds the image from y alone. [seed]."""
    use_disentanglement: bool = True
    """Reversed pairwise mode loss: the decoder's pictures of the categories move apart. [seed]."""
    use_adversarial_categorial_weights: bool = True
    """Categories that are used less are drawn more often from the prior. [seed]."""
    lambda_z_l2_regularization: float = Field(default=0.15, ge=0)
    """Weight of the penalty on the length of z; 0: none. [seed]."""


class VariantSection(Section):
    """What both variants' sections have."""

    learning_rates: LearningRates = LearningRates()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    consistency: ConsistencyConfig = ConsistencyConfig()

    @model_validator(mode="after")
    def _has_a_teacher(self) -> VariantSection:
        if self.consistency.needs_teacher and self.training.ema_decay == 0:
            raise ValueError(
                "pseudo-labels and virtual adversarial changes ask the averaged weights; set training.ema_decay above 0"
            )
        return self


class SemiSupervisedConfig(VariantSection):
    """Section `semi_supervised`."""

    variant: ClassVar[Variant] = "semi_supervised"

    learning_rates: SemiSupervisedLearningRates = SemiSupervisedLearningRates()
    model: ModelConfig = ModelConfig()
    training: SemiSupervisedTrainingConfig = SemiSupervisedTrainingConfig()


class UnsupervisedConfig(VariantSection):
    """Section `unsupervised`."""

    variant: ClassVar[Variant] = "unsupervised"

    learning_rates: UnsupervisedLearningRates = UnsupervisedLearningRates()
    model: ModelConfig = ModelConfig(hidden_size=3000, encoder_dropout=0.2)
    training: UnsupervisedTrainingConfig = UnsupervisedTrainingConfig()

    @model_validator(mode="after")
    def _has_no_labels(self) -> UnsupervisedConfig:
        if self.consistency.spread_labels:
            raise ValueError("consistency.spread_labels: there are no labels to spread without supervision")
        return self

    @model_validator(mode="after")
    def _learns_from_the_start(self) -> UnsupervisedConfig:
        if self.training.autoencoder_after and not self.consistency.is_on:
            raise ValueError(
                "training.autoencoder_after leaves the first epochs to the terms of consistency, which are off; set"
                " lambda_pairs above 0, or leave it out"
            )
        return self


class ConfigFile(Section):
    """A whole file; a file may hold one variant only."""

    semi_supervised: SemiSupervisedConfig | None = None
    unsupervised: UnsupervisedConfig | None = None


VariantConfig = SemiSupervisedConfig | UnsupervisedConfig
