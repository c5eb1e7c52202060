"""On a Ray of two workers, started once: `make test` runs these too."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_files import png16
from exports import one_variant
from PIL import Image
from refusals import refused

from aae_toolkit.cli.app import run
from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.data.paths import image_files
from aae_toolkit.data.preparation import Preparation
from aae_toolkit.errors import UsageError
from aae_toolkit.predict import Prediction, predict
from aae_toolkit.predict.classifier_file import ClassifierFile
from aae_toolkit.predict.on_ray import Cluster, Options, Outcome, predict_ray
from aae_toolkit.predict.parts import FILE_NAME, PartsManifest
from aae_toolkit.predict.shards import INPUT_SUFFIXES
from aae_toolkit.progress import Silent

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
ray = pytest.importorskip("ray", reason="the ray extra is not installed")
import pyarrow as pa
from pyarrow import parquet

pytestmark = one_variant


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a Ray with room for two workers, which this process is in."""
    options = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 80 * 2**20, "log_to_driver": False}
    try:
        context = ray.init("local", **options)
    except Exception:  # on a busy machine it may not be up within the 30 s that it gives itself
        ray.shutdown()
        context = ray.init("local", **options)
    yield context.address_info["address"]
    ray.shutdown()


@pytest.fixture(scope="module")
def images(data_dir: Path) -> np.ndarray:
    data = DataDirectory(data_dir)
    return np.concatenate([data.load(name).images for name in ("test", "validation", "train_unlabeled")])


@pytest.fixture(scope="module")
def folder(images: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """210 png files, and one that is none."""
    folder = tmp_path_factory.mktemp("images")
    for index, image in enumerate(images):
        Image.fromarray(image[0]).save(folder / f"{index:03}.png")
    (folder / "100a.png").write_text("no image")
    return folder


def label(export_dir: Path, inputs: list[Path], output: Path, **options: Any) -> Outcome:
    files = image_files(map(str, inputs), sys.stdin.buffer, INPUT_SUFFIXES)
    given = {"cluster": Cluster(concurrency=2), "options": Options(), "progress": Silent()} | options
    return predict_ray(export_dir / "classifier.onnx", files, output, **given)


def rows_of(output: Path) -> list[Prediction]:
    keys = "path", "label", "class_name", "probability", "error"
    return [Prediction(**{key: row[key] for key in keys}) for row in parquet.read_table(output).to_pylist()]


def renamed(path: str, prediction: Prediction) -> Prediction:
    return prediction._replace(path=path)


def assert_same(found: list[Prediction], expected: list[Prediction]) -> None:
    """Row for row; probabilities to float32's rounding, for batches are cut elsewhere."""
    assert [(p.path, p.label, p.class_name, p.error) for p in found] == [
        (p.path, p.label, p.class_name, p.error) for p in expected
    ]
    probabilities = [[p.probability for p in side if p.error is None] for side in (found, expected)]
    np.testing.assert_allclose(*probabilities, rtol=0, atol=1e-6)


def workers() -> set[int]:
    """Process numbers of Ray's workers that are labelling."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            title = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if title.startswith(b"ray::") and b"MapBatches(_Worker)" in title:
            found.add(int(process.name))
    return found


def maps(process: int) -> list[str]:
    try:
        return Path(f"/proc/{process}/maps").read_text().splitlines()
    except OSError:  # it ended
        return []


@pytest.mark.slow
def test_rows_are_those_of_one_process_from_folders_npz_and_parquet(
    address: str, export_dir: Path, folder: Path, images: np.ndarray, tmp_path: Path
) -> None:
    np.savez(tmp_path / "x.npz", images=images)
    files = sorted(folder.iterdir())
    encoded = [path.read_bytes() for path in files]
    parquet.write_table(pa.table({"image": encoded}), tmp_path / "x.parquet", row_group_size=50)
    inputs = [folder, tmp_path / "x.npz", tmp_path / "x.parquet"]
    outcome = label(export_dir, inputs, tmp_path / "output", shard_size=64)
    assert outcome == Outcome(str(tmp_path / "output"), 632, errors=2, parts=4 + 4 + 4, parts_before=0, notes={})
    one_process = list(predict(export_dir / "classifier.onnx", files))
    assert len({p.label for p in one_process}) > 2
    found = rows_of(tmp_path / "output")
    assert_same(found[:211], one_process)
    readable = [p for p in one_process if p.error is None]
    assert_same(found[211:421], [renamed(f"{inputs[1]}#{i}", p) for i, p in enumerate(readable)])
    assert_same(found[421:], [renamed(f"{inputs[2]}#{i}", p) for i, p in enumerate(one_process)])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the worker to kill through /proc")
def test_a_worker_killed_half_way_costs_no_row_and_doubles_none(
    address: str, export_dir: Path, folder: Path, tmp_path: Path
) -> None:
    large = tmp_path / "large.png"
    Image.new("L", (3000, 3000)).save(large)  # takes long enough for a shard to be half way for seconds
    paths = [*sorted(folder.iterdir())[:120], *[large] * 120]
    paths = [paths[i // 2 + 120 * (i % 2)] for i in range(240)]
    parquet.write_table(pa.table({"image": [str(path) for path in paths]}), tmp_path / "x.parquet", row_group_size=40)
    output = tmp_path / "output"
    killed, repeated = [], threading.Event()

    def attempts(n: int) -> list[Path]:
        return [path for path in output.glob(".*.attempts") if path.stat().st_size == n]

    def kill() -> None:
        while not killed:
            at_work = [n for n in workers() if not any("libtorch" in line for line in maps(n))]
            unfinished = [path for path in attempts(1) if not (output / path.name[1 : -len(".attempts")]).exists()]
            if at_work and len(unfinished) >= len(at_work):  # all workers are half way
                os.kill(at_work[0], signal.SIGKILL)
                killed.append(at_work[0])
        while not attempts(2):
            time.sleep(0.01)
        repeated.set()

    threading.Thread(target=kill, daemon=True).start()
    outcome = label(export_dir, [tmp_path / "x.parquet"], output, shard_size=40)
    assert len(killed) == 1
    assert repeated.wait(10)
    assert (outcome.rows, outcome.errors, outcome.parts) == (240, 1, 6)
    one_process = predict(export_dir / "classifier.onnx", paths)
    assert_same(rows_of(output), [renamed(f"{tmp_path}/x.parquet#{i}", p) for i, p in enumerate(one_process)])
    parts = {f"part-{index:05}.parquet" for index in range(6)}
    assert {path.name for path in output.iterdir()} == {FILE_NAME, *parts}


@pytest.mark.slow
def test_a_rerun_makes_only_what_is_missing_on_a_cluster_that_runs_already(
    address: str, export_dir: Path, folder: Path, images: np.ndarray, tmp_path: Path
) -> None:
    output, model = tmp_path / "output", str(export_dir / "classifier.onnx")
    command = ["predict", str(folder), "--model", model, "--engine", "ray", "--output", str(output), "--json"]
    command += ["--shard-size", "40", "--concurrency", "1", "--address", address]
    code = "import sys; from aae_toolkit.cli.app import run; status = run(sys.argv[1:])\n"
    code += "assert 'torch' not in sys.modules; sys.exit(status)"

    def aae() -> tuple[int, dict[str, Any], str]:
        done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=False)
        return done.returncode, json.loads(done.stdout), done.stderr.splitlines()[-1]

    said = "aae: 1 of 211 images could not be read; their rows have an error"
    summary = {"output": str(output), "rows": 211, "errors": 1, "parts": 6, "parts_before": 0, "notes": {}}
    assert aae() == (1, summary, said)
    expected = rows_of(output)
    kept = {name: (output / f"part-0000{name}.parquet").stat().st_mtime_ns for name in (0, 1, 3, 5)}
    (output / "part-00002.parquet").unlink()
    (output / "part-00004.parquet").write_bytes(b"PAR1")
    assert aae() == (1, summary | {"parts_before": 4}, said)
    assert rows_of(output) == expected
    assert {name: (output / f"part-0000{name}.parquet").stat().st_mtime_ns for name in kept} == kept
    assert run(command) == 1  # nothing is left to do, so no Ray is asked
    assert PartsManifest.model_validate_json((output / FILE_NAME).read_text()).errors == 1


@pytest.mark.slow
def test_a_worker_that_fails_is_one_line_and_what_it_finished_stays(
    address: str, export_dir: Path, folder: Path, images: np.ndarray, tmp_path: Path
) -> None:
    np.savez(tmp_path / "x.npz", images=images)

    class Spoiler(Silent):
        def track(self, items: Any, *_: Any) -> Any:
            (tmp_path / "x.npz").unlink()
            return items

    inputs = [folder, tmp_path / "x.npz"]
    with refused("a worker failed", "x.npz", "run the same command again to continue"):
        label(export_dir, inputs, tmp_path / "output", progress=Spoiler(), shard_size=211)
    np.savez(tmp_path / "x.npz", images=images)
    with refused("has changed", kind=UsageError):
        label(export_dir, inputs, tmp_path / "output", shard_size=211)
    assert len(rows_of(tmp_path / "output")) == 211


@pytest.mark.slow
def test_no_room_for_a_worker_is_refused(address: str, export_dir: Path, folder: Path, tmp_path: Path) -> None:
    for cluster in (Cluster(num_cpus=3), Cluster(num_cpus=3, concurrency=1)):
        with refused("no room for a worker of 3 CPUs and 0 GPUs: Ray has 2 CPUs and 0 GPUs", kind=UsageError):
            label(export_dir, [folder], tmp_path / "output", cluster=cluster)
    with refused("no room for a worker of 1 CPUs and 0.5 GPUs", kind=UsageError):
        label(export_dir, [folder], tmp_path / "output", cluster=Cluster(num_gpus=0.5))


def test_an_address_where_no_ray_answers_is_refused_with_status_5(
    export_dir: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("Could not find any\nrunning Ray instance.")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", fail)
    command = ["predict", str(folder), "--model", str(export_dir / "classifier.onnx"), "--engine", "ray"]
    assert run([*command, "--output", str(tmp_path / "x"), "--address", "nowhere:1"]) == 5
    assert capsys.readouterr().err == "aae: no Ray at nowhere:1: Could not find any running Ray instance.\n"


def test_what_cannot_be_done_is_refused_before_ray_is_started(
    export_dir: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(export_dir / "classifier.onnx")
    on_ray = ["--engine", "ray", "--output", str(tmp_path / "x")]
    for options, status, said in (
        (["--engine", "ray"], 2, "--engine ray writes a directory of Parquet files; name it with --output"),
        (["--address", "auto"], 2, "--address needs --engine ray"),
        (["--shard-size", "10"], 2, "--shard-size needs --engine ray"),
        ([*on_ray, "--threads", "2"], 2, "--threads is for --engine local; use --num-cpus"),
        ([*on_ray, "--num-cpus", "0"], 2, "--num-cpus"),
        ([*on_ray, "--num-gpus", "-1"], 2, "--num-gpus"),
        (["--engine", "spark"], 2, "--engine"),
        (["--engine", "ray", "--output", str(folder)], 2, "is neither empty nor a directory of predictions"),
    ):
        assert run(["predict", str(folder), "--model", model, *options]) == status
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    np.savez(tmp_path / "x.npz", images=np.zeros((2, 1, 6, 6), np.uint8))
    assert run(["predict", str(tmp_path / "x.npz"), "--model", model, *on_ray, "--invert", "yes"]) == 2
    assert "--invert is for image files" in capsys.readouterr().err
    decoder = str(export_dir / "decoder.onnx")
    assert run(["predict", str(folder), "--model", decoder, "--engine", "ray", "--output", str(tmp_path / "x")]) == 1
    assert "is not a classifier written by aae export" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_without_the_extra_a_line_says_what_to_install(
    export_dir: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["predict", str(folder), "--engine", "ray", "--model", str(export_dir / "classifier.onnx"), "--output"]
    for module in ("ray", "ray.data"):
        monkeypatch.setitem(sys.modules, module, None)
    assert run([*command, str(tmp_path / "x")]) == 1
    assert (
        capsys.readouterr().err == 'aae: ray is not installed; this command needs: pip install "aae-toolkit[cpu,ray]"\n'
    )


@pytest.mark.slow
def test_pictures_are_prepared_as_for_training_and_notes_are_counted(
    address: str, export_dir: Path, images: np.ndarray, tmp_path: Path
) -> None:
    """From files and from Parquet, with a model that was trained on inverted pictures."""
    import onnx

    model = onnx.load(export_dir / "classifier.onnx")
    facts = {p.key: p.value for p in model.metadata_props} | {
        "aae.preparation": Preparation(invert="yes", range=(0, 4095)).to_json()
    }
    onnx.helper.set_model_props(model, facts)
    (tmp_path / "model").mkdir()
    onnx.save(model, tmp_path / "model" / "classifier.onnx")
    (tmp_path / "files").mkdir()
    for index, image in enumerate(images[:20]):
        png16(tmp_path / "files" / f"{index:02}.png", 4095 - image[0].astype(int) * 16)
    files = sorted((tmp_path / "files").iterdir())
    parquet.write_table(pa.table({"image": [path.read_bytes() for path in files]}), tmp_path / "x.parquet")
    outcome = label(tmp_path / "model", [tmp_path / "files", tmp_path / "x.parquet"], tmp_path / "output", shard_size=9)
    assert (outcome.rows, outcome.errors, outcome.notes) == (40, 0, {"inverted": 40})
    labels = [row.label for row in rows_of(tmp_path / "output")]
    with ClassifierFile(export_dir / "classifier.onnx") as classifier:
        assert labels == classifier.run(images[:20])["label"].tolist() * 2
