"""The sections and keys of the YAML configuration, as pydantic models.

The keys of `learning_rates`, `model.hidden_size`, `model.encoder_dropout` and the `use_*` / `lambda_*` switches are the
seed document's, spellings included; the others have defaults, so that the seed's file loads. The text below a key is
its meaning, with the idea's source in brackets at the end; `docs/configuration.md` is generated from these texts.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from aae_toolkit.config.consistency import ConsistencyConfig
from aae_toolkit.config.section import Section

Variant = Literal["semi_supervised", "unsupervised"]
VARIANTS: tuple[Variant, ...] = ("semi_supervised", "unsupervised")
TrainingPrecision = Literal["auto", "fp32", "bf16", "fp16"]
CompileMode = Literal["default", "reduce-overhead", "max-autotune"]
Reconstruction = Literal["bernoulli", "gaussian"]
ClassWeights = Literal["none", "balanced"]
ClassPrior = Literal["uniform", "labels"]
Keep = Literal["last", "best"]


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
    early_pool: bool = True
    """Pool after the strided first stage of a convolutional encoder too: less accurate, and 1.6 times as fast."""
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
    use_autoencoder: bool = True
    """Train the autoencoder; `false` trains y alone, for comparison: decoders and z then stay untrained."""
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
    class_weights: ClassWeights = "none"
    """Weights of labels: all 1, or `balanced`, labels / (classes x labels of the class), so that all classes count
    alike; pseudo-labels are then balanced too."""
    class_prior: ClassPrior = "uniform"
    """Shares of the categories in the balance loss and in the prior of y: all equal, or those of the labels, which is
    right only where labels were drawn like the images."""
    keep: Keep = "last"
    """Epoch whose weights become the model: the last one, or the best one on at least 500 labelled validation images,
    by accuracy, or by balanced accuracy where classes are uneven."""


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

    @model_validator(mode="after")
    def _has_labels(self) -> SemiSupervisedConfig:
        if self.consistency.cluster_first:
            raise ValueError("consistency.cluster_first: labels begin the pseudo-labels; set spread_labels instead")
        return self

    @model_validator(mode="after")
    def _uses_the_class_prior(self) -> SemiSupervisedConfig:
        training = self.training
        if training.class_prior == "labels" and not (training.use_autoencoder or self.consistency.lambda_balance):
            raise ValueError(
                "training.class_prior: labels has no effect here; set consistency.lambda_balance above 0, or"
                " training.use_autoencoder to true"
            )
        return self


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
        if self.consistency.pseudo_label_head:
            raise ValueError("consistency.pseudo_label_head: without supervision y learns from pseudo-labels too")
        return self

    @model_validator(mode="after")
    def _learns_from_the_start(self) -> UnsupervisedConfig:
        training, key, epochs = self.training, "autoencoder_after", "the first epochs"
        if not training.use_autoencoder:
            key, epochs = "use_autoencoder: false", "all epochs"
        if not self.consistency.is_on and (training.autoencoder_after or not training.use_autoencoder):
            raise ValueError(
                f"training.{key} leaves {epochs} to the terms of consistency, which are off; set lambda_pairs above 0,"
                f" or remove {key}"
            )
        return self


class ConfigFile(Section):
    """Configuration file, with a section for one variant or for both."""

    semi_supervised: SemiSupervisedConfig | None = None
    unsupervised: UnsupervisedConfig | None = None


VariantConfig = SemiSupervisedConfig | UnsupervisedConfig
