"""The measurement of uneven classes, on made-up images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from conftest import REPOSITORY
from scripts import imported

from aae_toolkit.config.auto import Facts

BENCHMARKS = REPOSITORY / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.exists(), reason="the source distribution is without benchmarks")


@pytest.fixture(scope="module")
def uneven() -> Iterator[ModuleType]:
    with imported(BENCHMARKS, ("uneven",)) as modules:
        yield modules["uneven"]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """IDX files of 3000 training and 100 test images, each with its number in its first pixels, and ten classes."""
    for part, n in (("train", 3000), ("t10k", 100)):
        images = np.zeros((n, 28, 28), np.uint8)
        images[:, 0, 0], images[:, 0, 1] = np.arange(n) // 256, np.arange(n) % 256
        for name, array in (("images-idx3", images), ("labels-idx1", (np.arange(n) % 10).astype(np.uint8))):
            header = b"\0\0\x08" + bytes([array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
            (tmp_path / f"{part}-{name}-ubyte").write_bytes(header + array.tobytes())
    return tmp_path


@pytest.mark.parametrize("ratio", [10, 100])
def test_all_drawn_splits_have_the_same_uneven_shares_and_no_image_twice(
    uneven: ModuleType, raw: Path, ratio: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uneven, "N_UNLABELED", 300)
    monkeypatch.setattr(uneven, "N_VALIDATION", 200)
    draw = uneven.drawn(raw, ratio, 0, 200)
    counts = {name: np.bincount(draw.splits[name].labels, minlength=10) for name in ("train_labeled", "validation")}
    np.testing.assert_array_equal(counts["train_labeled"], counts["validation"])
    assert counts["validation"].max() / counts["validation"].min() == pytest.approx(ratio, rel=0.25)
    assert (draw.splits["train_unlabeled"].labels == -1).all()
    drawn = np.concatenate([draw.splits[name].images for name in ("train_labeled", "train_unlabeled", "validation")])
    assert len(np.unique(drawn.reshape(len(drawn), -1), axis=0)) == len(drawn)
    assert np.bincount(draw.splits["test"].labels).tolist() == [10] * 10


def test_rows_differ_in_the_keys_compared_alone(uneven: ModuleType) -> None:
    facts = Facts((1, 28, 28), 6000, 10, 2, tuple(np.array([91] + [1] * 9) / 100))
    plain, *others = (uneven.configured(facts, name, 0) for name in uneven.VARIANTS)
    assert plain.consistency.balance_tolerance > 1  # as `auto` has it for uneven classes
    for name, config in zip(list(uneven.VARIANTS)[1:], others, strict=True):
        assert config.training.model_copy(
            update=plain.training.model_dump(include={*uneven.VARIANTS[name]})
        ).model_dump(exclude={"schedule"}) == plain.training.model_dump(exclude={"schedule"})
        assert (config.consistency == plain.consistency) == (config.training.class_prior == "uniform")
        assert config.model == plain.model


def test_the_table_has_means_over_seeds(uneven: ModuleType) -> None:
    runs = {seed: {split: dict.fromkeys(uneven.SCORES, 90.0 + seed) for split in uneven.SPLITS} for seed in (0, 1)}
    assert uneven.table({"a row": runs}).splitlines()[-1] == "| a row | " + " | ".join(["90.50"] * 6) + " |"
