"""Base of the classifier and the clusterer: parameters, conversion of arrays, saving and exporting."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch.nn import functional as F

from aae_toolkit.config import Variant
from aae_toolkit.data.arrays import ArrayData
from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.data.split import Split, SplitName
from aae_toolkit.errors import UsageError
from aae_toolkit.estimators.configuration import resolve_config
from aae_toolkit.estimators.saving import reading_estimator, write_estimator
from aae_toolkit.evaluation import Integers, encode
from aae_toolkit.models import scaling
from aae_toolkit.models.description import ArrayFacts, FeatureScaling
from aae_toolkit.models.directory import TrainedModel
from aae_toolkit.models.labels import dtype_name
from aae_toolkit.progress import Silent
from aae_toolkit.training.in_memory import train_in_memory

DTYPES = (np.float64, np.float32, np.uint8)  # types of X that stay; others become the first


class AAEEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator, ABC):  # type: ignore[misc]  # scikit-learn has no types
    """An adversarial autoencoder over arrays.

    X is rows of features [n, F], or images [n, H, W] or [n, C, H, W]. The range of uint8 is 0-255. Other numbers are
    scaled to [0, 1] by their range in `fit`, of each feature or of all pixels of images, and clipped outside of it, but
    not rounded.
    """

    _variant: ClassVar[Variant]

    def __init__(
        self,
        *,
        n_epochs: int | None = None,
        z_size: int | None = None,
        hidden_size: int | None = None,
        encoder: str | None = None,
        batch_size: int | None = None,
        config: str | Path | Mapping[str, Any] | None = None,
        image_shape: tuple[int, int, int] | None = None,
        random_state: int | np.random.RandomState | None = None,
        device: str = "auto",
        precision: str | None = None,
        verbose: bool = False,
    ) -> None:
        """Keep the parameters; None stands for the configuration's value.

        Args:
            n_epochs: passes over the samples.
            z_size: Z, size of the style.
            hidden_size: width of the networks.
            encoder: `mlp`, or `conv` for images.
            batch_size: samples a step.
            config: a YAML file, the name of a shipped configuration, or a mapping such as
                `{"training": {"input_noise": 0.1}}` that changes the default: chosen from the data for rows, `seed` for
                images.
            image_shape: (C, H, W) if rows are flattened images.
            random_state: seed; an int gives the same model each time.
            device: `auto`, `cpu`, `cuda` or `cuda:i`.
            precision: `auto`, `fp32`, `bf16` or `fp16`.
            verbose: True prints a line an epoch.
        """
        self.n_epochs = n_epochs
        self.z_size = z_size
        self.hidden_size = hidden_size
        self.encoder = encoder
        self.batch_size = batch_size
        self.config = config
        self.image_shape = image_shape
        self.random_state = random_state
        self.device = device
        self.precision = precision
        self.verbose = verbose

    def predict_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Predict the probability of each class or cluster, [n, their number]; the sum over its categories."""
        y, _ = self._encode(X)
        description = self.model_.description
        by_class = np.eye(len(description.class_names), dtype=y.dtype)[list(description.category_to_class)]
        probabilities: NDArray[Any] = y @ by_class
        return probabilities

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """Encode samples to their style z, [n, Z]."""
        return self._encode(X)[1]

    def save(self, path: str | Path) -> None:
        """Write a model directory, which `aae export` and `load` read; no part of it is pickled.

        Parameters are kept as JSON; a `random_state` is kept only if it is an int.

        Raises:
            AaeError: the directory cannot be written.
        """
        check_is_fitted(self)
        facts = {
            "estimator": type(self).__name__,
            "params": self.get_params(deep=False),
            "sample_shape": self.sample_shape_,
            "feature_names": getattr(self, "feature_names_in_", np.array([])).tolist(),
            "history": self.history_,
        }
        write_estimator(Path(path), self.model_, facts)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read an estimator that `save` wrote.

        Raises:
            AaeError: a file is absent, damaged, or from another estimator.
        """
        with reading_estimator(Path(path), cls.__name__) as (model, facts):
            estimator = cls(**facts["params"])
            estimator.sample_shape_ = tuple(facts["sample_shape"])
            estimator.history_ = facts["history"]
            if facts["feature_names"]:
                estimator.feature_names_in_ = np.array(facts["feature_names"], dtype=object)
            estimator._take(model)
        return estimator

    def export(self, path: str | Path, formats: Sequence[str] = ("onnx",)) -> None:
        """Write an export directory, as `aae export` does; `load_classifier` reads its `classifier.onnx`.

        The exported classifier takes uint8, like every exported classifier. An X of another type is rounded to the
        nearest of 256 steps over its range in `fit`.

        Args:
            path: the export directory; an earlier export there is replaced.
            formats: some of `onnx`, `torchscript`, `torch-export`.

        Raises:
            AaeError: the directory cannot be written.
            ValueError: a format is unknown.
        """
        from aae_toolkit.export.contract import Format
        from aae_toolkit.export.writer import export_model

        with tempfile.TemporaryDirectory() as directory:
            self.save(directory)
            export_model(Path(directory), Path(path), tuple(Format(name) for name in formats), Silent())

    def sample(self, category: ArrayLike, z: ArrayLike | None = None) -> NDArray[Any]:
        """Decode samples of categories, on the scale and in the shape of X: [n, F], [n, H, W] or [n, C, H, W].

        Args:
            category: one or n labels of a classifier, or numbers of clusters.
            z: styles [Z] or [n, Z]; None: 0, which gives the mode of a category.

        Raises:
            ValueError: the model has no such category or size of z.
            AaeError: the model has no trained decoder.
        """
        check_is_fitted(self)
        self.model_.description.require_decoder()
        a = self.model_.architecture
        categories = np.array([self._category(one) for one in np.atleast_1d(np.asarray(category)).tolist()])
        styles = np.atleast_2d(np.zeros(a.z_size) if z is None else np.asarray(z, dtype=np.float64))
        if styles.ndim != 2 or styles.shape[1] != a.z_size:
            raise ValueError(f"z has shape {np.asarray(z).shape}; this model takes [{a.z_size}] or [n, {a.z_size}]")
        if not len(categories):
            raise ValueError("category holds none; give one or more")
        n = max(len(categories), len(styles))
        with torch.inference_mode():
            y = F.one_hot(torch.from_numpy(np.broadcast_to(categories, n).copy()), a.n_classes).float()  # [n, K]
            styles = np.broadcast_to(styles, (n, a.z_size)).astype(np.float32)  # [n, Z]
            decoder = self.model_.decoder
            pictures = decoder.images(decoder(y, torch.from_numpy(styles))).numpy()
        return scaling.from_images(pictures, self._scaling).reshape(n, *self.sample_shape_)

    @property
    def _scaling(self) -> FeatureScaling:
        assert self.model_.description.arrays is not None
        return self.model_.description.arrays.scaling

    @property
    def _n_features_out(self) -> int:
        return self.model_.architecture.z_size

    @abstractmethod
    def _category(self, wanted: Any) -> int:
        """Return the number of the category that a user names; raise ValueError if there is none."""

    def _take(self, model: TrainedModel) -> None:
        """Set the attributes of an estimator that has fitted this model."""
        self.model_ = model
        self.n_features_in_ = math.prod(model.architecture.image_shape)

    def _labels(self, X: ArrayLike) -> Integers:
        """Predict the class or cluster of each sample, int64 [n], from the likeliest category."""
        y, _ = self._encode(X)
        labels: Integers = np.array(self.model_.description.category_to_class)[y.argmax(axis=1)]
        return labels

    def _encode(self, X: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
        """Encode samples: category probabilities [n, K] and styles [n, Z], float64 if X is, else float32."""
        check_is_fitted(self)
        given, sample_shape = flat(X)
        image_shape = self.model_.architecture.image_shape
        if len(sample_shape) > 1:  # scikit-learn checks rows
            scaling.require_form((len(given), *sample_shape), image_shape)
        rows = validate_data(self, given, reset=False, dtype=DTYPES)
        scaling.require_scale(rows, self._scaling, given)
        images = scaling.to_images(rows, self._scaling, image_shape)
        y, z = encode(self.model_.encoder, images)
        dtype = np.result_type(rows.dtype, np.float32)
        return y.astype(dtype), z.astype(dtype)

    def _fit(
        self,
        rows: NDArray[Any],
        sample_shape: tuple[int, ...],
        labels: Integers,
        classes: NDArray[Any] | None = None,
        n_categories: int | None = None,
    ) -> Self:
        """Train a model on samples.

        Args:
            rows: validated samples [n, F].
            sample_shape: shape of one sample before images became rows.
            labels: class indices int64 [n], -1 where unknown.
            classes: sorted labels, by class index; None without labels.
            n_categories: K; None: the configuration's, or the number of classes.
        """
        self.sample_shape_ = sample_shape
        are_rows = self.image_shape is None and len(sample_shape) == 1
        shape = scaling.image_shape_of(sample_shape if self.image_shape is None else tuple(self.image_shape))
        if math.prod(shape) != rows.shape[1]:
            raise ValueError(f"image_shape {shape} holds {math.prod(shape)} pixels; X has {rows.shape[1]} features")
        if len(sample_shape) > 1:
            scaling.require_form((len(rows), *sample_shape), shape)
        if are_rows and self.encoder == "conv":
            raise ValueError("encoder='conv' is for images; give image_shape, or X as [n, H, W] or [n, C, H, W]")
        scale = scaling.fit_scaling(rows, images=not are_rows)
        scaling.require_scale(rows, scale, rows)
        images, known = scaling.to_images(rows, scale, shape), labels != UNLABELED
        labeled, rest = (Split(images[which], labels[which]) for which in (known, ~known))
        splits: dict[SplitName, Split] = {"train_labeled": labeled, "train_unlabeled": rest, "validation": labeled}
        names = () if classes is None else tuple(classes.tolist())
        data = ArrayData(splits, shape, tuple(map(str, names)))
        config = resolve_config(
            self.config,
            self._variant,
            data,
            are_rows=are_rows,
            n_epochs=self.n_epochs,
            z_size=self.z_size,
            hidden_size=self.hidden_size,
            encoder=self.encoder,
            batch_size=self.batch_size,
            precision=self.precision,
            n_classes=n_categories,
            seed=int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max)),
        )
        try:
            with torch.random.fork_rng():  # leaves the caller's random streams as they are
                progress = _Printing() if self.verbose else Silent()
                model, self.history_ = train_in_memory(config, data, device=self.device, progress=progress)
        except UsageError as error:
            raise ValueError(str(error).removeprefix("--")) from error
        dtype = None if classes is None else dtype_name(classes.dtype)
        features = tuple(getattr(self, "feature_names_in_", ()))
        arrays = ArrayFacts(scaling=scale, classes=names, dtype=dtype, features=features)
        description = model.description.model_copy(update={"arrays": arrays})
        self._take(dataclasses.replace(model, description=description))
        return self


class _Printing(Silent):
    """A listener that prints lines."""

    def say(self, line: str) -> None:
        print(line)


def flat(X: Any) -> tuple[Any, tuple[int, ...]]:
    """Flatten images to rows [n, F]; return the rows and the shape of one sample. Scikit-learn checks them later."""
    scaling.require_numbers(X)
    array = X if hasattr(X, "ndim") else np.asarray(X)
    shape = tuple(array.shape[1:])
    return (X if len(shape) <= 1 else np.asarray(array).reshape(len(array), -1)), shape
