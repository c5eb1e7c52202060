"""Set-up of a run: configuration, data and directory are checked before anything is written."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from aae_toolkit.backbones.description import thumbnail_shape
from aae_toolkit.config import SemiSupervisedConfig, VariantConfig, with_flags
from aae_toolkit.data.arrays import TrainingData
from aae_toolkit.data.split import join_unlabeled
from aae_toolkit.distributed.batch_norm import synchronize_batch_norm
from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.files.checksums import verify_sha256
from aae_toolkit.models.description import FILE_NAME as DESCRIPTION_FILE
from aae_toolkit.models.description import Architecture
from aae_toolkit.models.networks import Networks
from aae_toolkit.training.batches import Batches
from aae_toolkit.training.frequencies import frequencies_of
from aae_toolkit.training.neighborhoods import find_neighborhoods
from aae_toolkit.training.phases import build_phases
from aae_toolkit.training.run import CHECKPOINT_FILE, Run, TrainingState
from aae_toolkit.training.standardizing import Moments, moments_of, set_moments
from aae_toolkit.training.step import PhaseRunner
from aae_toolkit.training.terms.memory import Memory
from aae_toolkit.training.weights import working_networks


def fit_config_to_data(config: VariantConfig, data: TrainingData) -> VariantConfig:
    """Resolve `n_classes`; raise `UsageError` where the data does not fit the configuration."""
    n_classes = len(data.class_names)
    semi_supervised = isinstance(config, SemiSupervisedConfig)
    if semi_supervised and data.size("train_labeled") == 0:
        raise UsageError(f"{data.path} has no labelled training images; train unsupervised, or label some")
    k = config.model.n_classes or n_classes
    if k < 2:
        raise UsageError(f"{data.path} names {n_classes} classes; say how many categories to find with --n-classes")
    if semi_supervised and k < n_classes:
        raise UsageError(
            f"--n-classes {k} is below the {n_classes} labelled classes of {data.path}; ask for at least {n_classes}"
        )
    if isinstance(config, SemiSupervisedConfig) and config.training.class_prior == "labels" and k > n_classes:
        raise UsageError(
            f"training.class_prior: labels has shares of {n_classes} classes and none of {k - n_classes} further"
            f" categories; ask for --n-classes {n_classes}, or set it to uniform"
        )
    if data.backbone is not None:
        _require_embeddings_fit(config)
    map_is_fitted = not semi_supervised or k > n_classes
    if n_classes and map_is_fitted and data.size("validation") == 0:
        raise UsageError(
            f"{data.path} has no validation images to name the categories by; write it with --validation above 0"
        )
    return with_flags(config, n_classes=k)


def _require_embeddings_fit(config: VariantConfig) -> None:
    """Raise `UsageError` where a configuration needs images, of which only embeddings are trained on."""
    advice = "train on embeddings with: --config embeddings"
    if config.model.encoder != "mlp":
        raise UsageError(f"model.encoder {config.model.encoder} takes images, and the data has a backbone; {advice}")
    if getattr(config.training, "use_mutual_info", False):
        raise UsageError(f"training.use_mutual_info encodes decoded pictures, which a backbone cannot; {advice}")


def refuse_occupied(output_dir: Path, *, resume: bool, overwrite: bool) -> None:
    """Raise `UsageError` if the directory holds a training, unless that is to be either continued or replaced."""
    if resume and overwrite:
        raise UsageError("--resume continues a training and --overwrite replaces it; give one of them")
    occupied = [name for name in (DESCRIPTION_FILE, CHECKPOINT_FILE) if (output_dir / name).exists()]
    resume = resume and CHECKPOINT_FILE in occupied
    if occupied and not (resume or overwrite):
        raise UsageError(
            f"{output_dir} already holds a training ({', '.join(occupied)}); continue it with --resume, replace it with"
            " --overwrite, or name another --output"
        )


def build_batches(run: Run) -> tuple[Batches, NDArray[np.float32] | None]:
    """Open the training splits, and move them to the device unless they are too large for it.

    Returns:
        The batches, and the first y of the memory, float32 [N, K]; None without `spread_labels`.

    Raises:
        UsageError: several processes cannot share a batch evenly.
        AaeError: images are unreadable or too few.
    """
    training, world = run.config.training, run.runtime.world
    if run.data.backbone is not None and run.data.backbone_file is not None:
        verify_sha256(run.data.backbone_file, run.data.backbone.sha256)  # before training, not at its end
    labeled_batch_size = getattr(training, "labeled_batch_size", None)
    for name, size in (("--batch-size", training.batch_size), ("labeled_batch_size", labeled_batch_size or world.size)):
        if size % world.size:
            raise UsageError(
                f"{name} {size} is of all {world.size} processes together; give a multiple of {world.size}"
            )
    streams = run.data.inputs_bytes > training.resident_mib * 2**20
    labeled, unlabeled = (run.data.load_inputs(name, mapped=streams) for name in ("train_labeled", "train_unlabeled"))
    passed = unlabeled
    if len(unlabeled) < len(labeled):  # mostly labelled images: an epoch takes all of them, without labels
        # Mapped images are read into memory here; few sets are that large and mostly labelled.
        passed = join_unlabeled(unlabeled, labeled)
    if len(passed) < 2 * world.size:
        raise AaeError(f"{len(passed)} training images; at least {2 * world.size} are needed")
    cycled = labeled if isinstance(run.config, SemiSupervisedConfig) else None
    neighbors, first_y = find_neighborhoods(passed, labeled, run)
    batches = Batches(
        passed,
        cycled,
        training.batch_size,
        training.seed,
        run.runtime.device,
        labeled_batch_size=labeled_batch_size,
        neighbors=neighbors,
        streams=streams,
        loader_options=run.runtime.loader_options,
        world=world,
    )
    return batches, first_y


def initial_state(
    run: Run,
    n_images: int,
    first_y: NDArray[np.float32] | None = None,
    moments: Moments | None = None,
) -> TrainingState:
    """Seed the random streams, and build networks and phases.

    Args:
        run: the training.
        n_images: number of unlabelled images of an epoch, N.
        first_y: first y of the memory, float32 [N, K]; zeros where nothing is known.
        moments: moments of embeddings, by which the encoder standardizes them; None for images.
    """
    config, runtime = run.config, run.runtime
    torch.manual_seed(config.training.seed)
    model, architecture = config.model, _architecture(config, run.data)
    with_modes = config.training.use_autoencoder and getattr(config.training, "use_mode_decoder", False)
    terms = config.consistency
    n_over_clusters = terms.n_over_clusters if terms.lambda_over_clustering else None
    networks = Networks(
        architecture,
        mode_decoder=with_modes,
        conditional_style_prior=config.training.use_conditional_style_prior,
        n_over_clusters=n_over_clusters,
        pseudo_label_head=terms.pseudo_label_head,
    ).to(runtime.device)
    if moments is None and (model.standardize or model.reconstruction == "gaussian"):
        moments = moments_of(
            run.data.load_inputs(name, mapped=True).images for name in ("train_labeled", "train_unlabeled")
        )
    if moments is not None:
        set_moments(networks, moments)
    if runtime.world.size > 1:
        synchronize_batch_norm(networks)
    working, average, teacher = working_networks(networks, runtime.dtype), networks, None
    if config.training.ema_decay:
        average = copy.deepcopy(networks).eval().requires_grad_(False)
        teacher = average.encoder
    memory = None
    if terms.lambda_pseudo_labels:
        memory = Memory(n_images, architecture.n_classes, terms.memory)
        if first_y is not None:
            memory.start(torch.from_numpy(first_y), terms.looks_to_trust)
        memory.to(runtime.device)
    frequencies = frequencies_of(run.data, config, runtime.device)
    phases = build_phases(working, config, teacher=teacher, memory=memory, frequencies=frequencies)
    return TrainingState(networks, working, average, [PhaseRunner(phase, runtime) for phase in phases])


def _architecture(config: VariantConfig, data: TrainingData) -> Architecture:
    """Describe the networks that a configuration asks for and the data determines."""
    model = config.model
    assert model.n_classes is not None
    return Architecture(
        encoder=model.encoder,
        hidden_size=model.hidden_size,
        conv_channels=model.conv_channels,
        early_pool=model.early_pool,
        encoder_dropout=model.encoder_dropout,
        image_shape=data.image_shape,
        backbone=data.backbone,
        thumbnail_shape=thumbnail_shape(data.image_shape) if data.backbone else None,
        n_classes=model.n_classes,
        z_size=model.z_size,
        standardize=model.standardize,
        reconstruction=model.reconstruction,
    )
