"""YAML configuration: sections and keys (`sections`), reading (`loading`), settings that fit the data (`auto`)."""

from aae_toolkit.config.consistency import ConsistencyConfig, Likeness
from aae_toolkit.config.loading import DEFAULT_CONFIG, dump_config, load_config, shipped_configs, with_flags
from aae_toolkit.config.sections import (
    VARIANTS,
    CompileMode,
    ConfigFile,
    LearningRates,
    ModelConfig,
    Reconstruction,
    ScheduleConfig,
    SemiSupervisedConfig,
    SemiSupervisedTrainingConfig,
    TrainingConfig,
    TrainingPrecision,
    UnsupervisedConfig,
    UnsupervisedTrainingConfig,
    Variant,
    VariantConfig,
    VariantSection,
)

__all__ = [
    "DEFAULT_CONFIG",
    "VARIANTS",
    "CompileMode",
    "ConfigFile",
    "ConsistencyConfig",
    "LearningRates",
    "Likeness",
    "ModelConfig",
    "Reconstruction",
    "ScheduleConfig",
    "SemiSupervisedConfig",
    "SemiSupervisedTrainingConfig",
    "TrainingConfig",
    "TrainingPrecision",
    "UnsupervisedConfig",
    "UnsupervisedTrainingConfig",
    "Variant",
    "VariantConfig",
    "VariantSection",
    "dump_config",
    "load_config",
    "shipped_configs",
    "with_flags",
]
