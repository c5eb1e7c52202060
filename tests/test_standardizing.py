from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from aae_toolkit.config import Reconstruction
from aae_toolkit.models.description import Architecture
from aae_toolkit.models.networks import Encoder, Networks, Standardize
from aae_toolkit.training import standardizing
from aae_toolkit.training.augmentation import add_noise
from aae_toolkit.training.standardizing import moments_of, set_moments

SHAPE = (1, 2, 3)


def some_images(n: int = 50) -> NDArray[np.float32]:
    """Images in [0, 1] of which one value never varies."""
    images = np.random.default_rng(0).random((n, *SHAPE), dtype=np.float32) ** 3
    images[:, 0, 1, 2] = 0.7
    return images


def some_networks(*, standardize: bool, reconstruction: Reconstruction) -> Networks:
    architecture = Architecture(
        encoder="mlp",
        hidden_size=8,
        conv_channels=(4,),
        encoder_dropout=0.0,
        image_shape=SHAPE,
        n_classes=3,
        z_size=2,
        standardize=standardize,
        reconstruction=reconstruction,
    )
    return Networks(architecture, mode_decoder=True).eval()


def test_standardized_values_have_mean_0_and_deviation_1_and_constant_ones_are_0() -> None:
    images = some_images()
    rows = moments_of([images[:20], images[20:]]).standardize(images)
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(rows.std(axis=0), [1, 1, 1, 1, 1, 0], atol=1e-5)


def test_moments_are_of_pixels_as_the_networks_see_them_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (23, *SHAPE), dtype=np.uint8)
    monkeypatch.setattr(standardizing, "_PIECE", 7)
    moments = moments_of([images[:0], images])
    np.testing.assert_allclose(moments.mean, (images / 255).mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(moments.scale, (images / 255).std(axis=0), rtol=1e-6)


def test_the_encoder_standardizes_and_its_noise_has_the_unit_of_each_value() -> None:
    images = torch.from_numpy(some_images())
    networks = some_networks(standardize=True, reconstruction="bernoulli")
    set_moments(networks, moments_of([images.numpy()]))
    seen = networks.encoder.features[0](images)
    torch.testing.assert_close(seen.std(dim=0, correction=0).flatten()[:5], torch.ones(5))
    torch.manual_seed(0)
    noisy = networks.encoder.features[0](add_noise(torch.full((4000, *SHAPE), 0.5), 0.3, networks.encoder.noise_unit))
    torch.testing.assert_close(noisy.std(dim=0), torch.full(SHAPE, 0.3), atol=0.02, rtol=0)


@pytest.mark.parametrize("reconstruction", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("standardize", [False, True])
def test_input_and_reconstruction_are_independent(standardize: bool, reconstruction: Reconstruction) -> None:
    networks = some_networks(standardize=standardize, reconstruction=reconstruction)
    set_moments(networks, moments_of([some_images()]))
    layers = [name for name, module in networks.named_modules() if isinstance(module, Standardize)]
    decoders = ["decoder.standardize", "mode_decoder.standardize"] if reconstruction == "gaussian" else []
    assert layers == (["encoder.features.0"] if standardize else []) + decoders
    assert (networks.encoder.noise_unit == 1.0) is not standardize


def test_a_gaussian_decoder_gives_images_in_the_unit_range() -> None:
    networks, images = some_networks(standardize=False, reconstruction="gaussian"), some_images()
    moments = moments_of([images])
    set_moments(networks, moments)
    rows = torch.from_numpy(moments.standardize(images))
    torch.testing.assert_close(networks.decoder.images(rows), torch.from_numpy(images).flatten(1))
    assert networks.decoder.images(torch.full((1, 6), -99.0)).tolist() == [[0.0] * 6]


def test_networks_of_earlier_versions_have_neither() -> None:
    before = '{"encoder":"mlp","hidden_size":8,"conv_channels":[4],"encoder_dropout":0,"image_shape":[1,2,3]'
    architecture = Architecture.model_validate_json(before + ',"n_classes":3,"z_size":2}')
    assert (architecture.standardize, architecture.reconstruction) == (False, "bernoulli")
    assert next(iter(Encoder(architecture).state_dict())) == "features.1.weight"


def test_directions_are_standardized_rows_of_one_length() -> None:
    images = some_images()
    moments = moments_of([images])
    rows, directions = moments.standardize(images), moments.directions(images)
    lengths = np.linalg.norm(directions, axis=1)
    np.testing.assert_allclose(lengths, np.sqrt(rows.shape[1]), rtol=1e-5)
    np.testing.assert_allclose(directions * np.linalg.norm(rows, axis=1, keepdims=True), rows * lengths[:, None], 1e-4)
