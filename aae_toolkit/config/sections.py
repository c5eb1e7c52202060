"""The sections and keys of the YAML configuration, as pydantic models.

The keys of `learning_rates`, `model.hidden_size`, `model.encoder_dropout` and the `use_*` / `lambda_*` switches are the
seed document's, spellings included; the others have defaults, so that the seed's file loads. The text below a key is
its meaning, with the idea's source in brackets at the end; `docs/configuration.md` is generated from these texts.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Variant = Literal["semi_supervised", "unsupervised"]
VARIANTS: tuple[Variant, ...] = ("semi_supervised", "unsupervised")
TrainingPrecision = Literal["auto", "fp32", "bf16", "fp16"]
CompileMode = Literal["default", "reduce-overhead", "max-autotune"]
Likeness = Literal["gradients", "pixels", "features", "directions"]
Reconstruction = Literal["bernoulli", "gaussian"]


class Section(BaseModel):
    """Part of the configuration; refuses unknown keys and values of the wrong type."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def _rate(default: float) -> Any:
    return Field(default=default, ge=0, le=1)


class LearningRates(Section):
    """Learning rates at the start of the run; `training.schedule` scales all of them alike."""

    auto_encoder_lr: float = _rate(0.0008)
    """Learning rate of encoder and decoder for reconstruction. [seed]."""
    generator_lr: float = _rate(0.001)
    """Learning rate of the encoder for matching its codes to the prior. [seed]."""
    discriminator_lr: float = _rate(0.0002)
    """Learning rate of both discriminators. [seed]."""
    style_lr: float | None = Field(default=None, ge=0, le=1)
    """Learning rate of z's head and the decoder; `null` uses `auto_encoder_lr` and `generator_lr` for them too."""
    consistency_lr: float = _rate(0.002)
    """Learning rate of the encoder for labels and `consistency` terms, if any such term is on."""


class SemiSupervisedLearningRates(LearningRates):
    """Learning rates of the semi-supervised variant."""

    classifier_lr: float = _rate(0.001)
    """Learning rate of the encoder for labels, if no `consistency` term is on. [seed]."""


class UnsupervisedLearningRates(LearningRates):
    """Learning rates of the unsupervised variant."""

    generator_lr: float = _rate(0.002)
    """Learning rate of the encoder for matching its codes to the prior. [seed]."""
    info_lr: float = _rate(0.00001)
    """Learning rate of encoder and decoder for `use_mutual_info`. [seed]."""
    mode_lr: float = _rate(0.0008)
    """Learning rate of encoder and mode decoder for `use_mode_decoder`. [seed]."""
    disentanglement_lr: float = _rate(0.00005)
    """Learning rate of the decoder for `use_disentanglement`. [seed]."""


class ModelConfig(Section):
    """Type and size of the networks."""

    encoder: Literal["mlp", "conv"] = "mlp"
    """Encoder type: two hidden layers, or one convolution stage per `conv_channels` entry. Other networks are MLPs."""
    hidden_size: int = Field(default=1000, ge=1, le=65536)
    """Units per hidden layer, in every network except a convolutional encoder. [seed]."""
    conv_channels: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(32, 64, 128), min_length=1, strict=False)
    """Channels per stage of a convolutional encoder."""
    encoder_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout rate of the encoder: after each hidden layer of an MLP, or before the heads of a `conv`. [seed]."""
    z_size: int = Field(default=2, ge=1, le=4096)
    """Number of style dimensions, Z."""
    n_classes: int | None = Field(default=None, ge=2, le=4096)
    """Number of categories, K; `null` uses the number of classes in the data."""
    standardize: bool = False
    """Standardize each input to mean 0 and standard deviation 1 over the training set."""
    reconstruction: Reconstruction = "bernoulli"
    """Distribution of the decoded values: pixels in [0, 1], or Gaussian values, standardized as by `standardize`."""


class ConsistencyConfig(Section):
    """Additional losses on y, trained with the label loss in a separate phase; a weight of 0 turns a loss off.

    Pseudo-labels come from a memory: for each image, a running average of the predictions of the EMA weights. Once it
    covers `looks_to_trust` views, it labels the image and weights pairs by how likely they share a category.
    """

    augmentation: float = Field(default=1.0, ge=0, le=4)
    """Strength of the rotation, shift, shear and scaling of a view; 0 turns them off."""
    elastic: float = Field(default=0.0, ge=0, le=1)
    """Elastic deformation of a view: standard deviation of shifts, in units of half the image size. [Simard et al.]."""
    lambda_pairs: float = Field(default=0.0, ge=0)
    """Weight of the neighbour consistency loss: two views share a category. [IMSAT; SCAN]."""
    n_neighbors: int = Field(default=10, ge=0, le=1000)
    """Number of nearest neighbours that the second view is taken from; 0 takes it from the image itself. [SCAN]."""
    likeness: Likeness = "gradients"
    """Description that neighbours are searched by; `directions` are `features` of length 1. [Dalal & Triggs]."""
    spread_labels: bool = False
    """Initialize the pseudo-labels by spreading the labels from neighbour to neighbour. [Zhou et al.]."""
    blend_regression: bool = False
    """Average the spread labels with a smoothed logistic regression; needs `spread_labels`. [Huang et al.]."""
    lambda_balance: float = Field(default=0.0, ge=0)
    """Weight of the category balance loss: all categories are equally frequent; needs `lambda_pairs`. [IMSAT]."""
    balance_tolerance: float = Field(default=0.0, ge=0)
    """Initial tolerance of the balance loss: entropy deficit that is not penalized, in nats."""
    trusted_balance_tolerance: float = Field(default=0.05, ge=0)
    """Tolerance of the balance loss once the memory of all images is trusted, in nats; interpolated until then."""
    lambda_virtual_adversarial: float = Field(default=0.0, ge=0)
    """Weight of virtual adversarial training: y resists the most harmful small change; needs `ema_decay`. [VAT]."""
    virtual_adversarial_radius: float = Field(default=1.5, gt=0)
    """L2 norm of the virtual adversarial change, for images in [0, 1]. [VAT]."""
    lambda_pseudo_labels: float = Field(default=0.0, ge=0)
    """Weight of the pseudo-label loss: learn the likeliest category over many views; needs `ema_decay`. [FixMatch]."""
    confidence: float = Field(default=0.9, ge=0, lt=1)
    """Minimum probability of a pseudo-label; less certain images are left out. [FixMatch]."""
    memory: float = Field(default=0.8, ge=0, lt=1)
    """Decay of the memory, the running average of the predictions, per view. [Laine & Aila]."""
    looks_to_trust: int = Field(default=1, ge=1)
    """Number of views before the memory of an image is trusted; one view per epoch."""
    lambda_over_clustering: float = Field(default=0.0, ge=0)
    """Weight of the over-clustering loss: pairs share a category of a second head; needs `lambda_pairs`. [IIC]."""
    n_over_clusters: int = Field(default=50, ge=2, le=4096)
    """Number of categories of the over-clustering head; more than K. [IIC]."""

    @property
    def needs_teacher(self) -> bool:
        """Whether any term needs the EMA weights."""
        return self.lambda_pseudo_labels > 0 or self.lambda_virtual_adversarial > 0

    @property
    def is_on(self) -> bool:
        """Whether any term is on."""
        return any(weight > 0 for key, weight in self if key.startswith("lambda_"))

    @model_validator(mode="after")
    def _terms_fit(self) -> ConsistencyConfig:
        if self.lambda_pairs == 0:
            for name in ("lambda_balance", "lambda_over_clustering"):
                if getattr(self, name):
                    raise ValueError(f"{name} needs pairs; set lambda_pairs above 0 too")
        if self.spread_labels and not (self.lambda_pseudo_labels and self.n_neighbors):
            raise ValueError(
                "spread_labels needs neighbours and pseudo-labels; set n_neighbors and lambda_pseudo_labels above 0 too"
            )
        if self.blend_regression and not self.spread_labels:
            raise ValueError("blend_regression needs spread labels; set spread_labels to true too")
        return self


class ScheduleConfig(Section):
    """Schedule of all learning rates."""

    kind: Literal["constant", "cosine", "multistep"] = "cosine"
    """Type of schedule: constant, cosine decay to 0, or times `gamma` at each milestone. [Loshchilov & Hutter]."""
    warmup_epochs: float = Field(default=0.0, ge=0)
    """Epochs of linear warm-up from 0."""
    milestones: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(50,), strict=False)
    """Epochs after which the rates drop; `multistep` only. [seed]."""
    gamma: float = Field(default=0.1, gt=0, le=1)
    """Factor at each milestone; `multistep` only. [seed]."""


class TrainingConfig(Section):
    """Length, batches, noise and arithmetic of the run."""

    n_epochs: int = Field(default=35, ge=1)
    """Passes over the unlabelled images. [seed]."""
    batch_size: int = Field(default=100, ge=2)  # BatchNorm needs two samples
    """Images per step, over all processes. [seed]."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Random seed."""
    input_noise: float = Field(default=0.3, ge=0)
    """Standard deviation of the noise added to inputs, in units of [0, 1], or of each input's own. [AAE]."""
    use_adam_optimization: bool = True
    """Use Adam for every phase; otherwise SGD with momentum 0.9. [seed]."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay of every phase; with Adam it is decoupled, as in AdamW. [Loshchilov & Hutter]."""
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    """EMA decay of the weights; the average is the model; 0 turns it off. [Tarvainen & Valpola]."""
    use_conditional_style_prior: bool = False
    """Match z to its prior within each category, which keeps category information out of the style."""
    autoencoder_every: int = Field(default=1, ge=1)
    """Run the autoencoder phases every N steps."""
    autoencoder_after: float = Field(default=0.0, ge=0, lt=1)
    """Fraction of the epochs before the autoencoder phases start; until then the `consistency` phase trains y alone."""
    schedule: ScheduleConfig = ScheduleConfig()
    """Schedule of all learning rates."""
    precision: TrainingPrecision = "auto"
    """Arithmetic of matrix products; `auto` is bf16 where the hardware supports it, else fp32."""
    compile: bool | None = None
    """Use torch.compile; `null` uses it on CUDA only."""
    compile_mode: CompileMode = "default"
    """Mode of torch.compile; all modes but `default` record CUDA graphs."""
    deterministic: bool = False
    """Reproduce the weights bit for bit, on the same machine with the same number of threads."""
    resident_mib: int = Field(default=4096, ge=0)
    """Largest training set kept on the device, in MiB; larger sets are streamed."""

    @model_validator(mode="after")
    def _chooses_no_kernel_by_its_time(self) -> Self:
        if self.deterministic and self.compile_mode == "max-autotune":
            raise ValueError(
                "max-autotune chooses kernels by their time, which varies; with deterministic, use another"
            )
        return self


class SemiSupervisedTrainingConfig(TrainingConfig):
    """Training settings of the semi-supervised variant."""

    augment_labeled: bool = True
    """Slightly rotate, shift and shear labelled images; a `consistency` term uses `augmentation` instead."""
    labeled_batch_size: int | None = Field(default=None, ge=2)
    """Labelled images per step; `null` uses `batch_size`."""


class UnsupervisedTrainingConfig(TrainingConfig):
    """Training settings and optional losses of the unsupervised variant."""

    use_mutual_info: bool = False
    """Use the cyclic mode loss: a decoded code keeps its category when encoded again. [InfoGAN; seed]."""
    use_mode_decoder: bool = False
    """Train a second decoder that rebuilds the image from y alone. [seed]."""
    use_disentanglement: bool = True
    """Use the reversed pairwise mode loss, which pushes the decoder's images of the categories apart. [seed]."""
    use_adversarial_categorial_weights: bool = True
    """Draw rarer categories more often from the prior. [seed]."""
    lambda_z_l2_regularization: float = Field(default=0.15, ge=0)
    """Weight of the L2 penalty on z; 0 turns it off. [seed]."""


class VariantSection(Section):
    """Sections shared by both variants."""

    learning_rates: LearningRates = LearningRates()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    consistency: ConsistencyConfig = ConsistencyConfig()

    @model_validator(mode="after")
    def _has_a_teacher(self) -> VariantSection:
        if self.consistency.needs_teacher and self.training.ema_decay == 0:
            raise ValueError(
                "pseudo-labels and virtual adversarial training need EMA weights; set training.ema_decay above 0"
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
                " lambda_pairs above 0, or remove autoencoder_after"
            )
        return self


class ConfigFile(Section):
    """Configuration file, with a section for one variant or for both."""

    semi_supervised: SemiSupervisedConfig | None = None
    unsupervised: UnsupervisedConfig | None = None


VariantConfig = SemiSupervisedConfig | UnsupervisedConfig
