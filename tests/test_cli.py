import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
import yaml
from conftest import TINY_MODEL, TINY_TRAINING, tiny_source
from exports import one_variant
from PIL import Image
from shellingham import ShellDetectionFailure

from aae_toolkit import __version__
from aae_toolkit.cli import app, commands, seed
from aae_toolkit.cli.app import main, run
from aae_toolkit.cli.names import COMMANDS as COMMANDS_IN_ORDER
from aae_toolkit.cli.names import LONGER, SECTIONS
from aae_toolkit.cli.options import ConsoleProgress
from aae_toolkit.cli.predict import parsed
from aae_toolkit.cli.settings import show_settings
from aae_toolkit.config import ModelConfig, SemiSupervisedTrainingConfig, Variant, load_config
from aae_toolkit.data.directory import write_data_directory
from aae_toolkit.errors import AaeError

COMMANDS = [
    *commands.COMMANDS,
    *(f"{group} {variant}" for group in ("train", "tune") for variant in ("semi-supervised", "unsupervised")),
]
PICTURES = {
    *("latent_features_tnse.png", "learned_latent_features.png", "modes_and_samples_from_each_label.png"),
    *("predicted_label_distribution.png", "reconstruction_example.png", "y_distribution.png", "z_distribution.png"),
    *("confusion_matrix.png", "most_uncertain.png"),
}


def in_a_new_process(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


def status_of(command: Callable[[], None], *arguments: str) -> int | str | None:
    """Run a console script as the shell would; its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["script", *arguments])
        with pytest.raises(SystemExit) as caught:
            command()
    return caught.value.code


@pytest.fixture
def other_data(tmp_path: Path) -> Path:
    """Data of another image shape."""
    write_data_directory(tmp_path / "other", tiny_source(size=5), None, None, None, seed=0)
    return tmp_path / "other"


@pytest.fixture(scope="session")
def tiny_yaml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sections = {
        "semi_supervised": {"model": TINY_MODEL, "training": TINY_TRAINING},
        "unsupervised": {"model": TINY_MODEL, "training": TINY_TRAINING | {"use_mode_decoder": True}},
    }
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(yaml.safe_dump(sections))
    return path


def test_help_imports_nothing_heavy() -> None:
    code = """
import sys
from aae_toolkit.cli import commands
from aae_toolkit.cli.app import run
status = run(["--help"])
heavy = {"torch", "torchvision", "onnx", "onnxruntime", "sklearn", "scipy", "matplotlib", "jinja2", "optuna", "faiss"}
heavy &= set(sys.modules)
assert not heavy, heavy
sys.exit(status)
"""
    done = in_a_new_process(code)
    assert (done.returncode, done.stderr) == (0, "")
    assert "bench" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command.split(), "--help"]) == 0
    printed = capsys.readouterr()
    assert f"aae {command}" in printed.out
    assert printed.err == ""


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["train"]])
def test_without_a_command_there_is_help_and_wrong_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    assert "Usage: aae" in capsys.readouterr().out


ON_MODEL = "--model {model}"
ON_EXPORT = "--export {export}"
TRAIN = "train semi-supervised --output {tmp}/new --config {config}"

ERRORS = [
    # data directories
    (f"evaluate {ON_MODEL} --data {{tmp}}/absent", 1, "does not exist; write one with: aae init-datasets"),
    (f"visualize {ON_MODEL} --data {{tmp}}/absent", 1, "does not exist; write one with: aae init-datasets"),
    (f"parity {ON_EXPORT} --data {{tmp}}/absent", 1, "does not exist; write one with: aae init-datasets"),
    (f"{TRAIN} --data {{tmp}}/absent", 1, "does not exist; write one with: aae init-datasets"),
    (f"{TRAIN} --data {{model}}", 1, "is a model directory, not a data directory; pass the directory that"),
    (f"{TRAIN} --data {{foreign}}", 1, "is not the index of a data directory"),
    (f"evaluate {ON_MODEL} --data {{other}}", 1, "takes images (1, 6, 6), the data's are (1, 5, 5)"),
    (f"visualize {ON_MODEL} --data {{other}}", 1, "takes images (1, 6, 6), the data's are (1, 5, 5)"),
    ("init-datasets --data {tmp}/new --source folder", 2, "needs --raw-dir"),
    ("init-datasets --data {tmp}/new --source folder --raw-dir {tmp}/absent", 1, "is not a directory"),
    ("init-datasets --data {tmp}/new --source mnist --raw-dir {tmp}", 1, "mnist not found"),
    ("init-datasets --data {tmp}/new --source imagenet", 2, "--source"),
    ("init-datasets --data {tmp}/new --source digits --labeled 99999", 2, "the source has 1797 with a label"),
    ("init-datasets --data {tmp}/new --channels 2", 2, "choose 1 (grey) or 3 (RGB)"),
    ("init-datasets --data {foreign}/dataset.json --source digits", 1, "cannot be written"),
    ("init-datasets --data {data} --source digits", 2, "already holds other splits"),
    (f"{TRAIN} --data {{foreign}}/dataset.json", 1, "is a file, not a directory"),
    (
        f"{TRAIN} --data {{data}} --output {{config}}",
        1,
        "cannot be written: it is a file, not a directory",
    ),
    # model and export directories, model files
    ("evaluate --model {config} --data {data}", 1, "is a file, not a directory"),
    ("bench --export {config}", 1, "is a file, not a directory"),
    ("evaluate --model {tmp}/absent --data {data}", 1, "does not exist; train one with: aae train"),
    ("visualize --model {data} --data {data}", 1, "is a data directory, not a model directory; train a model on it"),
    ("export --model {tmp}/absent", 1, "does not exist; train one with: aae train"),
    ("export --model {model} --output {foreign}/dataset.json", 1, "cannot be written"),
    ("parity --export {model} --data {data}", 1, "is a model directory, not an export directory; write one with: aae"),
    ("bench --export {tmp}/absent", 1, "does not exist; write one with: aae export"),
    ("predict {tmp}/x.png --model {tmp}/absent.onnx", 1, "absent.onnx does not exist"),
    # configurations
    (f"{TRAIN} --data {{data}} --n-classes 2", 2, "--n-classes 2 is below the 3 labelled classes"),
    (f"{TRAIN} --data {{data}} --n-epochs 0", 2, "'training.n_epochs' is 0"),
    (f"{TRAIN} --data {{data}} --z-size -1", 2, "'model.z_size' is -1"),
    (f"{TRAIN} --data {{data}} --batch-size 1", 2, "'training.batch_size' is 1"),
    (f"{TRAIN} --data {{data}} --batch-size many", 2, "Invalid value for '--batch-size': give a whole number"),
    (f"{TRAIN} --data {{data}} --precision fp8", 2, "--precision"),
    ("train semi-supervised --data {data} --config {unknown_key}", 2, "did you mean 'hidden_size'?"),
    ("train semi-supervised --data {data} --config {impossible}", 2, "semi_supervised.training.batch_size"),
    ("train unsupervised --data {data} --config {one_section}", 2, "has no section 'unsupervised'"),
    (
        "train semi-supervised --data {data} --config {tmp}/absent.yaml",
        1,
        "absent.yaml does not exist; give a YAML file, or one of auto, ",
    ),
    # devices
    (f"{TRAIN} --data {{data}} --device banana", 2, "--device banana is not a device"),
    (f"parity {ON_EXPORT} --data {{data}} --device banana", 2, "--device banana is no device"),
    (f"bench {ON_EXPORT} --device banana", 2, "--device banana is no device"),
    # trainings that are there, or not
    ("train {variant} --data {data} --output {model}", 2, "already holds a training"),
    ("train {variant} --data {data} --output {model} --resume --overwrite", 2, "give one of them"),
    (f"{TRAIN} --data {{data}} --checkpoint-every 0", 2, "Invalid value for '--checkpoint-every': give 1 or more"),
    (
        "train {variant} --data {data} --output {model} --resume --z-size 3",
        2,
        "--resume: model.z_size is 2 in this run, and 3 is asked for",
    ),
    # the command line itself
    ("tarin", 2, "No such command 'tarin'"),
    ("train supervised", 2, "No such command 'supervised'"),
    ("evaluate", 2, "Missing option '--model'"),
    (f"evaluate {ON_MODEL}", 2, "Missing option '--data'"),
    (f"evaluate {ON_MODEL} --data {{data}} --split train", 2, "'train' is not one of 'validation', 'test'"),
    ("predict --model {export}/classifier.onnx", 2, "the following arguments are required: IMAGE..."),
    (f"{TRAIN} --data {{data}} -q -v", 2, "--quiet prints less, --verbose more; give one of them"),
    ("export --model {model} --opset 99", 2, "--opset': give 25 or less"),
    ("tune unsupervised --data {data} --minutes long", 2, "--minutes': give a number"),
    (f"{TRAIN} --data {{data}} --precision fp7", 2, "--precision': 'fp7' is not one of"),
    ("tune unsupervised --data {data} -q -v", 2, "--quiet prints less, --verbose more; give one of them"),
    ("doctor --fix", 2, "No such option: --fix"),
    ("export --model {model} --format tflite", 2, "'tflite' is not one of"),
    ("export --model {model} --opset 17", 2, "--opset': give 18 or more"),
    ("export", 2, "Missing option '--model'"),
    ("export --verify {tmp}", 2, "No such option: --verify; it is a command now: aae verify EXPORT"),
    ("export --model {model} --web {tmp}", 2, "--web; it is a command now: aae web EXPORT DIR"),
    ("export --export {export}", 2, "it is a command now: aae web EXPORT DIR"),
    ("export --export-dir-path {export}", 2, "it is a command now: aae web EXPORT DIR"),
    ("export --device-path x", 2, "No such option: --device-path"),
    ("verify", 2, "Missing argument 'EXPORT'"),
    ("verify {export} --output-dir-path {tmp}", 2, "No such option: --output-dir-path"),
    ("export --model-dir-path {tmp}/absent", 1, "does not exist; train one with: aae train"),
    ("evaluate --model-dir-path={tmp}/absent --dir-path={data}", 1, "does not exist; train one with: aae train"),
    ("parity --export-dir-path {tmp}/absent --dir-path {data}", 1, "does not exist; write one with: aae export"),
    ("verify --export {tmp}/absent", 1, "does not exist; write one with: aae export"),
    ("verify --export-dir-path={tmp}/absent", 1, "does not exist; write one with: aae export"),
    ("web {tmp}/page --export-dir-path {tmp}/absent", 1, "absent does not exist; write one with: aae export"),
    ("predict {tmp}/x.png --model-dir-path {tmp}/absent.onnx", 1, "absent.onnx does not exist"),
    ("predict {tmp}/x.png --export-dir-path={tmp}/absent.onnx", 1, "absent.onnx does not exist"),
    ("predict {tmp}/x.png --export {tmp}/absent.onnx --output-dir-path y.csv", 1, "absent.onnx does not exist"),
    ("tune unsupervised --dir-path {tmp}/absent --config-path auto", 1, "does not exist; write one with"),
    ("verify {model}", 1, "is a model directory, not an export directory; write one with: aae export"),
]


@one_variant
@pytest.mark.parametrize(("command", "status", "said"), ERRORS)
def test_an_error_is_one_line_that_says_what_is_wrong(
    command: str,
    status: int,
    said: str,
    variant: Variant,
    model_dir: Path,
    export_dir: Path,
    data_dir: Path,
    other_data: Path,
    tiny_yaml: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "dataset.json").write_text('{"of": "another program"}')
    (tmp_path / "unknown_key.yaml").write_text("semi_supervised: {model: {hiden_size: 8}}")
    (tmp_path / "one_section.yaml").write_text("semi_supervised: {model: {hidden_size: 8}}")
    (tmp_path / "impossible.yaml").write_text("semi_supervised: {training: {batch_size: -3}}")
    places = {
        "variant": variant.replace("_", "-"),
        "model": shutil.copytree(model_dir, tmp_path / "model"),
        "export": export_dir,
        "data": shutil.copytree(data_dir, tmp_path / "data"),
        "other": other_data,
        "foreign": foreign,
        "config": tiny_yaml,
        "unknown_key": tmp_path / "unknown_key.yaml",
        "impossible": tmp_path / "impossible.yaml",
        "one_section": tmp_path / "one_section.yaml",
        "tmp": tmp_path,
    }
    before = (tmp_path / "model" / "model.json").read_bytes()
    assert run(command.format(**places).split()) == status
    error = capsys.readouterr().err
    assert error.startswith("aae: ")
    assert error.count("\n") == 1
    assert error.endswith("\n")
    assert said in error
    assert "internal error" not in error
    assert (tmp_path / "model" / "model.json").read_bytes() == before


@one_variant
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
@pytest.mark.parametrize("command", ["train semi-supervised", "parity", "bench --backends eager", "bench"])
def test_cuda_where_there_is_none_has_its_own_status(
    command: str, data_dir: Path, export_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = {"train": ["--data", data_dir, "--output", tmp_path / "model"]}
    flags["parity"] = ["--export", shutil.copytree(export_dir, tmp_path / "export"), "--data", data_dir]
    flags["bench"] = ["--export", export_dir]
    name, *rest = command.split()
    assert run([name, *rest, *map(str, flags[name]), "--device", "cuda"]) == 5
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "cuda asked for" in error


def test_an_error_in_a_real_process_is_one_line_and_debug_shows_its_traceback(tmp_path: Path) -> None:
    code = "from aae_toolkit.cli.app import main; main()"
    arguments = ["evaluate", "--model", str(tmp_path / "absent"), "--data", str(tmp_path)]
    done = in_a_new_process(code, *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    debugged = in_a_new_process(code, *arguments, "--debug")
    assert debugged.returncode == 1
    assert debugged.stderr.startswith("Traceback (most recent call last):")
    assert debugged.stderr.endswith(done.stderr)


def test_an_internal_error_is_one_line_and_debug_shows_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise LookupError("a\nb")

    monkeypatch.setattr("aae_toolkit.machine.doctor.diagnose", broken)
    assert run(["doctor"]) == 1
    assert capsys.readouterr().err == "aae: internal error: LookupError: a b; --debug shows the traceback\n"
    assert status_of(lambda: main(["--debug", "doctor"])) == 1
    error = capsys.readouterr().err
    assert "Traceback (most recent call last):" in error
    assert error.endswith("aae: internal error: LookupError: a b\n")


def test_interrupting_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("aae_toolkit.machine.doctor.diagnose", interrupted)
    assert run(["doctor"]) == 130
    assert capsys.readouterr().err == "aae: interrupted\n"


@pytest.mark.parametrize("error", [SystemError("returned a result with an exception set"), AaeError("a is damaged")])
def test_an_interrupt_of_which_a_library_makes_an_error_stays_one(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrapped() -> None:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise error

    monkeypatch.setattr("aae_toolkit.machine.doctor.diagnose", wrapped)
    assert status_of(lambda: main(["doctor"])) == 130
    assert capsys.readouterr().err == "aae: interrupted\n"


def test_termination_ends_a_command_as_an_interrupt_does_and_the_handler_goes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("aae_toolkit.machine.doctor.diagnose", lambda: signal.raise_signal(signal.SIGTERM))
    before = [signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)]
    assert status_of(lambda: main(["doctor"])) == 143
    assert capsys.readouterr().err == "aae: terminated\n"
    assert [signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)] == before
    monkeypatch.setattr("aae_toolkit.machine.doctor.diagnose", lambda: signal.raise_signal(signal.SIGINT))
    assert status_of(lambda: main(["doctor"])) == 130


@pytest.mark.parametrize("error", [OSError(28, "No space left on device", "a.png"), PermissionError(13, "no", "a.png")])
def test_what_the_machine_refuses_is_no_internal_error(
    error: OSError, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise error

    monkeypatch.setattr("aae_toolkit.machine.doctor.diagnose", refuse)
    assert run(["doctor"]) == 1
    assert capsys.readouterr().err == f"aae: a.png cannot be read or written: {error.strerror}\n"


@pytest.mark.parametrize(
    ("package", "arguments", "extra"),
    [
        ("torch", ["train", "unsupervised", "--data", "."], "train,cpu"),
        ("torch", ["evaluate", "--data", ".", "--model", "."], "train,cpu"),
        ("torch", ["export", "--model", "."], "train,cpu"),
        ("sklearn", ["init-datasets", "--data", ".", "--source", "digits"], "train,cpu"),
        ("onnxruntime", ["predict", "x.png", "--model", "classifier.onnx"], "cpu"),
    ],
)
def test_a_missing_package_is_said_with_the_extra_that_brings_it(
    package: str, arguments: list[str], extra: str, data_dir: Path
) -> None:
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {package!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
from aae_toolkit.cli import commands
from aae_toolkit.cli.app import main
main()
"""
    done = in_a_new_process(code, *[str(data_dir) if a == "." else a for a in arguments])
    needs = f'{package} is not installed; this command needs: pip install "aae-toolkit[{extra}]"'
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"aae: {needs}"]


def test_every_extra_that_is_named_is_one_of_the_package_s() -> None:
    project = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    for extra in {name for extras in app._EXTRAS.values() for name in extras.split(",")}:
        assert f"\n{extra} = [" in project


def test_evaluate_prints_one_json_object_and_nothing_else(
    model_dir: Path, data_dir: Path, variant: Variant, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--model", str(model_dir), "--data", str(data_dir), "--split", "test", "--json"]
    assert run(["evaluate", *flags]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    scores = json.loads(printed.out)
    assert (scores["variant"], scores["split"], scores["n"]) == (variant, "test", 60)
    for key in ("accuracy", "majority_accuracy", "balanced_accuracy", "macro_f1"):
        assert 0 <= scores[key] <= 1
    assert (scores["hungarian_accuracy"] is None) == (variant == "unsupervised")  # 4 categories for 3 classes
    assert {"nmi", "ari"} <= scores.keys()
    assert [row["class_name"] for row in scores["per_class"]] == ["row_0", "row_1", "row_2"]
    assert sum(map(sum, scores["confusion"])) == 60
    assert run(["evaluate", *flags[:-1]]) == 0
    shown = capsys.readouterr().out
    own = [f"{100 * scores[key]:.2f}%" for key in ("accuracy", "balanced_accuracy", "macro_f1")]
    assert re.search(rf"this model\W+{own[0]}\W+{own[1]}", shown)
    assert f"macro-F1 {own[2]}" in shown


def test_a_training_is_resumed_or_replaced_only_when_asked(
    data_dir: Path, tiny_yaml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--data", str(data_dir), "--output", str(tmp_path), "--config", str(tiny_yaml)]
    train = ["train", "semi-supervised", *flags, "--device", "cpu"]
    assert run(train) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "data: 30 labelled and 90 unlabelled training images, 60 validation and 60 test images"
    assert lines[1].rstrip() == "settings that differ from the defaults"
    assert any(re.search(r"model +. hidden_size 16 +. tiny\.yaml", line) for line in lines)
    assert run(train) == 2
    assert capsys.readouterr().out == ""  # a refusal is all that is said
    assert run([*train, "--resume"]) == 0
    assert "resuming after 2 epochs and 0 steps\n" in capsys.readouterr().out
    assert run([*train, "--overwrite", "--n-epochs", "1"]) == 0
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1


def test_init_datasets_of_the_seed_writes_a_data_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(seed.init_datasets, "--dir-path", str(tmp_path), "--source", "digits") == 0
    sizes = "300 [labeled trainset] 837 [un-labeled trainset] 300 [validation] 360 [test]"
    assert f"dataset size in use: {sizes}" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} >= {"dataset.json", "train_labeled.npz", "test.npz"}


def test_the_seed_s_flags_train_and_draw_in_the_data_directory(
    data_dir: Path, tiny_yaml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = shutil.copytree(data_dir, tmp_path / "data")
    flags = ["--dir-path", str(data), "--n-epochs", "1", "--z-size", "2", "--n-classes", "4", "--batch-size", "16"]
    assert status_of(seed.train_semi_supervised, *flags) == 0  # on the seed's own configuration
    assert "using configuration: {'learning_rates': {'auto_encoder_lr': 0.0008" in capsys.readouterr().out
    assert status_of(seed.train_unsupervised, *flags, "--config-path", str(tiny_yaml)) == 0
    for variant in ("semi_supervised", "unsupervised"):
        written = {path.name for path in (data / variant).iterdir()}
        assert written >= {
            "config.yml",
            "model.json",
            f"encoder_{variant}.safetensors",
            f"decoder_{variant}.safetensors",
        }
        assert list((data / variant).glob("*.png"))
    capsys.readouterr()

    model = data / "unsupervised"
    flags = ["--dir-path", str(data), "--model-dir-path", str(model), "--mode", "unsupervised", "--n-classes", "4"]
    assert status_of(seed.generate_model_visualization, *flags, "--z-size", "5") == 0  # as the seed's example has it
    printed = capsys.readouterr().out
    assert "--z-size 5 is ignored" in printed
    assert re.search(r"^Label row_0: \d+\.\d\d%, Best matching label; \d$", printed, re.M)
    assert re.search(r"^ACCURACY: \d+\.\d\d%$", printed, re.M)
    assert "most often mistaken for" not in printed
    assert run(["visualize", "--data", str(data), "--model", str(model)]) == 0
    printed = capsys.readouterr().out
    assert "most often mistaken for" in printed
    assert "Best matching label" not in printed
    drawn = {path.name: path.read_bytes() for path in (model / "visualization").iterdir()}
    assert drawn.keys() == PICTURES | {"learned_modes.png"}
    assert all(content.startswith(b"\x89PNG") for content in drawn.values())


def test_without_a_configuration_settings_are_chosen_said_and_kept(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, model = shutil.copytree(data_dir, tmp_path / "data"), tmp_path / "model"
    command = ["train", "semi-supervised", "--data", str(data), "--output", str(model)]
    assert run([*command, "--n-epochs", "1", "--z-size", "2"]) == 0
    printed = capsys.readouterr().out
    for choice in ("network", "augmentation", "length", "terms"):
        assert re.search(rf"^. {choice} ", printed, re.MULTILINE)
    assert printed.count("3 convolution stages") + printed.count("fully connected") == 1  # each reason once
    assert "{" not in printed
    assert re.search(r"flags +. z_size 2, n_epochs 1 +. instead of z_size 5, n_epochs \d+", printed)
    config = yaml.safe_load((model / "config.yml").read_text())["semi_supervised"]
    assert config["training"]["n_epochs"] == 1  # a flag wins
    assert config["consistency"]["lambda_pseudo_labels"] > 0
    assert run([*command, "--n-epochs", "1", "--z-size", "2", "--resume"]) == 0
    assert (
        f"settings: those of the training in {model}\n" in capsys.readouterr().out
    )  # a resumed run keeps its settings


@one_variant
def test_a_model_without_a_mode_decoder_has_nine_pictures(
    model_dir: Path, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = shutil.copytree(model_dir, tmp_path / "model")
    assert run(["visualize", "--model", str(model), "--data", str(data_dir)]) == 0
    assert "9 pictures written" in capsys.readouterr().out
    assert {path.name for path in (model / "visualization").iterdir()} == PICTURES


def test_progress_is_a_bar_on_a_terminal_and_plain_lines_elsewhere() -> None:
    from rich.console import Console

    from aae_toolkit.cli.options import ConsoleProgress

    for terminal in (True, False):
        progress = ConsoleProgress()
        progress.console = Console(file=io.StringIO(), force_terminal=terminal, width=80, highlight=False)
        assert list(progress.track(range(3), "counting", 3)) == [0, 1, 2]
        progress.say("done [1, 2]")
        written = progress.console.file.getvalue()  # type: ignore[attr-defined]
        assert ("counting" in written) == terminal
        assert "done [1, 2]" in written


def test_a_model_is_not_scored_on_data_with_other_classes(
    model_dir: Path, export_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = replace(tiny_source(), class_names=("x", "y", "z"))
    write_data_directory(tmp_path, other, None, None, None, seed=0)
    for command in (
        ["evaluate", "--model", str(model_dir)],
        ["parity", "--export", str(export_dir)],
        ["visualize", "--model", str(model_dir)],
    ):
        assert run([*command, "--data", str(tmp_path)]) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "the model's classes are row_0, row_1, row_2; the data's are x, y, z" in error


def test_an_export_of_a_replaced_model_proves_nothing(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump({"semi_supervised": {"model": TINY_MODEL, "training": TINY_TRAINING}}))
    model = tmp_path / "model"
    train = ["train", "semi-supervised", "--data", str(data_dir), "--config", str(config)]
    train += ["--output", str(model)]
    assert run(train) == 0
    assert run(["export", "--model", str(model), "--format", "torchscript"]) == 0
    assert run([*train, "--overwrite", "--seed", "1"]) == 0
    capsys.readouterr()
    assert run(["parity", "--export", str(model / "export"), "--data", str(data_dir)]) == 1
    assert f"holds no manifest.json; write one with: aae export --model {model}" in capsys.readouterr().err


def every_command(command: Any = None, words: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    command = command or typer.main.get_command(commands.application())
    inner = getattr(command, "commands", {})
    return {words: command} | {w: c for n, one in inner.items() for w, c in every_command(one, (*words, n)).items()}


LONGER_NAMES = [
    (words, longer)
    for words, command in every_command().items()
    for longer, shown in LONGER.items()
    if any(shown in parameter.opts for parameter in command.params)
]


@pytest.mark.parametrize(("words", "longer"), LONGER_NAMES)
def test_every_command_takes_the_longer_name_of_a_flag_and_help_shows_the_short_one(
    words: tuple[str, ...], longer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*words, "--help"]) == 0
    printed = capsys.readouterr().out
    assert f"{LONGER[longer]} " in printed
    assert longer not in printed
    for arguments in ([longer, "x"], [f"{longer}=x"], [LONGER[longer], "x"]):
        context = every_command()[words].make_context("aae", arguments, resilient_parsing=True)
        assert "x" in map(str, context.params.values())


def test_predict_takes_the_longer_names_and_an_export_as_its_model() -> None:
    for model in ("--model", "--model-dir-path", "--export", "--export-dir-path"):
        for output in ("-o", "--output", "--output-path", "--output-dir-path"):
            given = parsed(["a.png", model, "m", output, "o.csv"])
            assert (given.model, given.output) == (Path("m"), Path("o.csv"))
    assert parsed(["--export=m", "--", "--export"]).images == ["--export"]


@pytest.mark.parametrize("program", commands.SEED_COMMANDS)
def test_a_script_of_the_seed_shows_its_own_name_and_flags(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    script = getattr(seed, program)
    for flag in ("--help", "-h"):
        assert status_of(script, flag) == 0
        shown = capsys.readouterr().out
        assert shown.startswith(f"Usage: {program} [OPTIONS]\n")
        assert "--dir-path" in shown
        assert not re.search(r"--(data|model|config) ", shown)
    assert ("[default: seed]" in " ".join(shown.split())) == program.startswith("train")
    assert all(flag in shown for flag in ("--mode", "--n-classes", "--z-size")) or "visualization" not in program
    assert status_of(script) == 2
    assert "Missing option '--" in capsys.readouterr().err
    assert status_of(script, "-V") == 0
    assert capsys.readouterr().out == f"{__version__}\n"


HELPED = [words for words in every_command() if words] + [()]


@pytest.mark.parametrize("words", HELPED)
def test_help_has_words_instead_of_types_and_comparisons(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*words, "-h"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"Usage: aae {' '.join(words)}".rstrip())
    assert re.findall(r"<(?:int|str|path|float|bool|list)\b[^>]*>|x[<>]=|[<>]=x|\{\w+[,}]|\.\.\.$", printed) == []
    assert re.findall(r"^  (-\S+(?:, -\S+)? [a-z_]+)  ", printed, re.MULTILINE) == []  # no value without a word for it


def test_help_lists_the_commands_in_the_order_of_the_pipeline_under_their_sections(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["-h"]) == 0
    printed = capsys.readouterr().out
    listed = re.findall(r"^(\w[\w ]*):$|^  ([a-z][a-z-]+)  ", printed, re.MULTILINE)
    expected = [entry for title, names in SECTIONS.items() for entry in (title, *names)]
    assert [title or name for title, name in listed][1:] == expected  # after "Options"
    assert set(expected) - set(SECTIONS) == {words[0] for words in every_command() if words}


@pytest.mark.parametrize("words", [words for words in every_command() if len(words) == 2])
def test_no_default_in_the_help_contradicts_a_configuration(words: tuple[str, ...]) -> None:
    keys = {*ModelConfig.model_fields, *SemiSupervisedTrainingConfig.model_fields} - {"deterministic"}
    for parameter in every_command()[words].params:
        if parameter.name in keys:
            assert "default: the configuration's" in " ".join(parameter.help.split()), parameter.name
            assert parameter.default is None


COMPLETIONS = [
    ("aae ", COMMANDS_IN_ORDER),
    ("aae tr", ["train"]),
    ("aae train ", ["semi-supervised", "unsupervised"]),
    ("aae train semi-supervised --config labels-100", ["labels-100", "labels-100-mlp", "labels-1000"]),
    ("aae train semi-supervised --config a", ["auto"]),
    ("aae tune unsupervised --config q", ["quick"]),
    ("aae init-datasets --source ", ["mnist", "fashion-mnist", "kmnist", "digits", "folder"]),
    ("aae init-datasets --source f", ["fashion-mnist", "folder"]),
    ("aae evaluate --spl", ["--split"]),
    ("aae evaluate --split t", ["test"]),
    ("aae evaluate --dir", []),
    ("aae export --format t", ["torchscript", "torch-export"]),
    ("aae bench --device cu", ["cuda"]),
    ("aae predict --in", ["--invert"]),
    ("aae predict --invert ", ["as-trained", "auto", "yes", "no"]),
    ("aae predict a.png --engine r", ["ray"]),
    ("aae predict im", []),
    ("aae predict --model ", []),
    ("aae predict --json im", []),
]


@pytest.mark.parametrize(("line", "expected"), COMPLETIONS)
def test_the_shell_completes_commands_flags_choices_and_names(
    line: str, expected: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_AAE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
    assert run([]) == 0
    assert sorted(capsys.readouterr().out.split()) == sorted(expected)


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_with_the_script_that_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--show-completion", "bash"]) == 0
    script = capsys.readouterr().out
    program = tmp_path / "aae"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m aae_toolkit "$@"\n')
    program.chmod(0o755)
    asked = 'COMP_WORDS=(aae predict --inv); COMP_CWORD=2; _aae_completion aae; echo "${COMPREPLY[*]}"'
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["bash", "-c", script + asked]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "--invert\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_installed_for_the_shell_that_is_named_or_runs(
    shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run(["--install-completion", shell]) == 0
    assert f"completion for {shell} written to {tmp_path}" in capsys.readouterr().out
    assert run(["--show-completion", shell]) == 0
    script = capsys.readouterr().out
    assert "complete_" + shell in script
    monkeypatch.setattr("shellingham.detect_shell", lambda: (shell, f"/bin/{shell}"))
    assert run(["--show-completion"]) == 0
    assert capsys.readouterr().out == script


def test_completion_asks_for_the_name_of_a_shell_that_it_cannot_tell_or_does_not_know(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ShellDetectionFailure

    monkeypatch.setattr("shellingham.detect_shell", fail)
    assert run(["--install-completion"]) == 2
    asked = "name one: aae --install-completion bash|zsh|fish|powershell|pwsh\n"
    assert capsys.readouterr().err == f"aae: the shell cannot be told; {asked}"
    assert run(["--install-completion", "tcsh"]) == 2
    assert capsys.readouterr().err == f"aae: there is no completion for tcsh; {asked}"


@one_variant
def test_quiet_prints_results_alone(
    model_dir: Path,
    export_dir: Path,
    data_dir: Path,
    tmp_path: Path,
    tiny_yaml: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    model, data = shutil.copytree(model_dir, tmp_path / "model"), str(data_dir)
    train = ["train", "semi-supervised", "--data", data, "--config", str(tiny_yaml), "--device", "cpu"]
    silent = (
        ["init-datasets", "--data", str(tmp_path / "data"), "--source", "digits"],
        [*train, "-o", str(tmp_path / "new")],
        ["export", "--model", str(model), "-o", str(tmp_path / "export"), "--format", "onnx"],
        ["report", "--model", str(model), "-o", str(tmp_path / "report.html")],
    )
    for command in silent:
        assert run([*command, "-q"]) == 0
        assert capfd.readouterr() == ("", "")
    for command, result in (
        (["evaluate", "--model", str(model), "--data", data], "accuracy"),
        (["parity", "--export", str(shutil.copytree(export_dir, tmp_path / "e")), "--data", data], "parity: proven"),
        (["verify", str(export_dir)], "parity: proven"),
    ):
        assert run([*command, "--quiet"]) == 0
        printed = capfd.readouterr()
        assert result in printed.out
        assert printed.err == ""


def test_verbose_prints_every_setting(
    data_dir: Path, tiny_yaml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--data", str(data_dir), "-o", str(tmp_path), "--config", str(tiny_yaml), "--device", "cpu", "-v"]
    assert run(["train", "unsupervised", *flags]) == 0
    printed = capsys.readouterr().out
    for line in (tmp_path / "config.yml").read_text().splitlines():
        assert line in printed or "n_classes" in line  # resolved when training starts


def test_settings_at_their_defaults_are_said_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    config = load_config("seed", "semi_supervised")
    for progress in (ConsoleProgress(), ConsoleProgress(quiet=True)):
        show_settings(config, config, [], "seed", progress, verbose=False)
    assert capsys.readouterr().out == "settings: the defaults (seed)\n"


def test_quiet_says_that_images_are_left_out_and_how_to_see_which(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("cat", "dog"):
        for number in range(10):
            (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), 20 * number + 5 * (name == "cat")).save(tmp_path / "photos" / name / f"{number}.png")
    (tmp_path / "photos" / "cat" / "broken.png").write_bytes(b"no image")
    command = ["init-datasets", "--data", str(tmp_path / "data"), "--source", "folder"]
    command += ["--raw-dir", str(tmp_path / "photos"), "--image-size", "8", "-q", "--conflicts", "drop", "--test", "0"]
    assert run([*command, "--validation", "4"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.endswith("data holds the others; leave out --quiet to see which\n")
