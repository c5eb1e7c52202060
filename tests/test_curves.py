import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from refusals import refused

from aae_toolkit.config import Variant
from aae_toolkit.training.metrics import read_metrics
from aae_toolkit.visualization.curves import curves_of, draw_curve, draw_learning_curves


def write(directory: Path, *lines: dict[str, Any]) -> Path:
    path = directory / "metrics.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def drawn_lines(name: str, lines: list[dict[str, Any]], variant: Variant = "unsupervised") -> dict[str, list[float]]:
    [axes] = draw_curve(curves_of(variant)[name], lines).axes
    return {line.get_label(): list(line.get_ydata()) for line in axes.lines if not line.get_label().startswith("_")}


def test_learning_curves_have_the_seeds_names(model_dir: Path, variant: Variant, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(model_dir, tmp_path / "copy"))
    written = {path.name for path in draw_learning_curves(copy, variant)}
    common = {f"{variant}_advesarial_learning_curve.png", f"{variant}_reconstruction_learning_curve.png"}
    own = {
        "semi_supervised": {
            "semi_supervised_classification_learning_curve.png",
            "semi_supervised_accuracy_learning_curve.png",
        },
        "unsupervised": {"unsupervised_accuracy_learning_curve.png"},
    }
    assert written == common | own[variant]
    assert all(Image.open(copy / name).size > (400, 300) for name in written)


def test_a_curve_is_drawn_only_where_its_term_was_trained(tmp_path: Path) -> None:
    write(tmp_path, {"epoch": 1, "reconstruction": 0.5, "mutual_information": 0.1})
    names = {path.name for path in draw_learning_curves(tmp_path, "unsupervised")}
    assert names == {"unsupervised_reconstruction_learning_curve.png", "unsupervised_cyclic_info_learning_curve.png"}
    write(tmp_path, {"epoch": 1, "reconstruction": 0.5})
    draw_learning_curves(tmp_path, "unsupervised")
    assert {path.name for path in tmp_path.glob("*.png")} == {"unsupervised_reconstruction_learning_curve.png"}


def test_no_epoch_is_no_curve(tmp_path: Path) -> None:
    write(tmp_path)
    assert draw_learning_curves(tmp_path, "unsupervised") == []


def test_a_term_of_some_epochs_has_gaps_elsewhere() -> None:
    lines: list[dict[str, Any]] = [{"epoch": e, "reconstruction": 0.5} for e in (1, 2, 3)]
    lines[1]["mode_reconstruction"] = 0.25
    drawn = drawn_lines("unsupervised_reconstruction_learning_curve.png", lines)
    assert drawn["reconstruction"] == [0.5, 0.5, 0.5]
    assert [math.isnan(v) for v in drawn["mode reconstruction"]] == [True, False, True]


def test_terms_on_y_have_a_curve_of_their_own(tmp_path: Path) -> None:
    write(tmp_path, {"epoch": 1, "pairs": 0.5, "balance": 0.1})
    [path] = draw_learning_curves(tmp_path, "semi_supervised")
    assert path.name == "semi_supervised_consistency_learning_curve.png"


def test_the_best_accuracy_is_named_with_its_epoch() -> None:
    values = {1: 0.5, 2: 0.75, 3: 0.7}
    lines = [{"epoch": epoch, "validation_accuracy": value} for epoch, value in values.items()]
    drawn = draw_curve(curves_of("semi_supervised")["semi_supervised_accuracy_learning_curve.png"], lines)
    assert drawn.get_supxlabel() == "Last 70.00%; best 75.00%, in epoch 2."
    drawn = draw_curve(curves_of("semi_supervised")["semi_supervised_accuracy_learning_curve.png"], lines, 256)
    assert drawn.get_supxlabel() == "Last 70.00%; best 75.00%, in epoch 2. Of 256 images."


def test_the_levels_of_a_fooled_discriminator_are_drawn() -> None:
    drawn = draw_curve(
        curves_of("unsupervised")["unsupervised_advesarial_learning_curve.png"], [{"epoch": 1, "generator_gaussian": 1}]
    )
    levels = [line.get_ydata()[0] for line in drawn.axes[0].lines if line.get_linestyle() == ":"]
    assert levels == pytest.approx([2 * math.log(2), math.log(2)])


def test_an_epoch_that_stands_twice_counts_once_and_order_is_restored(tmp_path: Path) -> None:
    path = write(tmp_path, {"epoch": 2, "a": 1}, {"epoch": 1, "a": 2}, {"epoch": 2, "a": 3})
    assert read_metrics(path) == [{"epoch": 1, "a": 2}, {"epoch": 2, "a": 3}]


def test_a_last_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, {"epoch": 1})
    path.write_text(path.read_text() + '{"epoch": 2, "recon')
    assert read_metrics(path) == [{"epoch": 1}]


@pytest.mark.parametrize("line", ["not json", "[]", "{}", '{"epoch": null}'])
def test_damaged_metrics_are_refused_with_their_line(line: str, tmp_path: Path) -> None:
    path = write(tmp_path, {"epoch": 1})
    path.write_text(path.read_text() + line + "\n")
    with refused(path, "line 2", "train the model again"):
        read_metrics(path)


def test_absent_metrics_are_refused(tmp_path: Path) -> None:
    with refused(tmp_path / "metrics.jsonl", "written by aae train"):
        draw_learning_curves(tmp_path, "unsupervised")
