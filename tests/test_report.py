import base64
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import chromium_page, needs_chromium
from builds import Builds
from conftest import tiny_source
from exports import one_variant
from pages import Reader, measured, report_of
from PIL import Image
from refusals import refused

from aae_toolkit.bench.results import BenchReport
from aae_toolkit.cli.app import run
from aae_toolkit.config import Variant
from aae_toolkit.data.directory import DataDirectory, write_data_directory
from aae_toolkit.evaluation import Evaluation, evaluate, score
from aae_toolkit.export.manifest import WEIGHTS_FILE, read_manifest
from aae_toolkit.files import sha256
from aae_toolkit.models.description import read_description
from aae_toolkit.models.directory import load_model
from aae_toolkit.progress import Silent
from aae_toolkit.report import gallery
from aae_toolkit.report.contents import Contents, Sources, gather
from aae_toolkit.report.evidence import open_export
from aae_toolkit.report.gallery import Caption, collect, picture_captions
from aae_toolkit.report.report_page import render
from aae_toolkit.report.scores import MixUp, by_class, confusion, mix_ups
from aae_toolkit.report.training import Setting, read_training
from aae_toolkit.visualization.curves import draw_learning_curves
from aae_toolkit.visualization.many import MOST
from aae_toolkit.visualization.pictures import draw_all

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "{{ 7 * 6 }} &amp;")


def tell(path: Path, model_dir: Path, data_dir: Path, export_dir: Path) -> None:
    shutil.copytree(model_dir, path, dirs_exist_ok=True)
    shutil.copytree(export_dir, path / "export")
    model = load_model(path)
    draw_learning_curves(path, model.description.variant)
    draw_all(model, DataDirectory(data_dir).load("validation"), path / "visualization", Silent())
    set_verdict(path / "export", passed=True)
    results = [measured("eager", 2.0), measured("onnxruntime", 1.0), measured("eager", 3.0, rate=200.0, p99_bound_ms=2)]
    save_benchmark(path, report_of(*results))


@pytest.fixture(scope="session")
def told_dir(variant: Variant, model_dir: Path, data_dir: Path, export_dir: Path, builds: Builds) -> Path:
    """A model directory with curves, pictures, an export with a verdict, and a benchmark. Copy it to change it."""
    return builds.get(f"{variant}-told", lambda path: tell(path, model_dir, data_dir, export_dir))


def set_verdict(export: Path, *, passed: bool) -> None:
    manifest = read_manifest(export)
    result = {"artifact": "classifier.onnx", "backend": "onnxruntime", "passed": passed, "accuracy": 0.75}
    result["reason"] = "largest difference 1e-06" if passed else "probabilities differs by 0.3; allowed 0.0001"
    parity = {"passed": passed, "n": 60, "split": "test", "tolerance": 1e-4, "results": [result]}
    manifest.model_copy(update={"parity": parity, "accuracy": 0.75}).save(export)


def save_benchmark(model: Path, report: BenchReport) -> None:
    report.environment["weights_sha256"] = read_manifest(model / "export").sha256[WEIGHTS_FILE]
    (model / "bench.json").write_text(json.dumps(report.to_json()))


@pytest.fixture
def told(told_dir: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(told_dir, tmp_path / "model"))


def gathered(model_dir: Path, **sources: Any) -> Contents:
    return gather(Sources(model_dir, open_export(model_dir, None), **sources), Silent())


def page_of(model_dir: Path, command: str = "aae report", **sources: Any) -> Reader:
    return Reader(render(gathered(model_dir, **sources), command))


def contents_of(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def test_a_verdict_names_the_ways_from_image_files(told: Path, data_dir: Path) -> None:
    assert run(["parity", "--export", str(told / "export"), "--data", str(data_dir), "--json"]) == 0
    backends = {result["backend"] for result in (read_manifest(told / "export").parity or {})["results"]}
    assert {"aae predict", "load_classifier", "onnxruntime"} <= backends
    text = render(gathered(told), "aae report")
    assert all(f'<td class="left">{backend}</td>' in text for backend in backends)


def test_the_page_tells_the_whole_story(told: Path, data_dir: Path, tmp_path: Path) -> None:
    before, output = contents_of(told), tmp_path / "new" / "report.html"
    asked = ["--bench", told / "bench.json", "--data", data_dir, "--split", "test"]
    assert run(["report", "--model", str(told), "--output", str(output), *map(str, asked)]) == 0
    assert contents_of(told) == before
    read = Reader(output.read_text(encoding="utf-8"))
    description = read_description(told)
    scored = evaluate(load_model(told), DataDirectory(data_dir).load("test"), "test")
    for name, value in (("balanced accuracy", scored.balanced_accuracy), ("macro-F1", scored.macro_f1)):
        assert re.search(rf"{name} [\d.]+% {100 * value:.2f}%", read.words)  # validation, then test
    for said in (
        f"aae report --model {told} --output {output} --bench {told / 'bench.json'}",
        f"{description.variant.replace('_', '-')} adversarial autoencoder",
        "training.n_epochs 40 35",  # here, and in the default
        "epoch 1 epoch 40",
        "learning_rates: auto_encoder_lr: 0.0008",
        "By class, validation",
        "By class, test",
        "Confusion, test",
        "proven on 60 test images",
        "classifier.onnx onnxruntime fp32 same 75.00% largest difference 1e-06",
        "Not compared: encoder.onnx",
        "over eager",
        "Environment of the benchmark",
        sha256(told / f"encoder_{description.variant}.safetensors"),
        sha256(told / "export" / WEIGHTS_FILE),
    ):
        assert said in read.words
    for absent in (
        "Not drawn yet",
        "Not exported yet",
        "was not checked yet",
        "Not measured here",
        "not measured here",
    ):
        assert absent not in read.words


def test_a_page_is_whole_in_itself_and_its_parts_are_found(told_dir: Path) -> None:
    read = page_of(told_dir, bench=told_dir / "bench.json")
    ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    links = [attributes["href"] for attributes in read.all("a")]
    assert links == [f"#{name}" for name in ids]
    assert len(set(ids)) == len(ids) == read.tags.count("section")
    assert all(
        address.startswith(("data:image/png;base64,", "data:image/svg+xml;base64,", "#")) for address in read.addresses
    )
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(read.tags)
    assert not any(name.startswith("on") for _, attributes in read.elements for name in attributes)
    assert "@import" not in read.styles
    assert "url(" not in read.styles
    [policy] = [m["content"] for m in read.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:;")
    headings = [int(tag[1]) for tag in read.tags if tag in ("h1", "h2", "h3", "h4")]
    assert headings.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(headings))
    assert all(image["alt"] for image in read.all("img"))


def test_pictures_are_inside_as_they_are_and_in_order(told_dir: Path) -> None:
    images = page_of(told_dir).all("img")
    names = [image["alt"].rpartition(": ")[2] for image in images]
    drawn = {p.name: p for p in [*told_dir.glob("*.png"), *(told_dir / "visualization").glob("*.png")]}
    assert set(names) == set(drawn)
    order = [name for name in picture_captions(mode_decoder=True) if name in drawn]
    assert [name for name in names if not name.endswith("_learning_curve.png")] == order
    for image, name in zip(images, names, strict=True):
        content = base64.b64decode(image["src"].partition(",")[2])
        assert content == drawn[name].read_bytes()
        assert Image.open(BytesIO(content)).size == (int(image["width"]), int(image["height"]))


def test_what_is_absent_is_said_with_the_command_that_adds_it(model_dir: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(model_dir, bare, ignore=shutil.ignore_patterns("*.yml", "*.jsonl", "*.png"))
    words = page_of(bare).words
    on_model = f"--model {bare}"
    for said in (
        "There are none in the model directory. aae train draws them",
        "No epoch is recorded: metrics.jsonl",
        f"Not drawn yet: aae visualize {on_model} --data DATA draws them",
        "--data DATA has this page score the validation images",
        f"Not exported yet: aae export {on_model} --output {bare / 'export'} does",
        f"aae parity --export {bare / 'export'} --data DATA proves",
        f"aae bench --export {bare / 'export'} --output BENCH.json",
        "config.yml, which aae train writes, is not in the model directory",
        "parity of exported files not checked",
    ):
        assert said in words


@one_variant
def test_an_export_that_was_not_checked_or_was_refused_is_said(told: Path) -> None:
    set_verdict(told / "export", passed=False)
    words = page_of(told).words
    assert "parity of exported files REFUSED on 60 test images" in words
    assert "not every file is the same classifier" in words
    assert "REFUSED 75.00% probabilities differs by 0.3; allowed 0.0001" in words
    assert "Not measured here: aae bench" in words
    read_manifest(told / "export").model_copy(update={"parity": None}).save(told / "export")
    assert f"Parity was not checked yet: aae parity --export {told / 'export'} --data DATA" in page_of(told).words


@one_variant
def test_names_are_text_not_markup(told: Path, tmp_path: Path) -> None:
    source = tiny_source()
    data = tmp_path / "<b>data"
    hostile = told.rename(tmp_path / "<i>model")
    write_data_directory(data, source.__class__(**vars(source) | {"class_names": HOSTILE}), None, None, None, seed=0)
    for directory in (hostile, hostile / "export"):
        content = json.loads((directory / "model.json").read_text())
        (directory / "model.json").write_text(json.dumps(content | {"class_names": HOSTILE}))
    manifest = read_manifest(hostile / "export")
    sums = manifest.sha256 | {"model.json": sha256(hostile / "export" / "model.json")}
    manifest.model_copy(update={"sha256": sums}).save(hostile / "export")
    read = page_of(hostile, "aae report --output '<u>.html'", data_dir=data)
    assert not {"script", "b", "i", "u"} & set(read.tags)
    assert not any("onerror" in attributes for _, attributes in read.elements)
    for said in (*HOSTILE, "<i>model", "<u>.html"):
        assert said in read.words


@one_variant
def test_with_data_missing_pictures_are_drawn_and_others_are_left_alone(told: Path, data_dir: Path) -> None:
    pictures = told / "visualization"
    kept = pictures / "latent_features_tnse.png"
    for other in set(pictures.glob("*.png")) - {kept}:
        other.unlink()
    before = kept.read_bytes()
    words = page_of(told, data_dir=data_dir).words
    assert [p.name for p in pictures.iterdir()] == [kept.name]
    assert kept.read_bytes() == before
    assert "Not drawn: learned_latent_features.png, modes_and_samples_from_each_label.png" in words
    assert f"aae visualize --model {told} --data {data_dir} draws all" in words
    kept.unlink()
    assert "z_distribution.png" in {i["alt"].rpartition(": ")[2] for i in page_of(told, data_dir=data_dir).all("img")}
    assert (pictures / "z_distribution.png").is_file()


@one_variant
def test_the_test_split_is_read_only_where_it_is_asked_for(told_dir: Path, data_dir: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(data_dir, tmp_path / "data"))
    (data / "test.npz").unlink()
    words = page_of(told_dir, data_dir=data).words
    assert "Confusion, validation" in words
    assert "Confusion, test" not in words
    with refused("test.npz is missing"):
        page_of(told_dir, data_dir=data, split="test")


@one_variant
def test_data_without_labels_is_not_scored(told_dir: Path, tmp_path: Path) -> None:
    source = tiny_source()
    unknown = source.__class__(
        **vars(source) | {"class_names": (), "labels": source.labels * 0 - 1, "default_labeled": 0}
    )
    write_data_directory(tmp_path / "data", unknown, None, None, None, seed=0)
    assert "The data has no labels to compare with." in page_of(told_dir, data_dir=tmp_path / "data").words


def many(n: int = 200) -> Evaluation:
    """Scores of n classes of ten images each; class c is taken for the next one c times in ten, up to nine."""
    names, labels = tuple(f"class {c}" for c in range(n)), np.repeat(np.arange(n), 10)
    found = np.where(np.arange(10 * n) % 10 < np.minimum(labels, 9), (labels + 1) % n, labels)
    y = np.eye(n, dtype=np.float32)[found]
    return score(y, labels, tuple(range(n)), names, "semi_supervised", "validation")


def test_of_many_classes_the_worst_are_in_the_tables_and_the_others_are_summed() -> None:
    rows = by_class(many())
    assert len(rows) == MOST
    assert rows[0].accuracy == pytest.approx(0.1)
    assert (rows[-1].class_name, rows[-1].n) == ("other (171 classes)", 1710)
    assert rows[-1].accuracy == pytest.approx((162 + sum(range(2, 11))) / 1710)
    table = confusion(many())
    assert len(table.names) == len(table.counts) == MOST
    assert (table.names[-1], table.n_others) == ("other (171 classes)", 171)
    assert np.sum(table.counts) == 2000
    few = many(3)
    assert by_class(few) == few.per_class
    assert confusion(few) == (["class 0", "class 1", "class 2"], few.confusion, 0)


@one_variant
def test_a_page_of_many_classes_stays_short(told_dir: Path, data_dir: Path) -> None:
    contents = gathered(told_dir, data_dir=data_dir)
    names = tuple(f"{'a long name ' * 16}{c}" for c in range(200))
    description = contents.description.model_copy(update={"class_names": names})
    page = render(replace(contents, description=description, evaluations=[many()]), "aae report")
    words = Reader(page).words
    for said in (
        "and 170 more",
        "Shown: the 29 least accurate of 200 classes.",
        "Shown: the 29 classes with the most mistakes. The other 171 are summed, and mistakes among them",
        "other (171 classes)",
    ):
        assert said in words
    assert page.count('class="cell') == MOST**2


@one_variant
def test_mistakes_are_listed_most_frequent_first(told_dir: Path, data_dir: Path) -> None:
    [evaluation] = gathered(told_dir, data_dir=data_dir).evaluations
    confused = evaluation.__class__(**vars(evaluation) | {"confusion": [[9, 1, 0], [0, 9, 4], [2, 0, 9]]})
    assert mix_ups(confused) == [MixUp("row_1", "row_2", 4), MixUp("row_2", "row_0", 2), MixUp("row_0", "row_1", 1)]


@one_variant
def test_settings_that_differ_and_the_best_epoch_are_found(told: Path) -> None:
    training = read_training(told, "semi_supervised")
    assert Setting("model.hidden_size", "16", "1000") in training.changed
    assert "training.seed" not in {setting.name for setting in training.changed}
    lines = [{"epoch": 1, "accuracy": 0.5}, {"epoch": 2, "accuracy": 0.9}, {"epoch": 3, "accuracy": None, "late": 1.5}]
    (told / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    training = read_training(told, "semi_supervised")
    assert training.best("accuracy") == lines[1]
    assert training.best("late") == lines[2]
    assert training.best("absent") is None
    words = page_of(told).words
    assert "accuracy 50.00% - late - 1.5" in words
    assert "The best accuracy was 90.00%, after epoch 2." in words


def png(path: Path, side: int = 4) -> Path:
    Image.new("L", (side, side)).save(path)
    return path


def test_known_pictures_come_first_and_others_by_name(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "known.png", ".hidden.png"):
        png(tmp_path / name)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "directory.png").mkdir()
    captions = {"absent.png": Caption("Absent", ""), "known.png": Caption("Known", "What it is.")}
    collected = collect(tmp_path, captions)
    assert [picture.file for picture in collected.pictures] == ["known.png", "a.png", "b.png"]
    assert [picture.caption.title for picture in collected.pictures] == ["Known", "a.png", "b.png"]
    assert list(collected.absent) == ["absent.png"]
    assert collect(tmp_path / "nowhere", captions).absent == captions


def test_what_is_too_large_is_left_out_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n_bytes = max(png(tmp_path / f"{name}.png").stat().st_size for name in "abc")
    assert collect(tmp_path, {}, room=2 * n_bytes).left_out == [
        ("c.png", "all pictures of a page may have 0 kB in total")
    ]
    monkeypatch.setattr(gallery, "_LARGEST", n_bytes - 1)
    collected = collect(tmp_path, {})
    assert collected.pictures == []
    assert [name for name, _ in collected.left_out] == ["a.png", "b.png", "c.png"]


@one_variant
def test_the_command_says_its_size_and_what_it_left_out(
    told: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["report", "--model", str(told), "--output", str(tmp_path / "report.html")]
    png(told / "visualization" / "huge.png", side=2000)
    monkeypatch.setattr(gallery, "_LARGEST", (told / "visualization" / "huge.png").stat().st_size - 1)
    assert run(arguments) == 0
    said = capsys.readouterr().out
    assert " kB with " in said
    assert "too large and left out: " in said
    assert "huge.png" in said
    assert "Left out: huge.png, because it has" in Reader((tmp_path / "report.html").read_text()).words


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def change_json(path: Path, change: Callable[[Any], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def of_other_weights(told: Path) -> None:
    """The same class names, and weights that differ by one rounding."""
    from safetensors.torch import load_file, save_file

    [path] = told.glob("decoder_*.safetensors")
    tensors = load_file(path)
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    save_file(tensors | {name: tensors[name] * (1 + 2**-20)}, path)
    change_json(told / "model.json", lambda content: content.update(sha256={}))


def rename_classes(told: Path) -> None:
    change_json(told / "model.json", lambda content: content.update(class_names=["a", "b", "c"]))


def in_benchmark(change: Callable[[Any], object]) -> Callable[[Path], None]:
    return lambda told: change_json(told / "bench.json", change)


def write(name: str, content: str) -> Callable[[Path], object]:
    return lambda told: (told / name).write_text(content)


REFUSALS: list[tuple[Callable[[Path], object], str, int, str]] = [
    (lambda told: (told / "model.json").unlink(), "", 1, "holds no model.json; train one with: aae train"),
    (write("model.json", "{"), "", 1, "does not describe a model"),
    (write("encoder_semi_supervised.safetensors", "no"), "", 1, "encoder_semi_supervised.safetensors is damaged"),
    (write("config.yml", "semi_supervised: {model: {width: 3}}"), "", 2, "unknown key"),
    (write("metrics.jsonl", '{"epoch": 1, "loss": "low"}\n'), "", 1, "line 1, is not the metrics of an epoch"),
    (write("metrics.jsonl", "[1]\n"), "", 1, "line 1, is not the metrics of an epoch"),
    (write("visualization/z_distribution.png", "x"), "", 1, "z_distribution.png is not a complete PNG; draw it again"),
    (lambda told: damage(told / "visualization/z_distribution.png"), "", 1, "z_distribution.png is not a complete PNG"),
    (lambda told: shutil.rmtree(told / "export"), "--export {model}/export", 1, "does not exist; write one"),
    (
        lambda told: (told / "export/manifest.json").unlink(),
        "--bench {model}/bench.json",
        2,
        "--bench needs --export, the export that it measured",
    ),
    (lambda told: damage(told / "export/classifier.onnx"), "", 1, "classifier.onnx is damaged: SHA-256 is"),
    (of_other_weights, "", 1, "is of another model: its decoder's weights are not the model's; name its own, or: aae"),
    (rename_classes, "", 1, "is of another model: its classes are row_0, row_1, row_2, the model's are a, b, c"),
    (
        lambda told: change_json(told / "model.json", lambda c: c.update(category_to_class=[2, 1, 0])),
        "",
        1,
        "its category to class",
    ),
    (
        lambda told: change_json(told / "export/manifest.json", lambda c: c["parity"].pop("n")),
        "",
        1,
        "holds a damaged verdict",
    ),
    (
        in_benchmark(lambda c: c["environment"].update(weights_sha256="f" * 64)),
        "--bench {model}/bench.json",
        1,
        "measured weights ffffffffffff…, ",
    ),
    (
        in_benchmark(lambda c: c["environment"].pop("weights_sha256")),
        "--bench {model}/bench.json",
        1,
        "that it does not name",
    ),
    (in_benchmark(lambda c: c["results"].clear()), "--bench {model}/bench.json", 1, "holds no measurement"),
    (
        in_benchmark(lambda c: c["results"][0]["latency_ms"].pop("p95")),
        "--bench {model}/bench.json",
        1,
        "lacks latencies of eager",
    ),
    (in_benchmark(lambda c: c["results"][2].pop("p99_bound_ms")), "--bench {model}/bench.json", 1, "lacks latencies"),
    (
        in_benchmark(lambda c: c["results"][0].update(backend="abacus")),
        "--bench {model}/bench.json",
        1,
        "is not a report of this version",
    ),
    (write("bench.json", "{"), "--bench {model}/bench.json", 1, "--bench {model}/bench.json is no JSON"),
    (lambda told: None, "--bench {model}/absent.json", 1, "absent.json cannot be read: No such file"),
    (lambda told: None, "--output {model}/model.json", 2, "--output {model}/model.json is not a page; give a name"),
    (lambda told: None, "--split test", 2, "--split test needs --data"),
    (lambda told: None, "--split training", 2, "--split"),
    (lambda told: None, "--data {model}", 1, "holds no dataset.json"),
    (lambda told: None, "--data {other}", 1, "takes images (1, 6, 6), the data's are (1, 5, 5)"),
    (lambda told: None, "--data {renamed}", 1, "the data's are a, b, c"),
    (
        lambda told: (told / "page.html").mkdir(),
        "--output {model}/page.html",
        1,
        "page.html cannot be written: give a file",
    ),
    (lambda told: None, "--output /dev/null/report.html", 1, "--output /dev/null/report.html cannot be written"),
]


@one_variant
@pytest.mark.parametrize(("change", "arguments", "status", "said"), REFUSALS)
def test_what_cannot_be_told_is_one_line_and_no_page(
    change: Callable[[Path], object],
    arguments: str,
    status: int,
    said: str,
    told: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(told)
    before = contents_of(tmp_path)
    if "{other}" in arguments:
        write_data_directory(tmp_path / "other", tiny_source(size=5), None, None, None, seed=0)
    if "{renamed}" in arguments:
        source = tiny_source()
        source = source.__class__(**vars(source) | {"class_names": ("a", "b", "c")})
        write_data_directory(tmp_path / "renamed", source, None, None, None, seed=0)
    where = {"model": told, "other": tmp_path / "other", "renamed": tmp_path / "renamed"}
    given = ["--model", str(told), "--output", str(tmp_path / "report.html")]
    assert run(["report", *given, *arguments.format(**where).split()]) == status
    error = capsys.readouterr().err
    assert error.startswith("aae: ")
    assert error.count("\n") == 1
    assert said.format(**where) in error
    assert not (tmp_path / "report.html").exists()
    assert {name: c for name, c in contents_of(tmp_path).items() if not name.startswith(("other", "renamed"))} == before


@one_variant
def test_a_page_that_cannot_be_replaced_leaves_the_earlier_one(
    told_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "report.html"
    output.write_text("the earlier one")

    def full(path: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert run(["report", "--model", str(told_dir), "--output", str(output)]) == 1
    assert f"page {output} cannot be written: No space left on device" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert output.read_text() == "the earlier one"


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize(("width", "colors"), [(1280, "light"), (1280, "dark"), (375, "light")])
def test_a_browser_shows_the_page_without_an_error_a_request_or_scrolling_sideways(
    width: int, colors: Any, told_dir: Path, data_dir: Path, tmp_path: Path
) -> None:
    long_name = tmp_path / "_".join(["a_model_of_a_very_long_name"] * 3)
    long_name.symlink_to(told_dir)
    output = tmp_path / "report.html"
    told = gathered(long_name, bench=told_dir / "bench.json", data_dir=data_dir, split="test")
    output.write_text(render(told, f"aae report --output {output}"))
    with chromium_page(width=width, colors=colors) as visit:
        visit.page.goto(output.as_uri())
        visit.keep_screenshot(f"report-{told.description.variant}-{width}-{colors}", tmp_path)
        assert visit.errors == []
        assert visit.requests == [output.as_uri()]
        assert visit.overflow() == 0
        broken = "[...document.images].filter(image => !(image.complete && image.naturalWidth)).length"
        assert visit.page.evaluate(broken) == 0
        assert visit.page.evaluate(UNREADABLE) == []
        if width > 375:
            assert visit.page.pdf(format="A4").startswith(b"%PDF")


# Texts whose contrast with what is behind them is below 4.5 to 1 (WCAG 2.2, 1.4.3).
UNREADABLE = """() => {
  const canvas = Object.assign(document.createElement("canvas"), {width: 1, height: 1}).getContext("2d");
  const over = (color, ground) => {
    canvas.fillStyle = ground; canvas.fillRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = canvas.getImageData(0, 0, 1, 1).data; return `rgb(${r}, ${g}, ${b})`;
  };
  const ground = e => e ? over(getComputedStyle(e).backgroundColor, ground(e.parentElement)) : "white";
  const light = color => color.match(/\\d+/g).slice(0, 3).map(c => c / 255)
    .map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const contrast = (a, b) => (Math.max(light(a), light(b)) + .05) / (Math.min(light(a), light(b)) + .05);
  return [...document.querySelectorAll("body *")]
    .filter(e => [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()))
    .map(e => [e.textContent.trim(), contrast(over(getComputedStyle(e).color, ground(e)), ground(e))])
    .filter(([, ratio]) => ratio < 4.5);
}"""


@pytest.mark.slow
@needs_chromium
@one_variant
def test_names_that_look_like_markup_run_nothing_in_a_browser(told: Path, tmp_path: Path) -> None:
    for directory in (told, told / "export"):
        change_json(directory / "model.json", lambda content: content.update(class_names=HOSTILE))
    shutil.rmtree(told / "export")
    output = tmp_path / "report.html"
    output.write_text(render(gathered(told), "aae report"))
    with chromium_page() as visit:
        opened: list[str] = []
        visit.page.on("dialog", lambda dialog: (opened.append(dialog.message), dialog.dismiss()))
        visit.page.goto(output.as_uri())
        assert (opened, visit.errors, visit.requests) == ([], [], [output.as_uri()])
        assert all(name in visit.page.inner_text("body") for name in HOSTILE)
