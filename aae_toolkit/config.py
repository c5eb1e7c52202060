"""The YAML configuration: pydantic models, loading with errors that name the key, and flag overrides.

The keys of `learning_rates`, `model.hidden_size`, `model.encoder_dropout` and the `use_*` / `lambda_*` switches are the
seed document's, spellings included; the others have defaults, so that the seed's file loads as it stands.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from aae_toolkit.documents import brief, explain
from aae_toolkit.errors import UsageError
from aae_toolkit.safe_yaml import read_yaml
from aae_toolkit.text import one_line

Variant = Literal["semi_supervised", "unsupervised"]
VARIANTS: tuple[Variant, ...] = ("semi_supervised", "unsupervised")
Precision = Literal["auto", "fp32", "bf16", "fp16"]
CompileMode = Literal["default", "reduce-overhead", "max-autotune"]
Likeness = Literal["gradients", "pixels"]

DEFAULT_CONFIG = "seed"

_LONGEST_KEY = 80  # characters of one that is unknown


class Section(BaseModel):
    """A part of the configuration: unknown keys and values of the wrong type are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _rate(default: float) -> Any:
    return Field(default=default, ge=0, le=1)


class LearningRates(Section):
    """Step sizes shared by both variants."""

    auto_encoder_lr: float = _rate(0.0008)
    generator_lr: float = _rate(0.001)
    discriminator_lr: float = _rate(0.0002)
    consistency_lr: float = _rate(0.002)


class SemiSupervisedLearningRates(LearningRates):
    """Step sizes of the semi-supervised variant."""

    classifier_lr: float = _rate(0.001)


class UnsupervisedLearningRates(LearningRates):
    """Step sizes of the unsupervised variant."""

    generator_lr: float = _rate(0.002)
    info_lr: float = _rate(0.00001)
    mode_lr: float = _rate(0.0008)
    disentanglement_lr: float = _rate(0.00005)


class ModelConfig(Section):
    """The networks' kind and width."""

    encoder: Literal["mlp", "conv"] = "mlp"
    hidden_size: int = Field(default=1000, ge=1, le=65536)
    conv_channels: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(32, 64, 128), min_length=1, strict=False)
    encoder_dropout: float = Field(default=0.0, ge=0, lt=1)
    z_size: int = Field(default=2, ge=1, le=4096)
    n_classes: int | None = Field(default=None, ge=2, le=4096)  # None: as many as the data has classes


class ConsistencyConfig(Section):
    """Terms on y that join the labels' in a phase of their own, beside the autoencoder's; a weight of 0 is without.

    With pseudo-labels a memory holds what the averaged weights say of each image. Once it holds `looks_to_trust` looks,
    it labels the image, and weighs pairs by how likely they share a category.
    """

    augmentation: float = Field(default=1.0, ge=0, le=4)  # strength of a look's affine changes; 0: none
    elastic: float = Field(default=0.0, ge=0, le=1)  # local shifts of a look: standard deviation over half the picture
    lambda_pairs: float = Field(default=0.0, ge=0)  # two looks share a category
    n_neighbors: int = Field(default=10, ge=0, le=1000)  # the second is at one of so many neighbours; 0: at the image
    likeness: Likeness = "gradients"  # neighbours have like strokes and edges, or like pixels
    spread_labels: bool = False  # the memory begins with the labels, spread from neighbour to neighbour
    lambda_balance: float = Field(default=0.0, ge=0)  # all categories are used alike
    balance_tolerance: float = Field(default=0.0, ge=0)  # nats of entropy that their use may fall short by,
    trusted_balance_tolerance: float = Field(default=0.05, ge=0)  # and once the memory is trusted
    lambda_virtual_adversarial: float = Field(default=0.0, ge=0)  # y stays where a small change would move it most
    virtual_adversarial_radius: float = Field(default=1.5, gt=0)  # of that change, on images scaled to [0, 1]
    lambda_pseudo_labels: float = Field(default=0.0, ge=0)  # an image's likeliest category over looks is its label
    confidence: float = Field(default=0.9, ge=0, lt=1)  # where it is likelier than this
    memory: float = Field(default=0.8, ge=0, lt=1)  # how much of it is kept at each look
    looks_to_trust: int = Field(default=1, ge=1)  # there is one an epoch
    lambda_over_clustering: float = Field(default=0.0, ge=0)  # pairs share a category of a second head too
    n_over_clusters: int = Field(default=50, ge=2, le=4096)  # which is finer

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
    warmup_epochs: float = Field(default=0.0, ge=0)
    milestones: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(50,), strict=False)  # epochs, multistep only
    gamma: float = Field(default=0.1, gt=0, le=1)  # factor at each milestone, multistep only


class TrainingConfig(Section):
    """The run: its length, its batches, its noise, its arithmetic."""

    n_epochs: int = Field(default=35, ge=1)
    batch_size: int = Field(default=100, ge=2)  # BatchNorm needs two samples
    seed: int = Field(default=0, ge=0, lt=2**63)
    input_noise: float = Field(default=0.3, ge=0)  # standard deviation, on images scaled to [0, 1]
    use_adam_optimization: bool = True  # false: SGD with momentum 0.9, for every phase
    weight_decay: float = Field(default=0.0, ge=0)  # of every phase; beside Adam decoupled, as in AdamW
    ema_decay: float = Field(default=0.0, ge=0, lt=1)  # the weights' average over steps is kept; 0: the last weights
    use_conditional_style_prior: bool = False  # z follows its prior within each category: style does not tell it
    autoencoder_every: int = Field(default=1, ge=1)  # steps from one of the autoencoder's own phases to the next
    schedule: ScheduleConfig = ScheduleConfig()
    precision: Precision = "auto"
    compile: bool | None = None  # None: on CUDA
    compile_mode: CompileMode = "default"  # reduce-overhead and max-autotune: CUDA graphs
    resident_mib: int = Field(default=4096, ge=0)  # images up to this live on the device, larger sets stream to it


class SemiSupervisedTrainingConfig(TrainingConfig):
    """The run of the semi-supervised variant."""

    augment_labeled: bool = True  # small affine changes of labelled images; with consistency its `augmentation` says
    labeled_batch_size: int | None = Field(default=None, ge=2)  # of a step; None: batch_size


class UnsupervisedTrainingConfig(TrainingConfig):
    """The run of the unsupervised variant, and its four optional terms."""

    use_mutual_info: bool = False
    use_mode_decoder: bool = False
    use_disentanglement: bool = True
    use_adversarial_categorial_weights: bool = True
    lambda_z_l2_regularization: float = Field(default=0.15, ge=0)


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


class ConfigFile(Section):
    """A whole file; a file may hold one variant only."""

    semi_supervised: SemiSupervisedConfig | None = None
    unsupervised: UnsupervisedConfig | None = None


VariantConfig = SemiSupervisedConfig | UnsupervisedConfig


def shipped_configs() -> dict[str, Path]:
    """The configurations that come with the package, by name."""
    package = Path(__file__).parent
    directory = next(d for d in (package / "configs", package.parent / "configs") if d.is_dir())  # wheel, checkout
    return {path.stem: path for path in sorted(directory.glob("*.yaml"))}


def load_config(source: Path | str, variant: Variant) -> VariantConfig:
    """Read one variant's section of a YAML file, or of the shipped configuration of that name.

    Raises:
        AaeError: the file is absent or is not YAML.
        UsageError: an unknown key, a wrong type, an impossible value, or no section for `variant`.
    """
    path = shipped_configs().get(str(source), Path(source))
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UsageError(f"configuration {path} holds no sections; expected {' and/or '.join(VARIANTS)}")
    try:
        section = getattr(ConfigFile.model_validate(content), variant)
    except ValidationError as error:
        raise UsageError(f"configuration {path}: {_explain(error)}") from error
    if section is None:
        held = ", ".join(brief(name) for name, value in content.items() if value is not None) or "none"
        raise UsageError(f"configuration {path} has no section {variant!r}; it holds {held}")
    return section  # type: ignore[no-any-return]


def with_flags(config: VariantConfig, **flags: Any) -> VariantConfig:
    """Return `config` with the given command-line values; None means that the flag was not given.

    Raises:
        UsageError: a value that the configuration would refuse too.
    """
    content = config.model_dump()
    for name, value in flags.items():
        if value is not None:
            section = "model" if name in ModelConfig.model_fields else "training"
            content[section][name] = value
    try:
        return type(config).model_validate(content)
    except ValidationError as error:
        location = error.errors()[0]["loc"]
        flag = f"--{str(location[-1]).replace('_', '-')}: " if location else ""  # none: of several keys together
        raise UsageError(f"{flag}{_explain(error)}") from error


def dump_config(config: VariantConfig) -> str:
    """YAML text of one variant's fully resolved section, which `load_config` takes back unchanged."""
    return yaml.safe_dump({config.variant: config.model_dump(mode="json")}, sort_keys=False)


def _explain(error: ValidationError) -> str:
    """One line for the first of pydantic's complaints: the key's full path, what was found, what would be right."""
    first = error.errors()[0]
    if first["type"] != "extra_forbidden":
        return explain(error)
    path = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    known = _keys_at(first["loc"][:-1])
    nearest = difflib.get_close_matches(str(first["loc"][-1])[:_LONGEST_KEY], known, n=1)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"known here: {', '.join(known)}"
    return f"unknown key {one_line(path, _LONGEST_KEY)!r}; {hint}{more}"


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    """Names that the configuration knows inside a section."""
    model: type[BaseModel] = ConfigFile
    for part in location:
        annotation = model.model_fields[str(part)].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(model.model_fields)
