import json
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_source
from sklearn.base import clone
from sklearn.datasets import load_iris, make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from aae_toolkit import AAEClusterer, SemiSupervisedAAEClassifier, load_classifier
from aae_toolkit.data.split import Split
from aae_toolkit.errors import AaeError
from aae_toolkit.evaluation import evaluate
from aae_toolkit.models.directory import load_model

SCORED = ("check_classifiers_train", "check_clustering")  # checks that ask how well it learned
TINY: dict[str, Any] = {"hidden_size": 16, "z_size": 2, "precision": "fp32", "device": "cpu", "batch_size": 50}


def classifier(**changes: Any) -> SemiSupervisedAAEClassifier:
    return SemiSupervisedAAEClassifier(**{"n_epochs": 10, "random_state": 0, **TINY, **changes})


def clusterer(n_clusters: int = 3, **changes: Any) -> AAEClusterer:
    return AAEClusterer(n_clusters, **{"n_epochs": 20, "random_state": 0, **TINY, **changes})


def expected_failures(estimator: object) -> dict[str, str]:
    if isinstance(estimator, SemiSupervisedAAEClassifier):
        reason = "its classes are -1 and 1, but -1 is no label here; it exempts sklearn.semi_supervised by name"
        return {"check_classifiers_classes": reason}
    return {}


@parametrize_with_checks([classifier(), clusterer()], expected_failed_checks=expected_failures)
def test_scikit_learn_s_own_checks_hold(estimator: Any, check: Any) -> None:
    check(estimator if check.func.__name__ in SCORED else clone(estimator).set_params(n_epochs=2))


@pytest.fixture(scope="module")
def blobs() -> tuple[np.ndarray, np.ndarray]:
    """Three clouds in four dimensions, one a hundred times as long as the others."""
    X, y = make_blobs(300, n_features=4, centers=3, random_state=0)
    return X * [1, 1, 1, 100], y


@pytest.fixture(scope="module")
def pictures() -> tuple[np.ndarray, np.ndarray]:
    source = tiny_source()
    return source.images, source.labels


@pytest.fixture(scope="module")
def fitted(pictures: tuple[np.ndarray, np.ndarray]) -> SemiSupervisedAAEClassifier:
    images, labels = pictures
    return classifier(n_epochs=30, batch_size=32).fit(images, np.array(["top", "middle", "bottom"])[labels])


def few(y: np.ndarray, n: int) -> np.ndarray:
    """The labels, of which only the first n of each class are known."""
    known = np.full(len(y), -1)
    for label in np.unique(y):
        known[np.flatnonzero(y == label)[:n]] = label
    return known


def test_few_labels_do(blobs: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = blobs
    model = classifier(n_epochs=30).fit(X, few(y, 5))
    assert model.score(X, y) > 0.9
    np.testing.assert_array_equal(model.classes_, [0, 1, 2])
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1, atol=1e-5)
    assert model.transform(X).shape == (300, 2)


def test_the_score_leaves_samples_without_a_label_out(blobs: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = blobs
    model = classifier(n_epochs=2).fit(X, y)
    known = few(y, 7)
    assert model.score(X, known) == np.mean(model.predict(X[known != -1]) == known[known != -1])
    assert model.score(X, known, np.arange(300)) == np.average(
        (model.predict(X) == y)[known != -1], weights=np.flatnonzero(known != -1)
    )
    assert model.score(X, np.full(300, -1)) == 0


def test_labels_may_be_words_with_minus_one_among_them(blobs: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = blobs
    words = np.array(["a", "b", "c"], dtype=object)[y]
    words[::2] = -1
    model = classifier().fit(X, words)
    assert model.classes_.tolist() == ["a", "b", "c"]
    assert set(model.predict(X)) <= {"a", "b", "c"}


def test_pipelines_cross_validation_and_clones_work(blobs: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = blobs
    assert cross_val_score(make_pipeline(StandardScaler(), classifier(n_epochs=30)), X, y, cv=3).min() > 0.9
    as_features = make_pipeline(classifier(n_epochs=2), LogisticRegression()).fit(X, y)
    assert as_features[:-1].get_feature_names_out().tolist() == [
        "semisupervisedaaeclassifier0",
        "semisupervisedaaeclassifier1",
    ]
    model = classifier(config={"training": {"input_noise": 0.1}})
    assert clone(model).get_params() == model.get_params()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"clasification": {}}, "config: unknown key 'semi_supervised.clasification'; known here: "),
        ({"training": {"clas_weights": "balanced"}}, "did you mean 'class_weights'?"),
        ({"training": {"class_weights": "Balanced"}}, "'semi_supervised.training.class_weights' is 'Balanced'; choose"),
        ({"consistency": {"lambda_balance": 1.0, "lambda_pairs": 0.0}}, "lambda_balance needs pairs; set lambda_pairs"),
        ({"consistency": {"cluster_first": True}}, "cluster_first"),
        ({"consistency": {"likeness": 3}}, "'semi_supervised.consistency.likeness' is 3; choose"),
        (
            {"consistency": {"n_neighbors": "many"}},
            "'semi_supervised.consistency.n_neighbors' is 'many'; give an integer",
        ),
        ({"training": 5}, "config: 'training' is 5; give a mapping, such as {'n_epochs': 5}"),
        ({"training": None}, "config: 'training' is None; give a mapping"),
        ([("training", {})], "config is a list; give a path, the name of a configuration, or a mapping"),
        (5, "config is 5; give a path, the name of a configuration, or a mapping"),
    ],
)
def test_a_wrong_configuration_is_refused_in_one_line(
    config: Any, said: str, blobs: tuple[np.ndarray, np.ndarray]
) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 the message is compared below
        classifier(config=config).fit(*blobs)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_clusters_know_no_weights_of_labels(blobs: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(ValueError, match=r"config: unknown key .*only the semi-supervised variant has this key"):
        clusterer(config={"training": {"class_weights": "balanced"}}).fit(blobs[0])


def test_clusters_are_found_and_named_by_number(blobs: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = blobs
    model = clusterer(n_epochs=100, hidden_size=64)
    assert adjusted_rand_score(y, model.fit_predict(X)) > 0.9
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    assert model.predict_proba(X).shape == (300, 3)
    assert model.sample([0, 1, 2]).shape == (3, 4)
    with pytest.raises(ValueError, match="3 is none of the 3 clusters, which are numbered from 0"):
        model.sample(3)


@pytest.mark.slow
def test_iris_is_clustered_by_the_default_parameters() -> None:
    X, y = load_iris(return_X_y=True)
    assert adjusted_rand_score(y, AAEClusterer(3, random_state=0, device="cpu", n_epochs=50).fit_predict(X)) > 0.5


def test_a_seed_gives_the_same_model_and_leaves_torch_s_own_random_stream_alone(
    blobs: tuple[np.ndarray, np.ndarray],
) -> None:
    X, y = blobs
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    first, second, other = (classifier(n_epochs=2, random_state=s).fit(X, y).transform(X) for s in (1, 1, 2))
    assert torch.rand(1) == expected
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_numbers_are_not_rounded_to_pixels(blobs: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = blobs
    model = classifier(n_epochs=2).fit(X, y)
    span = np.ptp(X, axis=0)
    assert not np.array_equal(model.transform(X), model.transform(X + span / 2000))


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
@pytest.mark.parametrize("shape", [(-1, 1, 6, 6), (-1, 6, 6)])
def test_images_of_any_type_and_shape_are_learned_and_sampled_in_kind(
    pictures: tuple[np.ndarray, np.ndarray], dtype: type, shape: tuple[int, ...]
) -> None:
    images, labels = pictures
    X = images.astype(dtype).reshape(shape)
    model = classifier(n_epochs=30, batch_size=32).fit(X, few(labels, 20))
    assert model.score(X, labels) > 0.7
    assert model.score(X.reshape(len(X), -1), labels) == model.score(X, labels)
    drawn = model.sample([0, 1, 2], z=np.zeros((3, 2)))
    assert (drawn.shape, drawn.dtype) == ((3, *X.shape[1:]), dtype)
    assert drawn.min() >= X.min()
    assert drawn.max() <= X.max()


def test_rows_may_be_pictures(pictures: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = pictures
    model = classifier(image_shape=(1, 6, 6), encoder="conv").fit(images.reshape(-1, 36), labels)
    assert model.model_.architecture.image_shape == (1, 6, 6)
    assert model.sample(0).shape == (1, 36)


def test_one_category_varies_with_its_style(fitted: SemiSupervisedAAEClassifier) -> None:
    pictures = fitted.sample("top", z=[[-1, 0], [1, 0]])
    assert pictures.shape == (2, 1, 6, 6)
    assert not np.array_equal(pictures[0], pictures[1])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n_epochs": 0}, "^'training.n_epochs' is 0"),
        ({"encoder": "transformer"}, "^'model.encoder' is 'transformer'"),
        ({"encoder": "conv"}, "encoder='conv' is for images; give image_shape"),
        ({"image_shape": (1, 3, 3)}, r"image_shape \(1, 3, 3\) holds 9 pixels; X has 4 features"),
        ({"config": {"training": {"input_nose": 1}}}, "input_nose"),
        ({"config": {"model": {"n_classes": 2}}}, "below the 3 labelled classes"),
    ],
)
def test_impossible_parameters_are_refused_by_fit(
    changes: dict[str, Any], said: str, blobs: tuple[np.ndarray, np.ndarray]
) -> None:
    with pytest.raises(ValueError, match=said):
        classifier(**changes).fit(*blobs)


def test_what_cannot_be_learned_or_sampled_is_refused(
    blobs: tuple[np.ndarray, np.ndarray], fitted: SemiSupervisedAAEClassifier
) -> None:
    X, y = blobs
    with pytest.raises(ValueError, match="y has 1 class; a classifier needs two or more"):
        classifier().fit(X, np.where(y == 1, 1, -1))
    with pytest.raises(ValueError, match="y has 0 class"):
        classifier().fit(X, np.full(300, -1))
    with pytest.raises(ValueError, match="n_clusters=0; ask for 1 or more"):
        clusterer(0).fit(X)
    with pytest.raises(ValueError, match=r"X holds arrays \(2, 2, 1, 1\)"):
        clusterer().fit(X.reshape(-1, 2, 2, 1, 1))
    with pytest.raises(ValueError, match=r"'left' is none of the classes \['bottom', 'middle', 'top'\]"):
        fitted.sample("left")
    with pytest.raises(ValueError, match=r"z has shape \(3,\); this model takes \[2\] or \[n, 2\]"):
        fitted.sample("top", z=[0, 0, 0])


def test_more_categories_than_classes_share_them(blobs: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = blobs
    model = classifier(n_epochs=20, config={"model": {"n_classes": 6}}).fit(X, y)
    assert len(model.model_.description.category_to_class) == 6
    assert model.predict_proba(X).shape == (300, 3)
    assert model.score(X, y) > 0.9


def test_what_is_saved_is_a_model_directory_and_loads_without_pickle(
    fitted: SemiSupervisedAAEClassifier, pictures: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    images, labels = pictures
    fitted.save(tmp_path / "model")
    assert {path.suffix for path in (tmp_path / "model").iterdir()} == {".json", ".safetensors"}
    loaded = SemiSupervisedAAEClassifier.load(tmp_path / "model")
    assert loaded.get_params() == fitted.get_params()
    assert loaded.history_ == fitted.history_
    np.testing.assert_array_equal(loaded.predict_proba(images), fitted.predict_proba(images))
    np.testing.assert_array_equal(loaded.predict(images), fitted.predict(images))
    np.testing.assert_array_equal(loaded.sample("top"), fitted.sample("top"))
    assert load_model(tmp_path / "model").description.class_names == ("bottom", "middle", "top")
    assert pickle.loads(pickle.dumps(fitted)).score(images, fitted.classes_[labels]) == fitted.score(
        images, fitted.classes_[labels]
    )


def test_a_saved_estimator_that_is_none_or_another_is_refused(
    fitted: SemiSupervisedAAEClassifier, tmp_path: Path
) -> None:
    with pytest.raises(AaeError, match=r"estimator.json cannot be read: No such file or directory; write it with save"):
        SemiSupervisedAAEClassifier.load(tmp_path)
    fitted.save(tmp_path)
    with pytest.raises(AaeError, match="holds a SemiSupervisedAAEClassifier; load it with that class"):
        AAEClusterer.load(tmp_path)
    facts = json.loads((tmp_path / "estimator.json").read_text())
    for damage in ("[]", "{", json.dumps(facts | {"params": {"depth": 3}})):
        (tmp_path / "estimator.json").write_text(damage)
        with pytest.raises(AaeError, match=r"estimator.json is damaged; save the estimator again"):
            SemiSupervisedAAEClassifier.load(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(AaeError, match="cannot be written"):
        fitted.save(tmp_path / "file" / "model")


def test_an_exported_classifier_of_pixels_is_the_same(
    fitted: SemiSupervisedAAEClassifier, pictures: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    images, _ = pictures
    fitted.export(tmp_path / "export")
    assert (tmp_path / "export" / "manifest.json").is_file()
    for path in (tmp_path / "export", str(tmp_path / "export" / "classifier.onnx")):
        exported = load_classifier(path)
        np.testing.assert_array_equal(exported.classes_, fitted.classes_)
        np.testing.assert_array_equal(exported.predict(images), fitted.predict(images))
        np.testing.assert_allclose(exported.predict_proba(images), fitted.predict_proba(images), atol=1e-4)
    np.testing.assert_array_equal(exported.predict(images[:, 0]), fitted.predict(images))


@pytest.mark.slow
def test_an_exported_classifier_of_numbers_takes_them_as_the_estimator_does(
    blobs: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    X, y = blobs
    model = classifier(n_epochs=20).fit(X, y * 10)
    model.export(tmp_path)
    exported = load_classifier(tmp_path)
    assert exported.classes_.tolist() == [0, 10, 20]
    assert np.mean(exported.predict(X) == model.predict(X)) > 0.98  # rounded to 256 steps
    np.testing.assert_allclose(exported.predict_proba(X), model.predict_proba(X), atol=0.1)
    with pytest.raises(ValueError, match=r"X has shape \(300, 3\); expected \[n, 1, 1, 4\]"):
        exported.predict(X[:, :3])
    with pytest.raises(ValueError, match="X holds NaN or infinity"):
        exported.predict(X * np.nan)


@pytest.mark.slow
def test_an_exported_clusterer_gives_names_of_clusters(blobs: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    model = clusterer(n_epochs=5).fit(blobs[0])
    model.export(tmp_path)
    assert load_classifier(tmp_path).classes_.tolist() == ["category_0", "category_1", "category_2"]


def test_a_classifier_of_aae_train_takes_pixels_alone(
    export_dir: Path, model_dir: Path, pictures: tuple[np.ndarray, np.ndarray]
) -> None:
    images, labels = pictures
    exported = load_classifier(export_dir)
    assert exported.classes_.tolist() == ["row_0", "row_1", "row_2"]
    expected = evaluate(load_model(model_dir), Split(images, labels), "test").accuracy
    assert np.mean(exported.predict(images) == exported.classes_[labels]) == pytest.approx(expected)
    with pytest.raises(ValueError, match="X is float64; this classifier takes pixels, uint8 from 0 to 255"):
        exported.predict(images / 255)
    with pytest.raises(AaeError, match=r"absent.onnx does not exist; write it with aae export"):
        load_classifier(export_dir / "absent.onnx")


def test_the_package_is_imported_without_torch_and_so_is_its_deployed_classifier() -> None:
    code = """
import sys
import aae_toolkit
assert {"SemiSupervisedAAEClassifier", "AAEClusterer", "load_classifier"} <= set(dir(aae_toolkit))
aae_toolkit.load_classifier
assert not {"torch", "sklearn", "onnx"} & set(sys.modules)
aae_toolkit.AAEClusterer
assert "torch" in sys.modules
try:
    aae_toolkit.absent
except AttributeError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "module 'aae_toolkit' has no attribute 'absent'\n"


def test_verbose_prints_a_line_an_epoch(
    blobs: tuple[np.ndarray, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    classifier(n_epochs=2, verbose=True).fit(*blobs)
    assert [line.partition("  ")[0] for line in capsys.readouterr().out.splitlines()] == ["epoch 1/2", "epoch 2/2"]


def test_a_clusterer_that_collapses_warns_and_one_that_does_not_is_silent() -> None:
    alike = np.zeros((40, 4))
    with pytest.warns(ConvergenceWarning, match=r"COLLAPSED: 1 of 4 clusters is used; ask for fewer n_clusters"):
        AAEClusterer(n_clusters=4, n_epochs=1, random_state=0).fit(alike)
    apart = np.repeat(np.eye(4), 20, axis=0) + np.random.default_rng(0).normal(0, 0.01, (80, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        AAEClusterer(n_clusters=4, random_state=0).fit(apart)
