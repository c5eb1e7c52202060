"""Settings that do not fit the data are named before training, with those that fit; sane ones are not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_config, tiny_source

from aae_toolkit.config import VARIANTS, SemiSupervisedConfig, Variant, VariantConfig, load_config, with_flags
from aae_toolkit.config.auto import Facts, choose
from aae_toolkit.config.auto_rows import RowFacts, choose_for_rows
from aae_toolkit.data.directory import DataDirectory, write_data_directory
from aae_toolkit.progress import Silent
from aae_toolkit.training import preflight
from aae_toolkit.training.preflight import DataFacts, measure_slowdown, notes
from aae_toolkit.training.runtime import Runtime
from aae_toolkit.training.trainer import train

SHIPPED = {
    "semi_supervised": ("seed", "labels-3000", "labels-1000", "labels-100", "labels-100-mlp", "fast", "quick"),
    "unsupervised": ("seed", "clusters-10", "clusters-30", "clusters-30-mlp", "quick"),
}


def facts(n_images: int = 1000, labels: int = 20, validation: int = 40, k: int = 5, **changes: Any) -> DataFacts:
    """Counts of a data set with `k` even classes."""
    names = [f"class_{c}" for c in range(k)]
    even = DataFacts(labels * k, n_images, dict.fromkeys(names, labels), dict.fromkeys(names, validation))
    return replace(even, **changes)


def named(n_images: int = 47_000, **changes: Any) -> DataFacts:
    """Counts of a data set with classes of their own names and sizes."""
    return replace(facts(n_images), **changes)


def config_of(variant: Variant = "semi_supervised", *, name: str = "labels-100", **flags: Any) -> VariantConfig:
    config = load_config(name, variant)
    n_classes = flags.pop("n_classes", config.model.n_classes or 5)
    return with_flags(config, **{"n_classes": n_classes} | flags)


def changed(config: VariantConfig, section: str, **values: Any) -> VariantConfig:
    return config.model_copy(update={section: getattr(config, section).model_copy(update=values)})


def noted(config: VariantConfig, of: DataFacts, times: float = 1.0) -> list[str]:
    return notes(config, of, lambda: times)


@pytest.mark.parametrize(("variant", "name"), [(v, name) for v, names in SHIPPED.items() for name in names])
def test_shipped_configurations_have_no_notes_on_data_like_mnist(variant: Variant, name: str) -> None:
    mnist = facts(47_000, 10 if "100" in name else 300, 1000, 10)
    assert noted(config_of(variant, name=name, n_classes=30 if "30" in name else 10), mnist) == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_configuration_of_the_demo_has_no_notes_on_digits(variant: Variant) -> None:
    assert noted(config_of(variant, name="digits", n_classes=10), facts(978, 10, 36, 10)) == []


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("n_images", [20, 60, 223, 837, 5000, 50_000, 1_000_000])
@pytest.mark.parametrize("k", [2, 5, 10])
def test_auto_has_no_notes_on_any_number_of_images(variant: Variant, n_images: int, k: int) -> None:
    config, _ = choose(Facts((3, 32, 32), n_images, k, labels_per_class=3), variant)
    of = facts(n_images, 3, 60, k, n_labeled=min(3 * k, n_images))
    assert noted(with_flags(config, n_classes=k), of) == []
    if n_images < 60:
        return  # of so few rows, 5 neighbours are half
    rows, _ = choose_for_rows(RowFacts(n_images + 3 * k, 1280, 3 * k, are_embeddings=True), variant)
    embedded = facts(n_images, 3, 60, k, n_labeled=min(3 * k, n_images), has_backbone=True)
    assert noted(with_flags(rows, n_classes=k), embedded) == []


def test_a_run_of_few_steps_is_told_of_flags_that_give_enough() -> None:
    [note] = noted(config_of(), facts(223))
    assert note == (
        "28 steps in all (28 epochs of 1, batches of 250 from 223 images) teach little: give --batch-size 32 --n-epochs"
        " 400, or --config auto"
    )
    fitting = config_of(batch_size=32, n_epochs=400)
    assert noted(fitting, facts(223)) == []
    [note] = noted(config_of(n_epochs=1), facts(47_000, k=10))
    assert "188 steps in all (1 epoch of 188, batches of 250 from 47000 images)" in note
    assert "give --n-epochs 30," in note
    few = facts(223, n_labeled=50, has_backbone=True)
    [note] = noted(config_of(name="embeddings"), few)
    assert "give --batch-size 128 --n-epochs 120," in note
    assert noted(config_of(name="embeddings", batch_size=128, n_epochs=120), few) == []


@pytest.mark.parametrize(("batch_size", "n_epochs"), [(5000, 35), (5000, 400), (600, 300), (12, 2), (41, 9)])
def test_the_flags_of_a_note_leave_no_note(batch_size: int, n_epochs: int) -> None:
    of = facts(837)
    [note] = noted(config_of(batch_size=batch_size, n_epochs=n_epochs), of)
    words = note.replace(",", "").split()
    flags = {
        flag: int(words[words.index(name) + 1])
        for flag, name in (("batch_size", "--batch-size"), ("n_epochs", "--n-epochs"))
        if name in words
    }
    assert noted(config_of(**{"batch_size": batch_size, "n_epochs": n_epochs} | flags), of) == []


def test_a_batch_as_large_as_the_data_is_named_with_one_that_fits() -> None:
    [note] = noted(config_of(batch_size=5000, n_epochs=500), facts(837))
    assert note == "batches of 5000 make 1 step an epoch of 837 images: --batch-size 41 makes 21"


def test_a_slow_precision_is_named_only_where_it_was_asked_for_and_is_slow() -> None:
    asked = config_of(precision="fp16")
    [note] = noted(asked, facts(47_000), 38.2)
    assert note == "a matrix product takes 38 times as long in fp16 as in fp32 here: give --precision auto"
    assert "takes 3.9 times as long in bf16" in noted(config_of(precision="bf16"), facts(47_000), 3.94)[0]
    assert noted(asked, facts(47_000), 1.2) == []

    def unasked() -> float:
        raise AssertionError

    for precision in ("auto", "fp32"):
        assert notes(config_of(precision=precision), facts(47_000), unasked) == []


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_the_slowdown_is_measured_on_this_machine_and_draws_no_numbers(precision: Any) -> None:
    before = torch.random.get_rng_state()
    assert measure_slowdown(Runtime(torch.device("cpu"), precision, compile=False)) > 0
    assert measure_slowdown(Runtime(torch.device("cpu"), "fp32", compile=False)) == 1
    assert measure_slowdown(Runtime(torch.device("cuda"), "fp16", compile=False)) == 1
    assert torch.equal(torch.random.get_rng_state(), before)


def test_many_categories_are_compared_with_the_batch_and_with_the_images() -> None:
    config = config_of("unsupervised", name="clusters-10", n_classes=200)
    [note] = noted(config, facts(47_000))
    assert note == "a batch of 250 images cannot show how evenly 200 categories are used: give --batch-size 800"
    assert noted(config_of("unsupervised", name="clusters-10", n_classes=200, batch_size=800), facts(47_000)) == []
    config = config_of("unsupervised", name="clusters-10", n_classes=150, batch_size=32, n_epochs=400)
    batch, images = noted(config, facts(223))
    assert batch.endswith("150 categories are used: ask for --n-classes 22 or fewer")
    assert images.startswith("150 categories have about 1 image each, so most of 10 neighbours are of other ones:")
    assert "set n_neighbors: 1 " in images


def test_what_would_start_after_the_last_epoch_is_named() -> None:
    config = config_of("unsupervised", name="clusters-10", n_epochs=5)
    [note] = noted(config, facts(47_000))
    assert note.startswith("pseudo-labels need 5 epochs to start, and the run has 5: set looks_to_trust: 1 ")
    assert noted(config_of("unsupervised", name="clusters-10", n_epochs=6), facts(47_000)) == []
    schedule = config.training.schedule.model_copy(update={"warmup_epochs": 28.0})
    late = changed(config_of("unsupervised", name="clusters-10"), "training", schedule=schedule)
    [note] = noted(late, facts(47_000))
    assert note.startswith("learning rates rise for 28 epochs, and the run has 28: set warmup_epochs: 2 ")


def test_classes_with_few_labels_are_named_with_their_number() -> None:
    few = named(labels={"cat": 30, "dog": 1, "emu": 2, "fox": 3})
    assert noted(config_of(), few) == [
        "too few labelled images to learn a class by: dog (1), emu (2); label more of them, or leave these classes out"
    ]
    [note] = noted(config_of(), facts(47_000, labels=2))
    assert note.startswith("no class has more than 2 labelled images, and accuracy depends on which these are")
    assert noted(config_of("unsupervised", name="clusters-10"), few) == []


def test_a_validation_set_that_cannot_tell_is_named_with_its_interval() -> None:
    [note] = noted(config_of(), facts(47_000, validation=10))
    assert note == (
        "50 validation images: one is 2.0 points of accuracy, and 80% is known to ± 11 points only; hold out more"
        " (--validation 100 or more)"
    )
    gap = named(validation={"cat": 200, "dog": 0})
    [note] = noted(config_of(), gap)
    assert note == "no validation image shows dog: nothing scores it; hold out more (--validation)"
    [note] = noted(config_of("unsupervised", name="clusters-10"), gap)
    assert "no category can be named so" in note
    assert noted(config_of(), facts(47_000, validation=0)) == []


def test_few_unlabelled_images_are_named_and_none_are_not() -> None:
    long = config_of(batch_size=32, n_epochs=400)
    [note] = noted(long, facts(40, labels=80))
    assert note == "40 unlabelled images beside 400 labelled ones can add little; more may help (_unlabeled/)"
    assert noted(long, facts(0, labels=80)) == []


def test_there_are_a_few_notes_at_most_and_the_most_serious_comes_first() -> None:
    of = named(30, labels={"cat": 1, "dog": 49}, n_labeled=50, validation={"cat": 3, "dog": 0})
    found = noted(config_of(batch_size=5000, precision="fp16", n_classes=60), of, 20.0)
    assert len(found) == 4
    assert "steps in all" in found[0]
    assert "in fp16" in found[1]
    assert not any("\n" in note for note in found)


class Lines(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_facts_are_counted_from_a_data_directory_and_notes_come_before_the_first_epoch(
    tmp_path: Path, data_dir: Path
) -> None:
    data = DataDirectory(data_dir)
    of = DataFacts.of(data)
    assert (of.n_labeled, of.n_unlabeled, of.n_images, of.n_validation) == (30, 90, 90, 60)
    assert of.labels == {f"row_{c}": 10 for c in range(3)}
    progress = Lines()
    train(tiny_config("semi_supervised"), data, tmp_path / "m", device="cpu", progress=progress)
    kinds = [line.split(":")[0].split()[0] for line in progress.lines]
    assert kinds[:2] == ["note", "note"]
    assert "epoch" in kinds[2:]
    again = Lines()
    train(tiny_config("semi_supervised"), data, tmp_path / "m", device="cpu", progress=again, resume=True)
    assert not any(line.startswith("note") for line in again.lines)


def test_images_without_any_label_are_counted(tmp_path: Path) -> None:
    source = tiny_source(40)
    unlabeled = type(source)(**{**source.__dict__, "labels": np.full(40, -1), "class_names": ()})
    write_data_directory(tmp_path, unlabeled, 0, 10, 0, seed=0)
    of = DataFacts.of(DataDirectory(tmp_path))
    assert of.labels == of.validation == {}
    long = config_of("unsupervised", name="clusters-10", n_epochs=400, batch_size=20)
    assert noted(changed(long, "consistency", n_neighbors=2), of) == []


def test_steps_are_counted_as_batches_are_cut() -> None:
    from aae_toolkit.data.split import Split
    from aae_toolkit.training.batches import Batches

    for n in (2, 3, 20, 223):
        for batch in (2, 3, 32, 500):
            config = config_of(batch_size=batch)
            assert isinstance(config, SemiSupervisedConfig)
            images = Split(np.zeros((n, 1, 2, 2), np.uint8), np.full(n, -1))
            cut = Batches(images, None, batch, 0, torch.device("cpu"))
            assert preflight.steps_an_epoch(config, facts(n, n_labeled=0)) == cut.steps_per_epoch
