from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from test_phases import CONSISTENCY, EAGER, a_batch, memory_for, networks, phases_of, snapshot
from torch import Tensor
from torch.nn import functional as F

from aae_toolkit.config import SemiSupervisedConfig, UnsupervisedConfig, Variant
from aae_toolkit.models.networks import Networks
from aae_toolkit.training import losses
from aae_toolkit.training.batches import Batch
from aae_toolkit.training.consistency import ConsistencyPhase
from aae_toolkit.training.phases import build_phases
from aae_toolkit.training.runtime import Runtime
from aae_toolkit.training.step import PhaseRunner
from aae_toolkit.training.terms.memory import Memory

CPU = torch.device("cpu")
PAIRS = {"lambda_pairs": 1.0, "lambda_balance": 2.0}
FINE = PAIRS | {"lambda_over_clustering": 0.5}
HARM = {"lambda_virtual_adversarial": 1.0}
LABELS = {"lambda_pseudo_labels": 1.0, "confidence": 0.0}
UNLABELED = a_batch()._replace(labeled_images=None, labels=None)


def a_phase(
    nets: Networks, variant: Variant = "unsupervised", *, training: dict[str, Any] | None = None, **terms: Any
) -> ConsistencyPhase:
    """The phase with these terms, whose views are the images as they are unless asked otherwise."""
    section = SemiSupervisedConfig if variant == "semi_supervised" else UnsupervisedConfig
    config = section.model_validate(
        {
            "training": {"ema_decay": 0.9, "input_noise": 0.0} | (training or {}),
            "consistency": {"augmentation": 0.0} | terms,
        }
    )
    teacher = networks(seed=1).encoder.eval().requires_grad_(False)
    phase = build_phases(nets, config, teacher=teacher, memory=memory_for(config))[-1]
    assert isinstance(phase, ConsistencyPhase)
    return phase


def plain(terms: dict[str, Any]) -> Networks:
    """Networks as a run with these terms builds them."""
    return networks(n_over_clusters=5 if "lambda_over_clustering" in terms else None)


def y_logits_of(nets: Networks, *images: Tensor) -> tuple[Tensor, ...]:
    """What the encoder says of images that it sees in one batch."""
    return nets.encoder(torch.cat(images))[0].split([len(part) for part in images])


def test_the_first_views_count_alike_and_later_ones_fade_exponentially() -> None:
    memory = Memory(6, 3, decay=0.8)
    views = torch.rand(12, 2, 3, generator=torch.Generator().manual_seed(0))
    expected = torch.zeros(2, 3)
    for n, view in enumerate(views, start=1):
        memory.add(torch.tensor([4, 1]), view)
        expected = views[:n].mean(dim=0) if n <= 5 else 0.8 * expected + 0.2 * view
        torch.testing.assert_close(memory.y[[4, 1]], expected)
    assert memory.n_looks.tolist() == [0, 12, 0, 0, 12, 0]
    assert not memory.y[[0, 2, 3, 5]].any()


def test_without_memory_the_last_view_counts_alone() -> None:
    memory = Memory(3, 2, decay=0.0)
    for view in torch.rand(3, 3, 2):
        memory.add(torch.arange(3), view)
        assert torch.equal(memory.y, view)


@pytest.mark.parametrize(("decay", "n_views", "expected"), [(0.8, 1, 4), (0.8, 7, 7), (0.0, 2, 2), (0.97, 1, 32)])
def test_a_memory_that_starts_with_known_categories_gives_them_up_view_by_view(
    decay: float, n_views: int, expected: int
) -> None:
    memory = Memory(4, 3, decay)
    memory.start(torch.tensor([[0, 0, 1.0], [0, 0, 0], [1, 0, 0], [0, 1, 0]]), n_views)
    assert memory.y.tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert memory.n_looks.tolist() == [expected, 0, expected, expected]
    memory.add(torch.arange(4), torch.tensor([[1.0, 0.0, 0.0]]).expand(4, 3))
    torch.testing.assert_close(memory.y[0], torch.tensor([1 - decay, 0.0, decay]), atol=0.001, rtol=0)
    assert memory.y[1].tolist() == [1, 0, 0]  # its first view


def test_images_without_a_new_view_keep_their_memory() -> None:
    memory = Memory(4, 2, decay=0.8)
    memory.add(torch.arange(4), torch.rand(4, 2))
    before = memory.y.clone()
    memory.add(torch.tensor([2]), torch.rand(1, 2))
    assert torch.equal(memory.y[[0, 1, 3]], before[[0, 1, 3]])
    assert not torch.equal(memory.y[2], before[2])
    assert memory.n_looks.tolist() == [1, 1, 2, 1]


@pytest.mark.parametrize(
    ("terms", "names"),
    [
        (PAIRS, {"pairs", "balance"}),
        (FINE, {"pairs", "balance", "over_clustering"}),
        (HARM, {"virtual_adversarial"}),
        (LABELS, {"pseudo_labels"}),
        (PAIRS | LABELS, {"pairs", "balance", "pseudo_labels"}),
        (CONSISTENCY, {"pairs", "balance", "over_clustering", "virtual_adversarial", "pseudo_labels"}),
    ],
)
def test_a_configuration_has_the_terms_that_it_names(terms: dict[str, Any], names: set[str], variant: Variant) -> None:
    with_pairs = "lambda_pairs" in terms
    batch = a_batch() if with_pairs else a_batch()._replace(partners=None, partner_indices=None)
    if variant == "unsupervised":
        batch = batch._replace(labeled_images=None, labels=None)
    else:
        names = names | {"classification"}
    found = a_phase(plain(terms), variant, **terms)(batch)
    assert found.keys() == names
    assert all(term.shape == () and term.isfinite() for term in found.values())


@pytest.mark.parametrize("terms", [PAIRS, HARM, LABELS], ids=["pairs", "harm", "labels"])
def test_with_any_term_the_phase_takes_over_the_labels(terms: dict[str, Any]) -> None:
    def names(consistency: dict[str, Any]) -> list[str]:
        training = {"ema_decay": 0.9}
        config = SemiSupervisedConfig.model_validate({"training": training, "consistency": consistency})
        nets = plain(terms)
        return [phase.name for phase in phases_of(nets, config)]

    assert names({}) == ["reconstruction", "discriminator", "generator", "classification"]
    assert names(terms) == ["reconstruction", "discriminator", "generator", "consistency"]


@pytest.mark.parametrize("weight", [term for term in CONSISTENCY if term.startswith("lambda")])
def test_a_weight_multiplies_its_own_term_alone(weight: str) -> None:
    found = {}
    for factor in (1, 3):
        terms = CONSISTENCY | {weight: factor * CONSISTENCY[weight]}
        phase = a_phase(networks(), **terms)
        torch.manual_seed(2)
        found[factor] = phase(UNLABELED)
    name = weight.removeprefix("lambda_")
    torch.testing.assert_close(found[3][name], 3 * found[1][name])
    assert found[1][name] > 0
    assert all(torch.equal(term, found[3][other]) for other, term in found[1].items() if other != name)


def test_pairs_labels_and_balance_are_of_one_batch() -> None:
    nets, batch = networks(n_over_clusters=None), a_batch()
    found = a_phase(nets, "semi_supervised", **PAIRS)(batch)
    assert batch.partners is not None
    assert batch.labeled_images is not None
    image, partner, labeled = y_logits_of(nets, batch.images, batch.partners, batch.labeled_images)
    torch.testing.assert_close(found["classification"], F.cross_entropy(labeled, batch.labels))
    torch.testing.assert_close(found["pairs"], losses.pairs(image, partner))
    torch.testing.assert_close(found["balance"], 2 * losses.balance(torch.cat([image, partner]).softmax(1)))


def test_every_view_goes_through_the_encoder_at_once() -> None:
    nets, sizes = networks(), []
    nets.encoder.features.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    few = a_batch(6)
    batch = a_batch()._replace(labeled_images=few.images, labels=few.labels)
    a_phase(nets, "semi_supervised", **CONSISTENCY)(batch)
    assert sizes == [10 + 10 + 6 + 10]  # images, partners, labelled ones, images changed to harm


@pytest.mark.parametrize("terms", [{"augmentation": 1.0}, {"elastic": 0.1}, {}], ids=["augmented", "bent", "noisy"])
def test_no_two_views_of_an_image_are_alike(terms: dict[str, float]) -> None:
    seen: list[Tensor] = []
    nets, batch = networks(n_over_clusters=None), UNLABELED
    nets.encoder.features.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    training = {} if terms else {"input_noise": 0.3}
    a_phase(nets, training=training, **PAIRS | terms)(batch._replace(partners=batch.images))
    first, second = seen[0].chunk(2)
    assert ((first != second).flatten(1).any(dim=1)).all()
    assert ((first != batch.images).flatten(1).any(dim=1)).all()


def test_the_teacher_gets_no_gradient_and_does_not_change() -> None:
    nets = networks()
    phase = a_phase(nets, "semi_supervised", **CONSISTENCY)
    assert phase.teacher is not None
    before, own = copy.deepcopy(phase.teacher.state_dict()), snapshot(nets)
    runner = PhaseRunner(phase, EAGER)
    for _ in range(3):
        runner.run(a_batch())
    assert not phase.teacher.training
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in phase.teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in phase.teacher.state_dict().items())
    assert not torch.equal(nets.encoder.y_head.weight, own["encoder.y_head.weight"])
    assert not any(weight is other for weight in phase.trained for other in phase.teacher.parameters())


def changes_and_harm(radius: float, seed: int, images: Tensor = UNLABELED.images) -> tuple[Tensor, Tensor, Tensor]:
    """Changes [B, C, H, W] that the phase makes, the teacher's divergence after them, and after random ones as long."""
    nets, seen = networks(n_over_clusters=None), []
    phase = a_phase(nets, virtual_adversarial_radius=radius, **HARM)
    nets.encoder.features.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    torch.manual_seed(seed)
    phase(Batch(images))
    assert phase.teacher is not None
    changes = seen[0].chunk(2)[1] - images
    random = torch.randn_like(images)
    random *= radius / random.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    y = phase.teacher(images)[0].softmax(dim=1)
    harm, usual = (losses.consistency(y, phase.teacher(images + by)[0]) for by in (changes, random))
    least = losses.consistency(y, y.log())
    return changes, harm - least, usual - least


@pytest.mark.parametrize("radius", [0.1, 1.5])
def test_each_image_is_changed_by_the_length_asked_for(radius: float) -> None:
    changes, _, _ = changes_and_harm(radius, seed=0)
    torch.testing.assert_close(changes.flatten(1).norm(dim=1), torch.full((10,), radius))


def test_the_change_harms_more_than_a_random_one() -> None:
    for seed in range(5):
        _, harm, usual = changes_and_harm(0.3, seed)
        assert harm > 1.5 * usual > 0


def test_the_virtual_adversarial_term_is_the_teachers_y_against_the_encoders() -> None:
    nets, seen = networks(n_over_clusters=None), []
    phase = a_phase(nets, **HARM)
    nets.encoder.features.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    found = phase(UNLABELED._replace(partners=None))["virtual_adversarial"]
    assert phase.teacher is not None
    y = phase.teacher(UNLABELED.images)[0].softmax(dim=1)
    torch.testing.assert_close(found, losses.consistency(y, nets.encoder(seen[0])[0][10:]))


@pytest.mark.parametrize("n_sure", [10, 4, 0])
def test_pseudo_labels_are_the_memorys_and_of_sure_images_alone(n_sure: int) -> None:
    nets, batch = networks(n_over_clusters=None), Batch(UNLABELED.images, indices=torch.arange(10) + 5)
    sureness = networks(seed=1).encoder.eval()(batch.images)[0].softmax(dim=1).max(dim=1).values.sort(descending=True)
    confidence = (torch.cat([torch.ones(1), sureness.values, torch.zeros(1)]).unfold(0, 2, 1).mean(dim=1))[
        n_sure
    ].item()
    phase = a_phase(nets, **LABELS | {"confidence": confidence, "memory": 0.0})
    assert phase.teacher is not None
    assert phase.memory is not None
    found = phase(batch)["pseudo_labels"]
    y = phase.teacher(batch.images)[0].softmax(dim=1)
    torch.testing.assert_close(phase.memory.y[5:15], y)
    assert phase.memory.n_looks.tolist() == [0] * 5 + [1] * 10 + [0] * 5
    sure = y.max(dim=1).values > confidence
    assert sure.sum() == n_sure
    per_image = F.cross_entropy(nets.encoder(batch.images)[0], y.argmax(dim=1), reduction="none")
    torch.testing.assert_close(found, per_image[sure].sum() / 10)


def test_pseudo_labels_with_a_head_of_their_own_reach_y_through_the_features_alone() -> None:
    weights = {}
    for weight in (0.5, 5.0):
        nets = networks(n_over_clusters=None, pseudo_label_head=True)
        before = snapshot(nets)
        terms = {"lambda_pseudo_labels": weight, "confidence": 0.0, "pseudo_label_head": True}
        phase = a_phase(nets, "semi_supervised", training={"use_adam_optimization": False}, **terms)
        assert phase.trains == ("encoder", "pseudo_labels")
        PhaseRunner(phase, EAGER).run(a_batch()._replace(indices=torch.arange(10)))
        assert not torch.equal(nets.pseudo_labels.weight, before["pseudo_labels.weight"])
        assert not torch.equal(nets.encoder.y_head.weight, before["encoder.y_head.weight"])
        weights[weight] = nets.state_dict()
    assert not torch.equal(weights[0.5]["encoder.features.1.weight"], weights[5.0]["encoder.features.1.weight"])
    assert torch.equal(weights[0.5]["encoder.y_head.weight"], weights[5.0]["encoder.y_head.weight"])


def test_the_memory_labels_by_all_views_and_not_by_the_last() -> None:
    nets, batch = networks(n_over_clusters=None), Batch(UNLABELED.images, indices=torch.arange(10))
    phase = a_phase(nets, **LABELS)
    assert phase.memory is not None
    phase.memory.y[:10] = torch.eye(3)[1]
    phase.memory.n_looks[:10] = 100
    found = phase(batch)["pseudo_labels"]
    assert phase.memory.y[:10].argmax(dim=1).tolist() == [1] * 10
    torch.testing.assert_close(found, F.cross_entropy(nets.encoder(batch.images)[0], torch.ones(10).long()))


def test_an_image_is_labelled_once_the_memory_holds_enough_views() -> None:
    phase = a_phase(networks(n_over_clusters=None), looks_to_trust=3, **LABELS)
    batch = Batch(UNLABELED.images, indices=torch.arange(10))
    early = batch._replace(images=batch.images[:5], indices=batch.indices[:5])
    assert [phase(early)["pseudo_labels"].item() for _ in range(2)] == [0, 0]
    mixed = phase(batch)["pseudo_labels"]  # five are seen for the third time, five for the first
    assert mixed > 0
    phase(batch)
    assert phase(batch)["pseudo_labels"] > mixed


def test_pairs_count_by_how_likely_they_share_a_category_where_both_are_trusted() -> None:
    nets, batch = networks(), UNLABELED
    phase = a_phase(nets, looks_to_trust=2, **FINE | LABELS | {"memory": 0.5})
    assert phase.memory is not None
    generator = torch.Generator().manual_seed(3)
    phase.memory.y[:] = torch.rand(20, 3, generator=generator).softmax(dim=1)
    phase.memory.n_looks[:] = torch.tensor([0.0] * 3 + [5.0] * 9 + [1.0] * 8)  # this batch adds one to the first ten
    found = phase(batch)
    assert batch.partners is not None
    y, n_views = phase.memory.y, phase.memory.n_looks
    weights = [
        float(y[i] @ y[j]) if n_views[i] >= 2 and n_views[j] >= 2 else 1.0
        for i, j in zip(batch.indices.tolist(), batch.partner_indices.tolist(), strict=True)
    ]
    assert 0 < weights.count(1.0) < 10
    features = nets.encoder.features(torch.cat([batch.images, batch.partners]))
    expected = losses.pairs(*nets.encoder.y_head(features).chunk(2), torch.tensor(weights))
    torch.testing.assert_close(found["pairs"], expected)
    fine = nets.over_clustering(features)
    even = losses.balance(fine.softmax(dim=1))
    expected = 0.5 * (losses.pairs(*fine.chunk(2), torch.tensor(weights)) + even)
    torch.testing.assert_close(found["over_clustering"], expected)


@pytest.mark.parametrize(("terms", "share"), [(PAIRS, 0.0), (PAIRS | LABELS, 0.4)], ids=["pairs", "labels"])
def test_the_more_images_are_trusted_the_less_even_categories_need_to_be(terms: dict[str, Any], share: float) -> None:
    nets, batch = networks(n_over_clusters=None), UNLABELED
    tolerances = {"balance_tolerance": 0.01, "trusted_balance_tolerance": 0.05}
    phase = a_phase(nets, looks_to_trust=2, **tolerances, **terms)
    if phase.memory is not None:
        phase.memory.n_looks[:4] = 1  # this batch adds one
    found = phase(batch)["balance"]
    assert batch.partners is not None
    y = torch.cat(y_logits_of(nets, batch.images, batch.partners)).softmax(dim=1)
    assert losses.balance(y) > 0.05
    torch.testing.assert_close(found, 2 * losses.balance(y, 0.01 + 0.04 * share))


def test_the_second_head_is_trained_and_reaches_the_encoder() -> None:
    weights = {}
    for weight in (0.5, 5.0):
        nets = networks()
        before = snapshot(nets)
        config = {"use_adam_optimization": False}
        phase = a_phase(nets, training=config, **FINE | {"lambda_over_clustering": weight})
        assert phase.trains == ("encoder", "over_clustering")
        PhaseRunner(phase, EAGER).run(UNLABELED)
        assert not torch.equal(nets.over_clustering.weight, before["over_clustering.weight"])
        weights[weight] = nets.state_dict()
    assert not torch.equal(weights[0.5]["encoder.features.1.weight"], weights[5.0]["encoder.features.1.weight"])
    assert torch.equal(weights[0.5]["encoder.y_head.weight"], weights[5.0]["encoder.y_head.weight"])


def test_the_memory_is_kept_with_the_optimizer_and_given_back() -> None:
    runner = PhaseRunner(a_phase(networks(), **CONSISTENCY), EAGER)
    runner.run(UNLABELED)
    kept = copy.deepcopy(runner.state_dict())
    other = PhaseRunner(a_phase(networks(), **CONSISTENCY), EAGER)
    assert not other.phase.memory.y.any()
    other.load_state_dict(kept)
    assert torch.equal(other.phase.memory.y, runner.phase.memory.y)
    assert other.phase.memory.n_looks.sum() == 10


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_in_low_precision_every_term_is_that_of_float32_to_its_precision(precision: str) -> None:
    found = {}
    for name in ("fp32", precision):
        torch.manual_seed(0)
        runner = PhaseRunner(a_phase(networks(), "semi_supervised", **CONSISTENCY), Runtime(CPU, name, compile=False))
        found[name] = {term: value.item() for term, value in runner.run(a_batch()).items()}
        assert runner.phase.memory.y.dtype == torch.float32
    assert found[precision] == pytest.approx(found["fp32"], rel=0.1, abs=0.02)


@pytest.mark.slow
def test_a_compiled_step_has_the_terms_of_an_eager_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "randn_like", lambda t: torch.ones_like(t))  # compiled code draws other numbers
    found = []
    for compiled in (False, True):
        phase = a_phase(networks(), "semi_supervised", **CONSISTENCY)
        found.append(PhaseRunner(phase, Runtime(CPU, "fp32", compile=compiled)).run(a_batch()))
    assert found[0].keys() == found[1].keys()
    for name, term in found[0].items():
        assert found[1][name].item() == pytest.approx(term.item(), rel=1e-3, abs=1e-5), name
