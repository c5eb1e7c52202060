"""Learning curves from `metrics.jsonl`, under the seed's file names (its spelling of "advesarial" included)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aae_toolkit.config import Variant
from aae_toolkit.errors import AaeError
from aae_toolkit.files import require_own
from aae_toolkit.visualization.canvas import colors, figure

# File name -> title, and the terms drawn.
_Curves = dict[str, tuple[str, tuple[str, ...]]]
_SHARED: _Curves = {
    "{variant}_advesarial_learning_curve.png": (
        "Adversarial losses: balanced where neither side runs away",
        ("discriminator_categorical", "discriminator_gaussian", "generator_categorical", "generator_gaussian"),
    ),
    "{variant}_reconstruction_learning_curve.png": (
        "Reconstruction loss: falls, then levels off",
        ("reconstruction", "mode_reconstruction"),
    ),
}
_OWN: dict[Variant, _Curves] = {
    "semi_supervised": {
        "semi_supervised_classification_learning_curve.png": (
            "Classification loss on labelled images",
            ("classification",),
        ),
        "semi_supervised_accuracy_learning_curve.png": ("Accuracy on validation images", ("validation_accuracy",)),
    },
    "unsupervised": {
        "unsupervised_cyclic_info_learning_curve.png": (
            "Cyclic mode loss: low where codes survive",
            ("mutual_information",),
        ),
        "unsupervised_accuracy_learning_curve.png": (
            "Majority accuracy on validation images",
            ("validation_majority_accuracy",),
        ),
    },
}


def read_metrics(model_dir: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`, one an epoch: the epoch's number, and numbers by the name of their term.

    Raises:
        AaeError: the file is absent, damaged, or holds no epoch.
    """
    path = model_dir / "metrics.jsonl"
    require_own(path)
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, RecursionError) as error:
        raise AaeError(f"{path} is missing or damaged; train the model again") from error
    if not lines or not all(isinstance(line, dict) and isinstance(line.get("epoch"), int) for line in lines):
        raise AaeError(f"{path} holds no epochs, or something else; train the model again")
    return lines


def draw_learning_curves(model_dir: Path, variant: Variant) -> list[Path]:
    """Draw every curve whose terms were trained; return the files written."""
    from matplotlib.ticker import PercentFormatter

    lines = read_metrics(model_dir)
    written = []
    for template, (title, terms) in (_SHARED | _OWN[variant]).items():
        present = [term for term in terms if term in lines[-1]]
        path = model_dir / template.format(variant=variant)
        path.unlink(missing_ok=True)  # of an earlier training with other terms
        if not present:
            continue
        with figure(path, 7, 4.2) as drawn:
            axes = drawn.subplots()
            for term, color in zip(present, colors(len(present)), strict=True):
                epochs, values = [line["epoch"] for line in lines], [line[term] for line in lines]
                axes.plot(
                    epochs, values, color=color, label=term.replace("_", " "), marker="." if len(lines) < 40 else None
                )
            axes.set_title(title)
            axes.set_xlabel("epoch")
            if "accuracy" in present[0]:
                axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
            else:
                axes.set_ylabel("loss, nats")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.grid(alpha=0.3)
            axes.legend()
        written.append(path)
    return written
