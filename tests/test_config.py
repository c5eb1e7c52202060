import subprocess
import sys
from typing import get_args

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from refusals import refused, value_unless_refused

from aae_toolkit.config import (
    DEFAULT_CONFIG,
    VARIANTS,
    SemiSupervisedConfig,
    TrainingPrecision,
    UnsupervisedConfig,
    dump_config,
    load_config,
    shipped_configs,
    with_flags,
)
from aae_toolkit.config.augmentation_sets import AUGMENTATION_SETS
from aae_toolkit.errors import UsageError

SHIPPED = [
    (name, variant)
    for name, path in shipped_configs().items()
    for variant in yaml.safe_load(path.read_text(encoding="utf-8"))
]
CONFIG_OF = {"semi_supervised": SemiSupervisedConfig, "unsupervised": UnsupervisedConfig}


@pytest.fixture(scope="module")
def config_path(tmp_path_factory):
    return tmp_path_factory.mktemp("config") / "config.yaml"


@pytest.fixture
def load(config_path):
    def write_and_load(text, variant="semi_supervised"):
        config_path.write_text(text, encoding="utf-8")
        return load_config(config_path, variant)

    return write_and_load


def nested(path, value):
    for key in reversed(path.split(".")):
        value = {key: value}
    return yaml.safe_dump(value)


def value_at(config, path):
    for name in path.split("."):
        config = getattr(config, name)
    return config


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        (
            "unsupervised",
            {
                "learning_rates.auto_encoder_lr": 0.0008,
                "learning_rates.generator_lr": 0.002,
                "learning_rates.discriminator_lr": 0.0002,
                "learning_rates.info_lr": 0.00001,
                "learning_rates.mode_lr": 0.0008,
                "learning_rates.disentanglement_lr": 0.00005,
                "model.hidden_size": 3000,
                "model.encoder_dropout": 0.2,
                "training.use_mutual_info": False,
                "training.use_mode_decoder": False,
                "training.use_disentanglement": True,
                "training.use_adam_optimization": True,
                "training.use_adversarial_categorial_weights": True,
                "training.lambda_z_l2_regularization": 0.15,
                "training.autoencoder_every": 1,
                "training.weight_decay": 0.0,
                "consistency.is_on": False,
            },
        ),
        (
            "semi_supervised",
            {
                "learning_rates.auto_encoder_lr": 0.0008,
                "learning_rates.generator_lr": 0.001,
                "learning_rates.discriminator_lr": 0.0002,
                "learning_rates.classifier_lr": 0.001,
                "model.hidden_size": 1000,
                "model.encoder_dropout": 0.0,
                "training.ema_decay": 0.0,
                "training.labeled_batch_size": None,
                "consistency.is_on": False,
            },
        ),
    ],
)
def test_the_seeds_file_loads_with_the_seeds_values(variant, expected):
    config = load_config(DEFAULT_CONFIG, variant)
    assert {path: value_at(config, path) for path in expected} == expected


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_defaults_are_the_seeds(variant, load):
    assert load_config(DEFAULT_CONFIG, variant) == load(f"{variant}: {{}}", variant) == CONFIG_OF[variant]()


def test_the_default_configuration_is_shipped_with_both_variants():
    assert {(DEFAULT_CONFIG, variant) for variant in VARIANTS} <= set(SHIPPED)


@pytest.mark.parametrize(("name", "variant"), SHIPPED)
def test_a_shipped_configuration_loads_and_survives_being_written(name, variant, load):
    config = load_config(name, variant)
    assert isinstance(config, CONFIG_OF[variant])
    assert load(dump_config(config), variant) == config
    assert load_config(shipped_configs()[name], variant) == config


@given(
    rate=st.floats(0, 1),
    noise=st.floats(0, allow_infinity=False),
    channels=st.lists(st.integers(1, 999), min_size=1, max_size=3),
    compiled=st.none() | st.booleans(),
    precision=st.sampled_from(get_args(TrainingPrecision)),
)
@example(rate=1e-5, noise=1e300, channels=[1], compiled=None, precision="auto")
def test_any_configuration_survives_being_written(config_path, rate, noise, channels, compiled, precision):
    training = {"input_noise": noise, "compile": compiled, "precision": precision}
    config = UnsupervisedConfig.model_validate(
        {"learning_rates": {"info_lr": rate}, "model": {"conv_channels": channels}, "training": training}
    )
    config_path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(config_path, "unsupervised") == config


@pytest.mark.parametrize("number", ["1e-5", "1E-5", "1.e-5", "1.0e-5", "+1e-5", "0.1e-4", "0.00001", "1e-05"])
def test_exponents_are_numbers(number, load):
    rates = load(f"semi_supervised: {{learning_rates: {{classifier_lr: {number}}}}}").learning_rates
    assert rates.classifier_lr == 1e-5


def test_a_whole_number_will_do_where_a_real_one_is_expected(load):
    assert load(nested("semi_supervised.training.input_noise", 1)).training.input_noise == 1.0


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("semi_supervized", "semi_supervised"),
        ("semi_supervised.modell", "model"),
        ("semi_supervised.learning_rates.clasifier_lr", "classifier_lr"),
        ("semi_supervised.model.zsize", "z_size"),
        ("semi_supervised.training.schedule.milestone", "milestones"),
        ("semi_supervised.consistency.lambda_pair", "lambda_pairs"),
        ("unsupervised.consistensy", "consistency"),
        ("unsupervised.training.use_adversarial_categorical_weights", "use_adversarial_categorial_weights"),
    ],
)
def test_an_unknown_key_is_refused_with_its_path_and_the_nearest_name(path, nearest, load):
    with refused(f"unknown key '{path}'", f"did you mean '{nearest}'?", kind=UsageError):
        load(nested(path, 1))


@pytest.mark.parametrize(
    ("path", "other"),
    [
        ("unsupervised.training.class_weights", "semi-supervised"),
        ("unsupervised.training.class_prior", "semi-supervised"),
        ("unsupervised.learning_rates.classifier_lr", "semi-supervised"),
        ("semi_supervised.training.use_mutual_info", "unsupervised"),
    ],
)
def test_a_key_of_the_other_variant_is_refused_with_that_variant(path, other, load):
    with refused(f"unknown key '{path}'", f"only the {other} variant has this key", kind=UsageError):
        load(nested(path, 1))


def test_a_class_prior_that_nothing_would_use_is_refused(load):
    keys = {"class_prior": "labels", "use_autoencoder": False}
    with refused("class_prior: labels has no effect here; set consistency.lambda_balance above 0", kind=UsageError):
        load(yaml.safe_dump({"semi_supervised": {"training": keys}}))
    balance = {"lambda_pairs": 1.0, "lambda_balance": 1.0}
    load(yaml.safe_dump({"semi_supervised": {"training": keys, "consistency": balance}}))
    load(yaml.safe_dump({"semi_supervised": {"training": {"class_prior": "labels"}}}))


def test_an_unknown_key_that_resembles_none_is_refused_with_the_known_ones(load):
    with refused("'semi_supervised.qqq'", "known here: learning_rates, model, training, consistency", kind=UsageError):
        load(nested("semi_supervised.qqq", 1))


def test_a_refusal_exits_with_status_2_and_counts_the_further_complaints(load):
    with pytest.raises(UsageError, match=r"\(and 1 more\)$") as caught:
        load("semi_supervised: {model: {a_a: 1, b_b: 2}}")
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    ("path", "value"),
    [
        # of the wrong type
        ("training.n_epochs", "35"),
        ("training.n_epochs", 3.5),
        ("training.n_epochs", True),
        ("training.n_epochs", None),
        ("training.use_adam_optimization", 1),
        ("training.use_adam_optimization", "yes please"),
        ("training.input_noise", True),
        ("training.precision", "fp8"),
        ("training.schedule", 3),
        ("training.schedule.kind", "linear"),
        ("consistency", True),
        ("consistency.looks_to_trust", 1.5),
        ("consistency.n_neighbors", "ten"),
        ("consistency.likeness", "colours"),
        ("consistency.spread_labels", 1),
        ("consistency.blend_regression", 1),
        ("consistency.cluster_first", 1),
        ("model.standardize", 1),
        ("model.reconstruction", "laplace"),
        ("model.hidden_size", "two\nlines"),
        ("model.conv_channels", 32),
        ("model", [1]),
        ("learning_rates.classifier_lr", "fast"),
        # impossible
        ("learning_rates.classifier_lr", -0.001),
        ("learning_rates.generator_lr", 2),
        ("learning_rates.generator_lr", float("nan")),
        ("model.encoder_dropout", 1),
        ("model.encoder_dropout", -0.1),
        ("model.n_classes", 1),
        ("model.z_size", 0),
        ("model.hidden_size", 0),
        ("model.conv_channels", []),
        ("model.conv_channels", [32, 0]),
        ("training.batch_size", 1),
        ("training.n_epochs", 0),
        ("training.seed", -1),
        ("training.seed", 2**63),
        ("training.input_noise", float("inf")),
        ("training.schedule.gamma", 0),
        ("training.schedule.milestones", [-1]),
        ("training.schedule.warmup_epochs", float("inf")),
        ("training.weight_decay", -0.1),
        ("training.ema_decay", 1),
        ("training.autoencoder_every", 0),
        ("training.autoencoder_after", 1),
        ("training.labeled_batch_size", 1),
        ("consistency.augmentation", -1),
        ("consistency.augmentation", 5),
        ("consistency.elastic", 1.5),
        ("consistency.lambda_pairs", -1),
        ("consistency.lambda_pairs", float("inf")),
        ("consistency.n_neighbors", -1),
        ("consistency.n_neighbors", 1001),
        ("consistency.virtual_adversarial_radius", 0),
        ("consistency.confidence", 1),
        ("consistency.memory", 1),
        ("consistency.looks_to_trust", 0),
        ("consistency.balance_tolerance", -0.01),
        ("consistency.trusted_balance_tolerance", -0.01),
        ("consistency.n_over_clusters", 1),
    ],
)
def test_a_wrong_value_is_refused_with_the_path_of_its_key(path, value, load):
    with refused(f"'semi_supervised.{path}", kind=UsageError):
        load(nested(f"semi_supervised.{path}", value))


@pytest.mark.parametrize(
    "key", ["use_augmentation_consistency", "lambda_balance", "pseudo_label_confidence", "labeled_batch_size"]
)
def test_what_training_no_longer_or_never_has_is_refused(key, load):
    with refused(f"unknown key 'unsupervised.training.{key}'", kind=UsageError):
        load(nested(f"unsupervised.training.{key}", 2), "unsupervised")


@pytest.mark.parametrize("name", AUGMENTATION_SETS)
def test_the_name_of_an_augmentation_set_stands_for_its_strengths_and_keys_beside_it_win(name, load):
    text = f"semi_supervised: {{consistency: {{augmentation: {name}, erasing: 0.125}}}}"
    terms = load(text).consistency
    assert terms.model_dump() == terms.model_dump() | AUGMENTATION_SETS[name] | {"erasing": 0.125}


def test_an_unknown_augmentation_set_is_refused_with_the_known_ones(load):
    with refused("augmentation 'foto' is no set; give a number or drawings, photos, top-down", kind=UsageError):
        load("semi_supervised: {consistency: {augmentation: foto}}")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("term", ["lambda_balance", "lambda_over_clustering"])
def test_a_term_of_pairs_is_refused_without_pairs(term, variant, load):
    expected = f"'{variant}.consistency': {term} needs pairs; set lambda_pairs above 0 too"
    with refused(expected, kind=UsageError):
        load(nested(f"{variant}.consistency.{term}", 1), variant)
    pairs_too = {"consistency": {term: 1, "lambda_pairs": 1}}
    assert load(yaml.safe_dump({variant: pairs_too}), variant).consistency.is_on


@pytest.mark.parametrize("missing", ["lambda_pseudo_labels", "n_neighbors"])
def test_labels_are_not_spread_without_neighbours_or_pseudo_labels(missing, load):
    terms = {"lambda_pairs": 1, "lambda_pseudo_labels": 1, "spread_labels": True}
    section = {"training": {"ema_decay": 0.9}, "consistency": terms}
    assert load(yaml.safe_dump({"semi_supervised": section})).consistency.spread_labels
    section["consistency"] = terms | {missing: 0}
    expected = "'semi_supervised.consistency': spread_labels needs neighbours and pseudo-labels"
    with refused(expected, "set n_neighbors and lambda_pseudo_labels above 0 too", kind=UsageError):
        load(yaml.safe_dump({"semi_supervised": section}))


def test_a_regression_is_blended_with_spread_labels_alone(load):
    terms = {"lambda_pseudo_labels": 1, "blend_regression": True}
    section = {"training": {"ema_decay": 0.9}, "consistency": terms}
    expected = "'semi_supervised.consistency': blend_regression needs spread labels; set spread_labels to true too"
    with refused(expected, kind=UsageError):
        load(yaml.safe_dump({"semi_supervised": section}))
    section["consistency"] = terms | {"spread_labels": True}
    assert load(yaml.safe_dump({"semi_supervised": section})).consistency.blend_regression


def test_without_supervision_there_are_no_labels_to_spread(load):
    section = {"training": {"ema_decay": 0.9}, "consistency": {"lambda_pseudo_labels": 1, "spread_labels": True}}
    with refused("'unsupervised': consistency.spread_labels: there are no labels", kind=UsageError):
        load(yaml.safe_dump({"unsupervised": section}), "unsupervised")


def test_clusters_begin_pseudo_labels_only_without_labels(load):
    section = {"training": {"ema_decay": 0.9}, "consistency": {"lambda_pseudo_labels": 1, "cluster_first": True}}
    assert load(yaml.safe_dump({"unsupervised": section}), "unsupervised").consistency.cluster_first
    with refused("'semi_supervised': consistency.cluster_first: labels begin", "spread_labels", kind=UsageError):
        load(yaml.safe_dump({"semi_supervised": section}))
    section["consistency"]["lambda_pseudo_labels"] = 0
    with refused("cluster_first needs pseudo-labels; set lambda_pseudo_labels above 0 too", kind=UsageError):
        load(yaml.safe_dump({"unsupervised": section}), "unsupervised")


def test_pseudo_labels_have_a_head_of_their_own_only_where_labels_teach_the_other(load):
    section = {"training": {"ema_decay": 0.9}, "consistency": {"lambda_pseudo_labels": 1, "pseudo_label_head": True}}
    assert load(yaml.safe_dump({"semi_supervised": section})).consistency.pseudo_label_head
    with refused("'unsupervised': consistency.pseudo_label_head: without supervision y learns", kind=UsageError):
        load(yaml.safe_dump({"unsupervised": section}), "unsupervised")
    section["consistency"]["lambda_pseudo_labels"] = 0
    with refused("pseudo_label_head needs pseudo-labels; set lambda_pseudo_labels above 0 too", kind=UsageError):
        load(yaml.safe_dump({"semi_supervised": section}))


def test_epochs_without_the_autoencoder_are_refused_where_nothing_else_learns(load):
    later = {"training": {"autoencoder_after": 0.25}}
    with refused("'unsupervised': training.autoencoder_after leaves the first epochs to the terms", kind=UsageError):
        load(yaml.safe_dump({"unsupervised": later}), "unsupervised")
    load(yaml.safe_dump({"unsupervised": later | {"consistency": {"lambda_pairs": 1}}}), "unsupervised")
    load(yaml.safe_dump({"semi_supervised": later}))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("term", ["lambda_pseudo_labels", "lambda_virtual_adversarial"])
def test_terms_that_ask_the_averaged_weights_are_refused_without_them(term, variant, load):
    with refused(f"'{variant}': pseudo-labels and virtual", "set training.ema_decay above 0", kind=UsageError):
        load(nested(f"{variant}.consistency.{term}", 1), variant)
    averaged = {"training": {"ema_decay": 0.9}, "consistency": {term: 1}}
    assert load(yaml.safe_dump({variant: averaged}), variant).consistency.needs_teacher


def test_a_wrong_value_in_the_other_variants_section_is_refused_too(load):
    with refused("'unsupervised.training.batch_size' is 1", kind=UsageError):
        load("semi_supervised: {}\nunsupervised: {training: {batch_size: 1}}")


@pytest.mark.parametrize(("text", "held"), [("unsupervised: {}", "'unsupervised'"), ("{}", "none")])
def test_a_missing_section_is_refused_with_those_that_are_there(text, held, load):
    with refused("no section 'semi_supervised'", f"it holds {held}", kind=UsageError):
        load(text)


@pytest.mark.parametrize("text", ["", "# nothing", "semi_supervised", "- semi_supervised", "3"])
def test_a_file_without_a_mapping_is_refused(text, load):
    with refused("holds no sections", *VARIANTS, kind=UsageError):
        load(text)


@pytest.mark.parametrize(
    "text", ["a: [1", "a: b: c", "\tq", "{[1]: 2}", "a: !!int x", "a: 2001-99-99", "a: !unknown 1", "[" * 5000]
)
def test_a_file_that_is_not_yaml_is_refused(text, load, config_path):
    with refused(config_path, "not YAML"):
        load(text)


@given(st.text(st.sampled_from("ab_:-[]{}!&*#'\"\\ \n\t019.e~|>?,")) | st.text())
def test_whatever_the_text_the_outcome_is_a_configuration_or_one_line(config_path, text):
    config_path.write_bytes(text.encode("utf-8", "surrogatepass"))
    config = value_unless_refused(lambda: load_config(config_path, "semi_supervised"))
    assert config is None or isinstance(config, SemiSupervisedConfig)


def test_an_absent_file_is_refused(tmp_path):
    with refused(tmp_path / "absent.yaml", "does not exist"):
        load_config(tmp_path / "absent.yaml", "semi_supervised")


def test_a_directory_and_a_binary_file_are_refused(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path, said in ((tmp_path, "is a directory; give a YAML file"), (tmp_path / "binary", "cannot be read")):
        with refused(path, said):
            load_config(path, "semi_supervised")
    (tmp_path / "config.yml").write_text("")
    with refused(f"is a directory; pass {tmp_path / 'config.yml'}, its configuration"):
        load_config(tmp_path, "semi_supervised")


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!!python/object/new:os.system"])
def test_a_python_tag_is_refused_and_not_executed(tag, load, tmp_path):
    executed = tmp_path / "executed"
    with refused("not YAML", "python/object"):
        load(f"semi_supervised: {tag} ['touch {executed}']")
    assert not executed.exists()


def test_flags_win_over_the_file_and_flags_not_given_leave_it_alone(load):
    config = load("semi_supervised: {model: {z_size: 7}, training: {n_epochs: 3, seed: 4}}")
    assert with_flags(config, n_epochs=None, z_size=None, seed=None, compile=None) == config
    flagged = with_flags(config, n_epochs=5, z_size=9, n_classes=12, seed=0, compile=False)
    assert (flagged.training.n_epochs, flagged.training.seed, flagged.training.compile) == (5, 0, False)
    assert (flagged.model.z_size, flagged.model.n_classes) == (9, 12)
    assert (config.training.n_epochs, config.model.z_size) == (3, 7)
    assert with_flags(flagged, n_epochs=3, z_size=7, seed=4).learning_rates == config.learning_rates


@pytest.mark.parametrize(
    ("flag", "value", "path"),
    [
        ("n_epochs", 0, "training.n_epochs"),
        ("batch_size", 1, "training.batch_size"),
        ("precision", "fp8", "training.precision"),
        ("n_classes", 1, "model.n_classes"),
        ("z_size", -1, "model.z_size"),
        ("encoder", "transformer", "model.encoder"),
    ],
)
def test_a_bad_flag_value_is_refused(flag, value, path):
    with refused(f"--{flag.replace('_', '-')}", f"'{path}' is {value!r}", kind=UsageError):
        with_flags(UnsupervisedConfig(), **{flag: value})


def test_importing_the_configuration_and_the_errors_loads_no_torch():
    code = (
        "import sys, aae_toolkit.config, aae_toolkit.errors;"
        "print(*{'torch', 'torchvision', 'sklearn', 'scipy', 'matplotlib', 'onnx', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
