import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from aae_toolkit.training import losses


def test_reconstruction_is_binary_cross_entropy_on_logits_per_pixel() -> None:
    images = torch.rand(5, 1, 2, 3)
    logits = torch.randn(5, 6)
    p = logits.sigmoid()
    expected = -(images.flatten(1) * p.log() + (1 - images.flatten(1)) * (1 - p).log()).mean()
    torch.testing.assert_close(losses.reconstruction(logits, images), expected)


def test_discriminator_at_equilibrium_loses_log_four_and_generator_log_two() -> None:
    zeros = torch.zeros(7, 1)
    assert losses.discrimination(zeros, zeros).item() == pytest.approx(math.log(4))
    assert losses.generation(zeros).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_adversarial_losses_and_gradients_stay_finite_where_log_of_a_sigmoid_would_not(logit: float) -> None:
    logits = torch.full((3, 1), logit, requires_grad=True)
    loss = losses.discrimination(logits, logits) + losses.generation(logits)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_losses_are_float32_even_from_half_precision_logits() -> None:
    logits = torch.randn(4, 3).bfloat16()
    found = [
        losses.classification(logits, torch.tensor([0, 1, 2, 0])),
        losses.generation(logits),
        losses.discrimination(logits, logits),
        losses.z_l2(logits),
        losses.mutual_information(logits.softmax(1), logits),
        losses.mode_separation(logits),
        losses.consistency(logits.softmax(1), logits),
        losses.pairs(logits, logits),
        losses.pseudo_label(logits.softmax(1), logits, 0.1),
        losses.balance(logits.softmax(1)),
        losses.reconstruction(logits, torch.rand(4, 1, 1, 3)),
    ]
    assert {loss.dtype for loss in found} == {torch.float32}


def test_z_penalty_equals_the_whole_batch_norm_at_batch_100() -> None:
    z = torch.randn(100, 3)
    assert losses.z_l2(z).item() == pytest.approx(z.norm().item(), rel=1e-6)


def test_z_penalty_has_a_finite_gradient_at_zero() -> None:
    z = torch.zeros(4, 2, requires_grad=True)
    losses.z_l2(z).backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()


def test_mutual_information_is_least_where_the_code_survives_the_cycle() -> None:
    y = torch.eye(3)
    kept, lost = losses.mutual_information(y, 20 * y), losses.mutual_information(y, 20 * y.roll(1, 0))
    assert kept.item() == pytest.approx(0, abs=1e-6)
    assert lost.item() > 10


def test_balance_has_a_finite_gradient_where_a_category_has_underflowed() -> None:
    logits = torch.tensor([[0.0, 0.0, -200.0]], requires_grad=True)
    losses.balance(logits.softmax(1)).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_balance_is_zero_for_even_use_and_log_k_for_a_single_category() -> None:
    assert losses.balance(torch.eye(4)).item() == pytest.approx(0, abs=1e-6)
    assert losses.balance(torch.eye(4)[[0, 0, 0]]).item() == pytest.approx(math.log(4))


def test_balance_is_less_by_its_tolerance_and_without_gradient_within_it() -> None:
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]], requires_grad=True)
    y = logits.softmax(1)
    uneven = losses.balance(y).item()
    assert losses.balance(y, uneven / 4).item() == pytest.approx(0.75 * uneven)
    assert losses.balance(y, torch.tensor(uneven / 4)).item() == pytest.approx(0.75 * uneven)
    within = losses.balance(y, 2 * uneven)
    within.backward()
    assert within.item() == 0
    assert not logits.grad.any()


@given(st.integers(2, 8), st.integers(1, 5), st.integers(0, 2**16))
def test_mode_separation_equals_the_loop_over_all_pairs(n_modes: int, n_pixels: int, seed: int) -> None:
    logits = torch.randn(n_modes, n_pixels, generator=torch.Generator().manual_seed(seed))
    modes = logits.sigmoid()
    pairs = [F.mse_loss(modes[i], modes[j]) for i in range(n_modes) for j in range(i)]
    assert losses.mode_separation(modes).item() == pytest.approx(-torch.stack(pairs).mean().item(), abs=1e-5)


def test_prior_weights_are_even_for_an_even_batch_and_larger_for_rarer_categories() -> None:
    torch.testing.assert_close(losses.prior_weights(torch.eye(5)), torch.ones(5))
    skewed = torch.nn.functional.one_hot(torch.tensor([0, 0, 0, 1]), 3).float()
    weights = losses.prior_weights(skewed)
    assert weights[2] > weights[1] > weights[0]


@given(st.integers(2, 64), st.integers(1, 200))
def test_an_empty_category_never_takes_over_the_prior(n_categories: int, batch: int) -> None:
    y = torch.zeros(batch, n_categories)
    y[:, 0] = 1  # all others are empty
    assert losses.prior_weights(y).max() <= 2


def test_sampled_categories_are_one_hot_with_the_given_shares() -> None:
    torch.manual_seed(0)
    rows = losses.sample_categories(torch.tensor([1.0, 0.0, 3.0]), 20000)
    assert rows.shape == (20000, 3)
    assert (rows.sum(1) == 1).all()
    np.testing.assert_allclose(rows.mean(0).numpy(), [0.25, 0, 0.75], atol=0.02)


def random_logits(n: int = 6, k: int = 4, seed: int = 0) -> torch.Tensor:
    return 2 * torch.randn(n, k, generator=torch.Generator().manual_seed(seed))


def test_pairs_is_entropy_and_divergence_of_both_looks() -> None:
    a, b = random_logits(seed=0), random_logits(seed=1)
    p, q = a.softmax(1), b.softmax(1)
    entropies = -(p * p.log()).sum(1) - (q * q.log()).sum(1)
    divergences = (p * (p / q).log()).sum(1) + (q * (q / p).log()).sum(1)
    torch.testing.assert_close(losses.pairs(a, b), ((entropies + divergences) / 2).mean())
    torch.testing.assert_close(losses.pairs(a, b), losses.pairs(b, a))


def test_pairs_is_least_for_decided_equal_looks() -> None:
    sure, unsure = 20 * torch.eye(3), torch.zeros(3, 3)
    assert losses.pairs(sure, sure).item() == pytest.approx(0, abs=1e-6)
    assert losses.pairs(unsure, unsure).item() == pytest.approx(math.log(3))
    assert losses.pairs(sure, sure.roll(1, 0)).item() > 10
    assert losses.pairs(sure, unsure).item() > math.log(3)


def test_the_gradient_of_pairs_reaches_both_looks_alike() -> None:
    a, b = (random_logits(seed=seed).requires_grad_() for seed in (0, 1))
    first = torch.autograd.grad(losses.pairs(a, b), (a, b))
    swapped = torch.autograd.grad(losses.pairs(b, a), (b, a))
    assert all(gradient.abs().min() > 0 for gradient in first)
    torch.testing.assert_close(first[0], swapped[1])
    torch.testing.assert_close(first[1], swapped[0])


def test_each_pair_counts_by_its_weight() -> None:
    a, b = random_logits(seed=0), random_logits(seed=1)
    torch.testing.assert_close(losses.pairs(a, b, torch.ones(6)), losses.pairs(a, b))
    weights = torch.tensor([0.0, 0.0, 0.5, 0.0, 0.0, 1.0])
    expected = (0.5 * losses.pairs(a[2:3], b[2:3]) + losses.pairs(a[5:], b[5:])) / 6
    torch.testing.assert_close(losses.pairs(a, b, weights), expected)


@pytest.mark.parametrize("logit", [1e4, 1e38])
def test_pairs_and_its_gradient_stay_finite(logit: float) -> None:
    a, b = (logit * torch.eye(3)).requires_grad_(), (logit * torch.eye(3).roll(1, 0)).requires_grad_()
    loss = losses.pairs(a, b)
    loss.backward()
    assert loss.isfinite()
    assert a.grad.isfinite().all()
    assert b.grad.isfinite().all()


def test_consistency_is_entropy_where_nothing_changed_and_more_where_something_did() -> None:
    logits = random_logits()
    y = logits.softmax(1)
    unchanged = losses.consistency(y, logits)
    torch.testing.assert_close(unchanged, -(y * y.log()).sum(1).mean())
    assert losses.consistency(y, random_logits(seed=1)) > unchanged


@pytest.mark.parametrize("confidence", [0.0, 0.6, 0.8])
def test_pseudo_labels_are_of_the_sure_images_among_all(confidence: float) -> None:
    y = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [0.05, 0.05, 0.9]])
    logits = random_logits(3, 3)
    per_image = -logits.log_softmax(1)[torch.arange(3), torch.tensor([0, 1, 2])]
    sure = torch.tensor([0.7, 0.5, 0.9]) > confidence
    torch.testing.assert_close(losses.pseudo_label(y, logits, confidence), per_image[sure].sum() / 3)


def test_where_nobody_is_sure_pseudo_labels_are_zero_and_without_gradient() -> None:
    logits = random_logits().requires_grad_()
    loss = losses.pseudo_label(random_logits(seed=1).softmax(1), logits, 0.9999)
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


@given(st.integers(2, 6), st.integers(0, 100))
def test_weighted_cross_entropies_are_sums_over_classes_divided_by_all_images(n_classes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits, labels = torch.randn(9, n_classes, generator=generator), torch.randint(n_classes, (9,), generator=generator)
    weights = torch.rand(n_classes, generator=generator)
    per_image = weights[labels] * F.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(losses.classification(logits, labels, weights), per_image.sum() / 9)
    y = F.one_hot(labels, n_classes).float()
    torch.testing.assert_close(losses.pseudo_label(y, logits, 0.5, weights), per_image.sum() / 9)
    ones = torch.ones(n_classes)
    torch.testing.assert_close(losses.classification(logits, labels, ones), losses.classification(logits, labels))
    torch.testing.assert_close(losses.pseudo_label(y, logits, 0.5, ones), losses.pseudo_label(y, logits, 0.5))


def test_balance_with_a_prior_is_the_divergence_from_it() -> None:
    prior = torch.tensor([0.7, 0.2, 0.1])
    y = torch.tensor([[0.5, 0.4, 0.1], [0.1, 0.6, 0.3]])
    mean = y.mean(dim=0)
    expected = (mean * (mean / prior).log()).sum()
    torch.testing.assert_close(losses.balance(y, prior=prior), expected)
    torch.testing.assert_close(losses.balance(y, 0.1, prior), expected - 0.1)
    assert losses.balance(prior.expand(4, 3), prior=prior).item() == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(losses.balance(y, prior=torch.full((3,), 1 / 3)), losses.balance(y))
