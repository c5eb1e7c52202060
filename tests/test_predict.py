import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exports import one_variant
from PIL import Image
from refusals import refused

from aae_toolkit.backends.registry import open_backend, runnables
from aae_toolkit.cli.app import run
from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.predict import Candidate, Prediction, predict
from aae_toolkit.predict.output import write_predictions

CLASS_NAMES = ["row_0", "row_1", "row_2"]
KEYS = {"path", "label", "class_name", "probability"}


@pytest.fixture(scope="session")
def images(data_dir: Path) -> np.ndarray:
    data = DataDirectory(data_dir)
    return np.concatenate([data.load(name).images for name in ("test", "validation", "train_unlabeled")])


@pytest.fixture(scope="session")
def png_files(images: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The splits' 210 images as PNG files: batches of 64, and a rest."""
    directory = tmp_path_factory.mktemp("png")
    paths = [directory / f"{index:03}.png" for index in np.random.default_rng(0).permutation(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image[0]).save(path)
    return paths


def printed_by(model: Path, paths: list[Path], capsys: pytest.CaptureFixture[str]) -> tuple[int, list[dict], str]:
    status = run(["predict", *map(str, paths), "--model", str(model), "--json"])
    printed = capsys.readouterr()
    return status, [json.loads(line) for line in printed.out.splitlines()], printed.err


def test_files_get_the_labels_that_the_trained_model_gives_in_their_order(
    export_dir: Path, images: np.ndarray, png_files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    eager = open_backend(ExportDirectory.open(export_dir), runnables(ExportDirectory.open(export_dir), "classifier")[0])
    expected = eager.run({"images": images})
    assert len(set(expected["label"].tolist())) > 1
    status, lines, error = printed_by(export_dir / "classifier.onnx", png_files, capsys)
    assert (status, error) == (0, "")
    assert all(line.keys() == KEYS for line in lines)
    assert [line["path"] for line in lines] == [str(path) for path in png_files]
    assert [line["label"] for line in lines] == expected["label"].tolist()
    assert [line["class_name"] for line in lines] == [CLASS_NAMES[label] for label in expected["label"]]
    of_label = expected["probabilities"][np.arange(len(images)), expected["label"]]
    np.testing.assert_allclose([line["probability"] for line in lines], of_label, atol=1e-4)


@one_variant
def test_files_that_cannot_be_read_are_said_and_the_others_labelled(
    export_dir: Path, png_files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "short.png").write_bytes(png_files[0].read_bytes()[:60])
    (tmp_path / "empty").mkdir()
    unreadable = [tmp_path / name for name in ("text.png", "short.png", "absent.png", "empty")]
    paths = [unreadable[0], png_files[0], *unreadable[1:3], *png_files[1:80], unreadable[3]]
    status, lines, error = printed_by(export_dir / "classifier.onnx", paths, capsys)
    assert (status, error) == (1, "aae: 4 of 84 images could not be read\n")
    assert [line["path"] for line in lines] == [str(path) for path in paths]
    assert [line.keys() == KEYS for line in lines] == [path not in unreadable for path in paths]
    assert all(line.keys() == {"path", "error"} for line in lines if "error" in line)
    alone = printed_by(export_dir / "classifier.onnx", png_files[:80], capsys)[1]
    assert [line["label"] for line in lines if "label" in line] == [line["label"] for line in alone]


@one_variant
def test_a_whole_batch_of_unreadable_files_is_no_obstacle(export_dir: Path, png_files: list[Path]) -> None:
    absent = [Path("absent.png")] * 64
    found = list(predict(export_dir / "classifier.onnx", [*absent, png_files[0]]))
    assert found[:64] == [Prediction("absent.png", error="no such file")] * 64
    assert found[64].class_name in CLASS_NAMES


@one_variant
def test_in_python_paths_may_be_text_and_the_model_a_directory(export_dir: Path, png_files: list[Path]) -> None:
    expected = list(predict(export_dir / "classifier.onnx", png_files[:2]))
    assert list(predict(str(export_dir), [str(path) for path in png_files[:2]])) == expected
    with refused("paths is one path", kind=UsageError):
        predict(export_dir, str(png_files[0]))
    with refused("paths is one path", kind=UsageError):
        predict(export_dir, png_files[0])  # type: ignore[arg-type]
    [folder] = predict(export_dir, [png_files[0].parent])
    assert folder.error == "a folder; name the files in it"


@one_variant
def test_the_content_of_a_file_is_labelled_as_the_file(export_dir: Path, png_files: list[Path]) -> None:
    expected = [found._replace(path="-") for found in predict(export_dir, png_files[:3])]
    contents = [path.read_bytes() for path in png_files[:3]]
    assert list(predict(export_dir, contents)) == expected
    [joined] = predict(export_dir, [contents[0] + contents[1]])
    assert joined == expected[0]._replace(notes=("first picture of several",))
    [damaged] = predict(export_dir, [contents[0][:60]])
    assert (damaged.path, damaged.label) == ("-", None)
    assert damaged.error
    with refused("paths is the content of an image; give a list", kind=UsageError):
        predict(export_dir, contents[0])  # type: ignore[arg-type]


@one_variant
def test_an_image_is_piped_in_and_nothing_else_reaches_the_terminal(export_dir: Path, png_files: list[Path]) -> None:
    def printed_of(piped: bytes, *flags: str) -> tuple[int, str, str]:
        process = aae_predict(export_dir, "-", *flags, stdin=subprocess.PIPE)
        out, err = process.communicate(piped)
        return process.returncode, out.decode(), err.decode()

    [expected] = predict(export_dir, png_files[:1])
    status, out, err = printed_of(png_files[0].read_bytes(), "--json")
    assert (status, json.loads(out), err) == (0, expected.to_json() | {"path": "-"}, "")
    for piped, said, failed in (
        (b"", "standard input is empty", 1),
        (np.random.default_rng(0).bytes(5000), "standard input is neither an image", 2),
    ):
        status, out, err = printed_of(piped)
        assert (status, out, err.count("\n")) == (failed, "", 1)
        assert said in err
        assert err.isascii()
        assert err[:-1].isprintable()


@one_variant
def test_a_path_that_cannot_be_followed_does_not_stop_the_others(
    export_dir: Path, png_files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "loop.png").symlink_to("loop.png")
    odd = [tmp_path / ("x" * 300 + ".png"), tmp_path / "loop.png", png_files[0] / "x.png", tmp_path / "*" / ("y" * 300)]
    status, lines, error = printed_by(export_dir / "classifier.onnx", [png_files[0], *odd, png_files[1]], capsys)
    assert (status, error) == (1, "aae: 4 of 6 images could not be read\n")
    said = ["cannot be read (File name too long)", "cannot be read (Too many levels of symbolic links)"]
    assert [line["error"] for line in lines[1:3]] == said
    assert [line["path"] for line in lines if "label" in line] == [str(png_files[0]), str(png_files[1])]


@one_variant
def test_any_picture_is_converted_to_what_the_model_takes(export_dir: Path, images: np.ndarray, tmp_path: Path) -> None:
    grey, colour, large = (tmp_path / name for name in ("grey.png", "colour.png", "large.png"))
    picture = Image.fromarray(images[0, 0])
    picture.save(grey)
    picture.convert("RGB").save(colour)
    picture.resize((60, 60), Image.Resampling.NEAREST).save(large)
    first, second, third = predict(export_dir / "classifier.onnx", [grey, colour, large])
    assert (first.label, first.probability) == (second.label, pytest.approx(second.probability, abs=1e-6))
    assert third.label == first.label  # smoothed by the resizing, so less sure


@one_variant
def test_for_people_there_is_a_line_a_file(
    export_dir: Path, png_files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(png_files[0]), "absent.png"]
    assert run(["predict", *paths, "--model", str(export_dir / "classifier.onnx")]) == 1
    labelled, failed = capsys.readouterr().out.splitlines()
    assert labelled.startswith(f"{paths[0]}  row_")
    assert labelled.endswith("%")
    assert failed == "absent.png  could not be read: no such file"


@one_variant
@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("decoder.onnx", "decoder.onnx is not a classifier written by aae export"),
        ("encoder.onnx", "encoder.onnx is not a classifier written by aae export"),
        ("golden.npz", "is not a model that ONNX Runtime"),
        ("classifier.pt2", "is not a model that ONNX Runtime"),
        ("absent.onnx", "absent.onnx does not exist; write it with aae export"),
        ("..", "classifier.onnx does not exist; write it with aae export"),
    ],
)
def test_what_is_no_classifier_is_refused_in_one_line(
    export_dir: Path, png_files: list[Path], capsys: pytest.CaptureFixture[str], model: str, said: str
) -> None:
    status, lines, error = printed_by(export_dir / model, png_files[:1], capsys)
    assert (status, lines, error.count("\n")) == (1, [], 1)
    assert said in error


@one_variant
def test_many_files_are_decoded_by_processes_with_the_same_result(
    export_dir: Path, png_files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [*png_files[:70], Path("absent.png"), *png_files[70:]]
    alone = list(predict(export_dir / "classifier.onnx", paths, threads=1))
    monkeypatch.setattr("aae_toolkit.data.decoding._MANY", 100)
    together = list(predict(export_dir / "classifier.onnx", paths, threads=2, processes=True, batch_size=16))
    assert [(p.path, p.label, p.error) for p in together] == [(p.path, p.label, p.error) for p in alone]
    np.testing.assert_allclose([p.probability or 0 for p in together], [p.probability or 0 for p in alone], atol=1e-6)


@one_variant
def test_no_more_than_a_few_batches_of_paths_are_read_ahead(export_dir: Path, png_files: list[Path]) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield png_files[taken % len(png_files)]

    predictions = predict(export_dir / "classifier.onnx", endless(), batch_size=8, threads=2)
    for _ in range(400):
        next(predictions)
    predictions.close()
    assert taken <= 400 + 4 * 8


@one_variant
def test_the_likeliest_classes_are_named_in_order(export_dir: Path, png_files: list[Path]) -> None:
    [two] = predict(export_dir / "classifier.onnx", png_files[:1], top_k=2)
    [all_] = predict(export_dir / "classifier.onnx", png_files[:1], top_k=9)
    assert [candidate.class_name for candidate in two.top] == [c.class_name for c in all_.top[:2]]
    assert {c.class_name for c in all_.top} == set(CLASS_NAMES)
    assert [c.probability for c in all_.top] == sorted((c.probability for c in all_.top), reverse=True)
    assert sum(c.probability for c in all_.top) == pytest.approx(1, abs=1e-5)
    assert two.to_json()["top"][0] == {"label": two.label, "class_name": two.class_name, "probability": two.probability}


@one_variant
def test_below_the_threshold_an_image_is_unsure(export_dir: Path, png_files: list[Path]) -> None:
    sure = list(predict(export_dir / "classifier.onnx", png_files))
    threshold = float(np.median([p.probability for p in sure if p.probability]))
    for before, after in zip(
        sure, predict(export_dir / "classifier.onnx", png_files, threshold=threshold), strict=True
    ):
        assert before.probability is not None
        assert after.probability == before.probability
        unsure = before.probability < threshold
        assert after.is_unsure == unsure
        assert (after.label, after.class_name) == ((-1, "unsure") if unsure else (before.label, before.class_name))


@one_variant
def test_an_inverted_picture_is_labelled_as_the_other_way_round(
    export_dir: Path, images: np.ndarray, tmp_path: Path
) -> None:
    Image.fromarray(images[0, 0]).save(tmp_path / "usual.png")
    Image.fromarray(255 - images[0, 0]).save(tmp_path / "opposite.png")
    [usual] = predict(export_dir / "classifier.onnx", [tmp_path / "usual.png"])
    [turned] = predict(export_dir / "classifier.onnx", [tmp_path / "opposite.png"], invert="yes")
    assert (turned.label, turned.probability) == (usual.label, pytest.approx(usual.probability, abs=1e-6))
    assert (usual.notes, turned.notes) == ((), ("inverted",))
    assert turned.to_json()["notes"] == ["inverted"]


def test_csv_and_json_lines_hold_the_same(tmp_path: Path) -> None:
    top = (Candidate(0, "a, b", 0.75), Candidate(1, "c", 0.25))
    written = [
        Prediction("odd, \n name.png", 0, "a, b", 0.75, top, ("inverted",)),
        Prediction("bad.png", error="no such file"),
    ]
    write_predictions(tmp_path / "found.csv", written, 2)
    write_predictions(tmp_path / "found.JSONL", written, 2)
    lines = [json.loads(line) for line in (tmp_path / "found.JSONL").read_text().splitlines()]
    assert lines == [prediction.to_json() for prediction in written]
    first, second = csv.DictReader(io.StringIO((tmp_path / "found.csv").read_bytes().decode()))
    assert first == {
        "path": "odd, \n name.png",
        "label": "0",
        "class_name": "a, b",
        "probability": "0.75",
        "error": "",
        "notes": "inverted",
        "top_1_class_name": "a, b",
        "top_1_probability": "0.75",
        "top_2_class_name": "c",
        "top_2_probability": "0.25",
    }
    assert (second["path"], second["label"], second["error"]) == ("bad.png", "", "no such file")


def test_a_file_of_predictions_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def broken() -> Iterator[Prediction]:
        yield Prediction("a.png", 0, "a", 1.0)
        raise AaeError("the disk is gone")

    (tmp_path / "found.csv").write_text("earlier")
    with pytest.raises(AaeError, match="the disk is gone"):
        write_predictions(tmp_path / "found.csv", broken())
    assert [path.name for path in tmp_path.iterdir()] == ["found.csv"]
    assert (tmp_path / "found.csv").read_text() == "earlier"


@one_variant
def test_a_folder_is_labelled_into_a_file(
    export_dir: Path, png_files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, found = str(export_dir / "classifier.onnx"), tmp_path / "found.jsonl"
    assert run(["predict", str(png_files[0].parent), "--model", model, "--output", str(found)]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"210 images, 210 labelled, 0 unsure, 0 unreadable; written to {found}\n"
    lines = [json.loads(line) for line in found.read_text().splitlines()]
    assert [line["path"] for line in lines] == sorted(map(str, png_files))


@one_variant
def test_an_export_directory_stands_for_its_classifier(
    export_dir: Path, png_files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = []
    for model in (export_dir, export_dir / "classifier.onnx"):
        assert run(["predict", str(png_files[0]), "--model", str(model), "--json"]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert run(["predict", str(png_files[0]), "--model", str(tmp_path)]) == 1
    assert f"{tmp_path} holds no manifest.json: it is empty; write one with: aae export" in capsys.readouterr().err


@one_variant
@pytest.mark.parametrize(
    ("flags", "status", "said"),
    [
        (
            "--output found.txt",
            2,
            "--output found.txt: the suffix gives the format; choose .jsonl (JSON lines) or .csv",
        ),
        ("--output found.csv --json", 2, "--json prints the predictions, --output writes them to a file"),
        ("--output {file}/found.csv", 1, "found.csv cannot be written: "),
        ("--threshold 1.5", 2, "--threshold"),
        ("--threshold nan", 2, "--threshold"),
        ("--top-k -1", 2, "--top-k"),
        ("--batch-size 0", 2, "--batch-size"),
        ("--threads 0", 2, "--threads"),
        ("--invert maybe", 2, "argument --invert: invalid choice: 'maybe'"),
        ("--invert auto", 2, "classifier.onnx does not say how bright its training images' borders are"),
    ],
)
def test_impossible_wishes_are_refused_in_one_line(
    flags: str,
    status: int,
    said: str,
    export_dir: Path,
    png_files: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("aae_toolkit.predict.classifier_file.ClassifierFile.border_brightness", None)
    wishes = flags.format(file=png_files[1]).split()
    assert run(["predict", str(png_files[0]), "--model", str(export_dir / "classifier.onnx"), *wishes]) == status
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert said in printed.err
    assert list(tmp_path.iterdir()) == []


def aae_predict(export_dir: Path, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "aae_toolkit", "predict", "--model", str(export_dir / "classifier.onnx")]
    return subprocess.Popen([*command, *arguments], **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options)


@one_variant
def test_a_reader_that_is_gone_is_no_error(export_dir: Path, png_files: list[Path]) -> None:
    for some in (png_files[:1], png_files * 20):  # less, and more, than the pipe and Python's buffer hold
        reading, writing = os.pipe()
        os.close(reading)
        with aae_predict(export_dir, "--json", *map(str, some), stdout=writing) as process:
            os.close(writing)
            assert process.stderr is not None
            assert process.stderr.read() == b""
        assert process.returncode == 141


@one_variant
def test_ctrl_c_leaves_one_line_and_no_file(export_dir: Path, png_files: list[Path], tmp_path: Path) -> None:
    found = tmp_path / "found.csv"
    with aae_predict(export_dir, "-", "--output", str(found), stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(f"{png_files[0]}\n".encode() * 100)
        process.stdin.flush()
        while not list(tmp_path.iterdir()):  # the temporary file
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == b"aae: interrupted\n"
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []


@one_variant
def test_predicting_imports_neither_torch_nor_what_makes_the_start_slow(
    export_dir: Path, png_files: list[Path]
) -> None:
    code = """
import sys
from aae_toolkit.cli.app import run
status = run(sys.argv[1:])
assert not {"torch", "onnx", "sklearn", "scipy", "matplotlib", "pydantic", "rich", "typer"} & set(sys.modules)
sys.exit(status)
"""
    command = ["predict", str(png_files[0]), "--model", str(export_dir / "classifier.onnx"), "--json"]
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout).keys() == KEYS


@one_variant
def test_what_a_folder_holds_besides_images_is_said(
    export_dir: Path, png_files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "noname").write_bytes(png_files[0].read_bytes())
    (folder / "notes.txt").write_text("no image")
    (folder / "Thumbs.db").write_text("litter")
    status, lines, error = printed_by(export_dir / "classifier.onnx", [folder], capsys)
    assert (status, [line["path"] for line in lines]) == (0, [str(folder / "noname")])
    assert error == "files that are no images, left out: 1 (1 .txt)\n"
    (folder / "a.psd").write_bytes(b"8BPS")
    (folder / "far.png").symlink_to(png_files[0])
    status, lines, error = printed_by(export_dir / "classifier.onnx", [folder], capsys)
    assert status == 1
    assert lines[0] == {"path": str(folder / "a.psd"), "error": "Photoshop is not read; convert it to PNG"}
    assert f"{folder / 'far.png'}: a link that leads outside of {folder}; follow it with --follow-links" in error
    assert "images left out: 1 behind links that lead outside" in error
    assert "2 of 3 images could not be read" in error
    (folder / "a.psd").unlink()
    command = ["predict", str(folder), "--model", str(export_dir / "classifier.onnx"), "--json", "--follow-links"]
    assert run(command) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


@one_variant
def test_a_list_of_another_system_is_labelled(export_dir: Path, png_files: list[Path]) -> None:
    listed = b"\xef\xbb\xbf" + "".join(f"{path}\r\n" for path in png_files[:3]).encode()
    with aae_predict(export_dir, "-", "--json", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        out, error = process.communicate(listed)
    assert (process.returncode, error) == (0, b"")
    assert [json.loads(line)["path"] for line in out.splitlines()] == [str(path) for path in png_files[:3]]
