"""Preflight: settings that do not fit the data, and data that cannot show what is asked of it, said before training."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from aae_toolkit.config import SemiSupervisedConfig, VariantConfig
from aae_toolkit.config.auto import Length, length_for
from aae_toolkit.config.auto_rows import length_for_rows
from aae_toolkit.data.arrays import TrainingData
from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.models.classes import listed
from aae_toolkit.training.runtime import Runtime

_MOST_NOTES = 4
_FEWEST_STEPS, _FEWEST_STEPS_OF_ROWS = 400, 100  # of a run; `auto` never takes fewer
_LARGE_BATCH = 128  # images, up to which a batch may be the whole of a small set
_FEW_LABELS = 2  # labels of a class
_SMALL_VALIDATION = 100  # images, below which one is more than a point of accuracy
_TYPICAL = 0.8  # accuracy, whose interval is said
_IMAGES_EACH = 2  # images a category in a batch, below which the batch cannot show how evenly categories are used
_SLOWER = 1.5  # times as long as in fp32, from which a precision is named
_PROBED, _PROBES = 256, 5  # rows and columns of the matrices of the probe, and its repetitions


@dataclass(frozen=True)
class DataFacts:
    """Counts of the data of a training.

    Attributes:
        n_labeled: labelled training images.
        n_unlabeled: training images without a label.
        labels: labelled training images by class.
        validation: labelled validation images by class.
        has_backbone: the images are embedded by a backbone.
    """

    n_labeled: int
    n_unlabeled: int
    labels: Mapping[str, int]
    validation: Mapping[str, int]
    has_backbone: bool = False

    @classmethod
    def of(cls, data: TrainingData) -> DataFacts:
        """Count the images and labels of training data."""
        labels, validation = (_by_class(data, name) for name in ("train_labeled", "validation"))
        n_labeled, n_unlabeled = data.size("train_labeled"), data.size("train_unlabeled")
        return cls(n_labeled, n_unlabeled, labels, validation, data.backbone is not None)

    @property
    def n_images(self) -> int:
        """Number of images of an epoch."""
        return self.n_unlabeled if self.n_unlabeled >= self.n_labeled else self.n_unlabeled + self.n_labeled

    @property
    def n_validation(self) -> int:
        """Number of validation images with a label."""
        return sum(self.validation.values())


def _by_class(data: TrainingData, name: str) -> dict[str, int]:
    labels = data.load_inputs(name, mapped=True).labels  # type: ignore[arg-type]
    counts = np.bincount(labels[labels != UNLABELED], minlength=len(data.class_names))
    return dict(zip(data.class_names, counts.tolist(), strict=True))


def notes(config: VariantConfig, facts: DataFacts, slowdown: Callable[[], float]) -> list[str]:
    """List what does not fit, most serious first, a line each with the setting that fits; a few lines at most.

    Args:
        config: settings of the run, fitted to the data.
        facts: counts of the data.
        slowdown: measures how many times as long a matrix product takes in the run's precision as in fp32; it is called
            only if a precision was asked for.
    """
    settings = (_steps, _large_batch, _precision(slowdown), _many_categories, _late_terms)
    return [note for check in (*settings, *_OF_DATA) for note in check(config, facts)][:_MOST_NOTES]


def more_steps(config: VariantConfig, facts: DataFacts) -> str | None:
    """Return the flags that give a run of too few steps enough of them; None if it has enough."""
    n_steps, fewest = config.training.n_epochs * steps_an_epoch(config, facts), _fewest_steps(facts)
    if n_steps >= fewest:
        return None
    fitting = _fitting(config, facts)
    batch_size = min(config.training.batch_size, fitting.batch_size)
    batch = f"--batch-size {batch_size} " if batch_size < config.training.batch_size else ""
    total = max(fewest, fitting.n_epochs * fitting.steps_per_epoch)
    return f"{batch}--n-epochs {math.ceil(total / max(1, math.ceil(facts.n_images / batch_size)))}"


def steps_an_epoch(config: VariantConfig, facts: DataFacts) -> int:
    """Number of steps of an epoch, as `Batches` cuts it."""
    n = facts.n_images
    return max(1, min(math.ceil(n / config.training.batch_size), n // 2))


def _fewest_steps(facts: DataFacts) -> int:
    return _FEWEST_STEPS_OF_ROWS if facts.has_backbone else _FEWEST_STEPS


def _fitting(config: VariantConfig, facts: DataFacts) -> Length:
    """Return the length that `auto` would choose."""
    if facts.has_backbone:
        return length_for_rows(facts.n_images, config.variant, are_embeddings=True)
    return length_for(facts.n_images)


def _steps(config: VariantConfig, facts: DataFacts) -> Iterator[str]:
    if flags := more_steps(config, facts):
        training, per_epoch = config.training, steps_an_epoch(config, facts)
        total = training.n_epochs * per_epoch
        yield (
            f"{_n(total, 'step')} in all ({_n(training.n_epochs, 'epoch')} of {per_epoch}, batches of"
            f" {training.batch_size} from {facts.n_images} images) teach little: give {flags}, or --config auto"
        )


def _large_batch(config: VariantConfig, facts: DataFacts) -> Iterator[str]:
    batch, fitting = config.training.batch_size, _fitting(config, facts)
    per_epoch = steps_an_epoch(config, facts)
    if per_epoch > 2 or batch <= max(_LARGE_BATCH, fitting.batch_size) or more_steps(config, facts):
        return
    yield (
        f"batches of {batch} make {_n(per_epoch, 'step')} an epoch of {facts.n_images} images: --batch-size"
        f" {fitting.batch_size} makes {fitting.steps_per_epoch}"
    )


def _precision(slowdown: Callable[[], float]) -> Callable[[VariantConfig, DataFacts], Iterator[str]]:
    def check(config: VariantConfig, facts: DataFacts) -> Iterator[str]:
        precision = config.training.precision
        if precision in ("auto", "fp32") or (times := slowdown()) < _SLOWER:
            return
        shown = f"{times:.1f}" if times < 10 else f"{times:.0f}"
        yield f"a matrix product takes {shown} times as long in {precision} as in fp32 here: give --precision auto"

    return check


def _many_categories(config: VariantConfig, facts: DataFacts) -> Iterator[str]:
    """Compare K with a batch, in which balance is measured, and with the images, of which neighbours are taken."""
    k, batch, terms = config.model.n_classes or 0, config.training.batch_size, config.consistency
    if terms.lambda_balance and min(batch, facts.n_images) < _IMAGES_EACH * k:
        fewer = f"--n-classes {max(2, facts.n_images // 10)} or fewer"
        remedy = f"give --batch-size {4 * k}" if facts.n_images >= 4 * k else f"ask for {fewer}"
        yield f"a batch of {min(batch, facts.n_images)} images cannot show how evenly {k} categories are used: {remedy}"
    each = facts.n_images // max(k, 1)
    if (terms.lambda_pairs or terms.spread_labels) and terms.n_neighbors > 2 * max(1, each):
        yield (
            f"{k} categories have about {_n(each, 'image')} each, so most of {terms.n_neighbors} neighbours are of"
            f" other ones: set n_neighbors: {max(1, each // 2)} (section consistency), or ask for fewer --n-classes"
        )


def _late_terms(config: VariantConfig, facts: DataFacts) -> Iterator[str]:
    """Find what starts after the last epoch."""
    n_epochs, terms, schedule = config.training.n_epochs, config.consistency, config.training.schedule
    starts_late = terms.looks_to_trust >= n_epochs and not (terms.spread_labels or terms.cluster_first)
    if terms.lambda_pseudo_labels and starts_late:
        yield (
            f"pseudo-labels need {_n(terms.looks_to_trust, 'epoch')} to start, and the run has {n_epochs}: set"
            f" looks_to_trust: {max(1, n_epochs // 5)} (section consistency), or give --n-epochs"
            f" {5 * terms.looks_to_trust}"
        )
    if schedule.warmup_epochs >= n_epochs:
        yield (
            f"learning rates rise for {schedule.warmup_epochs:g} epochs, and the run has {n_epochs}: set warmup_epochs:"
            f" {round(0.07 * n_epochs, 1):g} (section training.schedule)"
        )


def _few_labels(config: VariantConfig, facts: DataFacts) -> Iterator[str]:
    few = {name: n for name, n in facts.labels.items() if n <= _FEW_LABELS}
    if not few or not isinstance(config, SemiSupervisedConfig):
        return
    if len(few) == len(facts.labels):
        yield (
            f"no class has more than {_n(max(few.values()), 'labelled image')}, and accuracy depends on which these"
            " are: label more"
        )
    else:
        which = listed([f"{name} ({n})" for name, n in few.items()])
        yield f"too few labelled images to learn a class by: {which}; label more of them, or leave these classes out"


def _validation(config: VariantConfig, facts: DataFacts) -> Iterator[str]:
    n, missing = facts.n_validation, [name for name, count in facts.validation.items() if not count]
    if not n:
        return  # nothing is scored, and nothing is claimed
    if missing:
        named = "" if isinstance(config, SemiSupervisedConfig) else ", and no category can be named so"
        yield f"no validation image shows {listed(missing)}: nothing scores it{named}; hold out more (--validation)"
    if n < _SMALL_VALIDATION:
        within = 196 * math.sqrt(_TYPICAL * (1 - _TYPICAL) / n)
        yield (
            f"{_n(n, 'validation image')}: one is {100 / n:.1f} points of accuracy, and 80% is known to ± {within:.0f}"
            f" points only; hold out more (--validation {_SMALL_VALIDATION} or more)"
        )


def _passed(config: VariantConfig, facts: DataFacts) -> Iterator[str]:
    if isinstance(config, SemiSupervisedConfig) and 0 < facts.n_unlabeled < facts.n_labeled:
        yield (
            f"{_n(facts.n_unlabeled, 'unlabelled image')} beside {facts.n_labeled} labelled ones can add little; more"
            " may help (_unlabeled/)"
        )


_OF_DATA = (_few_labels, _validation, _passed)


def _n(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def measure_slowdown(runtime: Runtime) -> float:
    """Measure how many times as long a matrix product takes in the run's precision as in fp32.

    The shortest of a few short runs counts, so that other work on the machine does not. On a GPU nothing is measured,
    and the result is 1: its matrix units are made for both types.
    """
    if runtime.device.type == "cuda" or runtime.dtype == torch.float32:
        return 1.0
    seconds = {}
    for dtype in (torch.float32, runtime.dtype):
        matrix = torch.ones(_PROBED, _PROBED, dtype=dtype)
        runs = []
        for _ in range(_PROBES):
            start = time.perf_counter()
            torch.mm(matrix, matrix)
            runs.append(time.perf_counter() - start)
        seconds[dtype] = min(runs)
    return seconds[runtime.dtype] / seconds[torch.float32]
