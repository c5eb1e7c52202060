"""A diagnosis is kept in `model.json`, and said where a model is finished, scored and shipped."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from exports import one_variant

from aae_toolkit.cli.app import run
from aae_toolkit.cli.options import ConsoleProgress
from aae_toolkit.cli.training_run import _conclude
from aae_toolkit.errors import AaeError
from aae_toolkit.export.card import model_card
from aae_toolkit.export.manifest import read_manifest
from aae_toolkit.models.description import ModelDescription, read_description
from aae_toolkit.models.diagnosis import Diagnosis, State

COLLAPSED = {"state": "collapsed", "finding": "1 of 5 categories is used", "advice": "raise lambda_balance (now 2)"}
LINE = "COLLAPSED: 1 of 5 categories is used; raise lambda_balance (now 2)"


def described(diagnosis: Diagnosis | None) -> ModelDescription:
    """A description of which only the diagnosis matters."""
    return ModelDescription.model_construct(diagnosis=diagnosis, epochs=None)


def ill_model(model_dir: Path, to: Path, diagnosis: Any) -> Path:
    """A copy of a model whose training ended so."""
    shutil.copytree(model_dir, to)
    content = json.loads((to / "model.json").read_text())
    (to / "model.json").write_text(json.dumps(content | {"diagnosis": diagnosis}))
    return to


@pytest.mark.parametrize("quiet", [False, True])
def test_a_collapse_is_the_last_line_of_a_training_even_if_it_is_quiet(
    quiet: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    _conclude(described(Diagnosis.model_validate(COLLAPSED)), Path("m"), ConsoleProgress(quiet=quiet))
    lines = capsys.readouterr().out.splitlines()
    assert lines == ([] if quiet else ["model written to m"]) + [LINE]


@pytest.mark.parametrize(
    ("state", "last"),
    [
        ("z_far_from_prior", ["note: z far from its prior: far; do this", "model written to m"]),
        ("healthy", ["model written to m"]),
    ],
)
def test_a_training_whose_labels_are_well_ends_with_the_model(
    state: State, last: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    diagnosis = Diagnosis(state=state, finding="far", advice="do this")
    for given in [diagnosis, *([None] if diagnosis.is_healthy else [])]:
        _conclude(described(given), Path("m"), ConsoleProgress())
        assert capsys.readouterr().out.splitlines() == last


@one_variant
def test_evaluate_says_how_the_training_ended(
    model_dir: Path, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ill = ill_model(model_dir, tmp_path / "ill", COLLAPSED)
    assert run(["evaluate", "--model", str(ill), "--data", str(data_dir)]) == 0
    assert f"at the end of training: {LINE}" in capsys.readouterr().out
    assert run(["evaluate", "--model", str(ill), "--data", str(data_dir), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["n"] == 60
    assert LINE in err
    for state in ("healthy", "blurred"):  # scores are of labels
        well = ill_model(model_dir, tmp_path / state, {"state": state, "finding": "grey", "advice": "wait"})
        assert run(["evaluate", "--model", str(well), "--data", str(data_dir)]) == 0
        assert "at the end of training" not in capsys.readouterr().out


@one_variant
def test_the_model_card_names_what_went_wrong(model_dir: Path, export_dir: Path, tmp_path: Path) -> None:
    manifest = read_manifest(export_dir)
    ill = read_description(ill_model(model_dir, tmp_path / "ill", COLLAPSED))
    assert "- **COLLAPSED** at the end of training: 1 of 5 categories is used\n" in model_card(ill, manifest)
    for name, diagnosis in (("none", None), ("well", {"state": "healthy"})):
        well = read_description(ill_model(model_dir, tmp_path / name, diagnosis))
        assert "at the end of training" not in model_card(well, manifest)


@one_variant
@pytest.mark.parametrize(
    "diagnosis", [{"state": "splendid"}, {}, "collapsed", COLLAPSED | {"finding": "\x1b[2J"}, COLLAPSED | {"advice": 3}]
)
def test_a_diagnosis_of_another_kind_is_refused(model_dir: Path, tmp_path: Path, diagnosis: Any) -> None:
    with pytest.raises(AaeError, match="does not describe a model") as caught:
        read_description(ill_model(model_dir, tmp_path / "odd", diagnosis))
    assert "\x1b" not in str(caught.value)
