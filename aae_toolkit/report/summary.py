"""Summary of a model in sentences: what it is and is good for, and what to know before using it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aae_toolkit.config import Variant
from aae_toolkit.data.directory import DatasetIndex
from aae_toolkit.evaluation import Evaluation
from aae_toolkit.html.rendering import size
from aae_toolkit.models.classes import listed
from aae_toolkit.models.description import ModelDescription
from aae_toolkit.report.scores import interval
from aae_toolkit.text import percent

if TYPE_CHECKING:
    from aae_toolkit.report.contents import Contents

_FEW_IMAGES = 200  # labelled images, below which an accuracy is known to several points only
_FEW_OF_CLASS = 10  # images of a class, below which its accuracy says little
_WEAK = 0.5  # accuracy of a class


class Limit(NamedTuple):
    """Limit of a model; a serious one concerns the labels that it gives."""

    text: str
    is_serious: bool = False


def about(contents: Contents) -> str:
    """Describe the model in a paragraph: its task, data, size and use."""
    d = contents.description
    sentences = [_task(d), *([_data(contents.data, d.variant)] if contents.data else []), _size(contents)]
    sentences.append("It is meant for images of the same kind, prepared in the same way.")
    return " ".join(sentences)


def _task(d: ModelDescription) -> str:
    a = d.architecture
    channels, height, width = a.image_shape
    kind = {1: "grey", 3: "colour"}.get(channels, f"{channels}-channel")
    images = f"{kind} images of {width} x {height} pixels"
    over = f", seen through {a.backbone.name}, a pretrained network," if a.backbone else ""
    names = f"{len(d.class_names)} classes ({listed(d.class_names)})"
    found = f"{a.n_classes} categories that it found without labels"
    if d.variant == "semi_supervised":
        return f"This classifier puts {images}{over} into {names}."
    if d.category_to_class_from.endswith("no labels"):
        return f"This model sorts {images}{over} into {found}; they have no names yet."
    return (
        f"This model sorts {images}{over} into {found}. Each stands for one of {names}, by {d.category_to_class_from}."
    )


def _data(index: DatasetIndex, variant: Variant) -> str:
    n = {name: split.n for name, split in index.splits.items()}
    if variant == "unsupervised":
        taught = f"{n['train_labeled'] + n['train_unlabeled']:,} training images, whose labels are not used"
    else:
        labels = [count for count in index.splits["train_labeled"].class_counts.values() if count]
        fewest, most = min(labels, default=0), max(labels, default=0)
        each = f"{most} a class" if fewest == most else f"{fewest} to {most} a class"
        taught = f"{n['train_labeled']:,} labelled ({each}) and {n['train_unlabeled']:,} unlabelled training images"
    return f"The data ({index.source}) has {taught}, {n['validation']:,} for validation and {n['test']:,} for test."


def _size(contents: Contents) -> str:
    used = sum(n for name, n in contents.parameters.items() if name in ("encoder", "backbone"))
    files = contents.export.manifest.artifacts if contents.export else ()
    exported = [f", and {f.file} has {size(f.size_bytes)}" for f in files if f.file == "classifier.onnx"]
    return f"It has {used:,} weights{''.join(exported)}."


def limits(contents: Contents) -> list[Limit]:
    """List what to know before the model is used, serious limits first."""
    found = [*_of_training(contents), *_of_scores(contents), *_of_export(contents)]
    found.append(Limit("It gives every image one of its classes, also an image that shows none of them."))
    return sorted(found, key=lambda limit: not limit.is_serious)


def _of_training(contents: Contents) -> list[Limit]:
    diagnosis = contents.description.diagnosis
    if diagnosis is None or diagnosis.is_healthy:
        return []
    line = diagnosis.line
    named = line[0] if line[1] == " " else line[0].upper()  # y and z are names
    return [Limit(f"{named}{line[1:]}.", diagnosis.concerns_labels)]


def _of_scores(contents: Contents) -> list[Limit]:
    if not contents.evaluations:
        if contents.description.validation_accuracy is None:
            return [
                Limit("No label was there to compare with: nothing here says how often its labels are right.", True)
            ]
        return []
    scored = contents.evaluations[-1]
    found = [Limit(b.verdict, is_serious=True) for b in scored.baselines if b.standing != "better"]
    low, high = interval(scored.accuracy, scored.n)
    if scored.n < _FEW_IMAGES:
        found.append(
            Limit(
                f"{scored.n} labelled {scored.split} images are few: the accuracy of {percent(scored.accuracy)} may be"
                f" {100 * low:.0f} to {100 * high:.0f}%."
            )
        )
    if [e.split for e in contents.evaluations] == ["validation"] and scored.variant == "unsupervised":
        found.append(
            Limit(
                "Its categories were named on the validation images, so their accuracy flatters; --split test is fair."
            )
        )
    return found + _of_classes(scored)


def _of_classes(scored: Evaluation) -> list[Limit]:
    found, given = [], [sum(column) for column in zip(*scored.confusion, strict=True)]
    reports = scored.per_class
    never = [r.class_name for r, n in zip(reports, given, strict=True) if r.n and not n]
    if never:
        found.append(Limit(f"Classes that it gave no {scored.split} image: {listed(never)}.", is_serious=True))
    weak = [r for r in reports if r.n >= _FEW_OF_CLASS and (r.accuracy or 0.0) < _WEAK and r.class_name not in never]
    if weak:
        names = [f"{r.class_name} ({percent(r.accuracy)} of {r.n})" for r in weak]
        found.append(Limit(f"Wrong more often than right on {listed(names)}."))
    few = [f"{r.class_name} ({r.n})" for r in reports if 0 < r.n < _FEW_OF_CLASS]
    if few:
        found.append(Limit(f"Too few {scored.split} images to judge: {listed(few)}."))
    return found


def _of_export(contents: Contents) -> list[Limit]:
    if contents.export is None:
        return []
    verdict, found = contents.export.verdict, []
    if verdict is None:
        found.append(Limit("The exported files were not compared with the trained model yet."))
    elif not verdict.passed:
        found.append(Limit("Parity was REFUSED: not every exported file is the trained model.", is_serious=True))
    forced = [e.file for e in contents.export.manifest.artifacts if e.gate and e.gate.problems]
    return found + [Limit(f"{file} did not pass its checks and was kept by force.", is_serious=True) for file in forced]
