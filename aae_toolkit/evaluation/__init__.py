"""Scores of a model, and of simple methods beside it."""

from aae_toolkit.evaluation.baselines import Baseline, Baselines
from aae_toolkit.evaluation.encoding import encode, encode_split, load_for, unknown_classes
from aae_toolkit.evaluation.scoring import CategoryReport, ClassReport, Evaluation, evaluate, score
from aae_toolkit.evaluation.tables import (
    Floats,
    Integers,
    balanced_accuracy,
    contingency_table,
    fit_category_map,
    macro_f1,
    majority_accuracy,
    majority_map,
)

__all__ = [
    "Baseline",
    "Baselines",
    "CategoryReport",
    "ClassReport",
    "Evaluation",
    "Floats",
    "Integers",
    "balanced_accuracy",
    "contingency_table",
    "encode",
    "encode_split",
    "evaluate",
    "fit_category_map",
    "load_for",
    "macro_f1",
    "majority_accuracy",
    "majority_map",
    "score",
    "unknown_classes",
]
