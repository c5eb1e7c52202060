import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from aae_toolkit import losses


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


@given(st.integers(2, 8), st.integers(1, 5), st.integers(0, 2**16))
def test_mode_separation_equals_the_loop_over_all_pairs(n_modes: int, n_pixels: int, seed: int) -> None:
    logits = torch.randn(n_modes, n_pixels, generator=torch.Generator().manual_seed(seed))
    modes = logits.sigmoid()
    pairs = [F.mse_loss(modes[i], modes[j]) for i in range(n_modes) for j in range(i)]
    assert losses.mode_separation(logits).item() == pytest.approx(-torch.stack(pairs).mean().item(), abs=1e-5)


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
