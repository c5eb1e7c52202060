"""The boxes of docs/deploying.md, run as they stand there; what differs in a test is in `SUBSTITUTIONS` alone."""

import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from exports import add_image_classifier, copy_with_only, one_variant
from PIL import Image

from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.data.preparation import DEFAULT, Preparation
from aae_toolkit.parity.pictures import Picture, write_pictures
from aae_toolkit.predict import predict

REPOSITORY = Path(__file__).parent.parent
PAGE = (REPOSITORY / "docs" / "deploying.md").read_text(encoding="utf-8")
MOST_LINES = 19
SUBSTITUTIONS = {
    r"^pip install .*": "true",  # the tests' environment has it
    r"\bpython\b": sys.executable,
    r"\baae predict\b": f"{sys.executable} -m aae_toolkit predict",
    r"\bexamples/": f"{REPOSITORY}/examples/",
}


def sections() -> dict[str, list[tuple[str, str]]]:
    """By heading: the language and the text of each box; `text` is not for pasting."""
    parts = re.split(r"^## (.+)$", PAGE, flags=re.MULTILINE)[1:]
    return {
        heading: re.findall(r"^```(python|console)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
        for heading, text in zip(parts[::2], parts[1::2], strict=True)
    }


def box(heading: str) -> str:
    [(_, text)] = sections()[heading]
    return text


def commands(heading: str) -> str:
    """A console box as a script: its `$ ` taken off, and what differs here put in."""
    text = "\n".join(line.removeprefix("$ ") for line in box(heading).splitlines())
    for pattern, here in SUBSTITUTIONS.items():
        text = re.sub(pattern, here, text, flags=re.MULTILINE)
    return text


@pytest.fixture
def place(export_dir: Path, data_dir: Path, tmp_path: Path) -> Path:
    """A directory with what the page starts from: the model, an image, and more images of each kind."""
    shutil.copy(export_dir / "classifier.onnx", tmp_path)
    images = DataDirectory(data_dir).load("test").images
    Image.fromarray(images[0, 0]).save(tmp_path / "image.png")
    (tmp_path / "photos").mkdir()
    for index in range(10):
        Image.fromarray(images[index, 0]).save(tmp_path / "photos" / f"{index}.png")
    np.savez(tmp_path / "more.npz", images=images)
    return tmp_path


def run(place: Path, *command: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_box_can_be_pasted_whole() -> None:
    boxes = [text for found in sections().values() for _, text in found]
    assert len(boxes) >= 3
    assert all(len(text.splitlines()) <= MOST_LINES for text in boxes)


@one_variant
def test_the_table_is_the_contract_that_the_file_carries(export_dir: Path) -> None:
    import onnxruntime as ort

    session = ort.InferenceSession(str(export_dir / "classifier.onnx"), providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    contract = json.loads(metadata["aae.contract"])
    rows = re.findall(r"^\| (input|output) \| `(\w+)` \| (\w+) \| ", PAGE, flags=re.MULTILINE)
    assert rows == [
        (kind, spec["name"], spec["dtype"]) for kind in ("input", "output") for spec in contract[f"{kind}s"]
    ]
    named = re.findall(r"`(aae\.\w+)`", PAGE)
    assert named
    assert set(named) <= metadata.keys()


PREPARED = Preparation(background=(30, 200, 90), range=(0, 65000), fit="pad", invert="yes")


def labelled(code: str, pictures: list[Picture], monkeypatch: pytest.MonkeyPatch, place: Path) -> list[list[str]]:
    """What a box of Python prints for each file; it runs in this process, with the file's name for its own."""
    monkeypatch.chdir(place)
    printed = []
    for picture in pictures:
        with redirect_stdout(io.StringIO()) as out:
            exec(code.replace('"image.png"', f"{str(picture.path)!r}"), {})
        printed.append(out.getvalue().split())
    return printed


@one_variant
@pytest.mark.parametrize("preparation", [DEFAULT, PREPARED], ids=["default", "prepared"])
def test_onnx_runtime_alone_labels_files_of_every_kind_as_aae_predict_does(
    export_dir: Path, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preparation: Preparation
) -> None:
    export = add_image_classifier(copy_with_only(export_dir, tmp_path / "export"), preparation)
    pictures = write_pictures(tmp_path, DataDirectory(data_dir).load("test").images)
    expected = list(predict(export.path / "classifier.onnx", [picture.path for picture in pictures]))
    assert len({p.class_name for p in expected}) > 1
    found = labelled(box("Image files with ONNX Runtime alone"), pictures, monkeypatch, export.path)
    for picture, (name, probability), wanted in zip(pictures, found, expected, strict=True):
        assert name == wanted.class_name, picture.kind
        assert float(probability) == pytest.approx(wanted.probability, abs=0.02), picture.kind  # a level of 255


def write_unreadable(directory: Path) -> list[Path]:
    """Files that `aae predict` refuses for a model without a range."""
    levels = np.arange(81).reshape(9, 9)
    Image.fromarray(levels.astype(np.float32)).save(directory / "float.tiff")
    Image.fromarray(levels.astype(np.int32) * 700).save(directory / "signed.tiff")
    (directory / "text.png").write_text("no image")
    return [directory / name for name in ("float.tiff", "signed.tiff", "text.png", "absent.png")]


@one_variant
@pytest.mark.parametrize("way", ["ONNX Runtime alone", "OpenCV"])
def test_the_boxes_refuse_what_aae_predict_refuses(
    way: str, export_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "OpenCV":
        pytest.importorskip("cv2", reason="opencv-python-headless, in the dev extra, is not installed")
    export = add_image_classifier(copy_with_only(export_dir, tmp_path / "export"))
    monkeypatch.chdir(export.path)
    files = write_unreadable(tmp_path)
    for file, refused in zip(files, predict(export.path / "classifier.onnx", files), strict=True):
        assert refused.error
        with pytest.raises((SystemExit, OSError), match=r"8 bits|8 or 16 bits|cannot identify|No such file"):
            exec(box(f"Image files with {way}").replace('"image.png"', f"{str(file)!r}"), {})


@one_variant
def test_opencv_labels_files_as_aae_predict_does(
    export_dir: Path, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cv2", reason="opencv-python-headless, in the dev extra, is not installed")
    export = add_image_classifier(copy_with_only(export_dir, tmp_path / "export"))
    pictures = write_pictures(tmp_path, DataDirectory(data_dir).load("test").images)
    expected = predict(export.path / "classifier.onnx", [picture.path for picture in pictures])
    found = labelled(box("Image files with OpenCV"), pictures, monkeypatch, export.path)
    for picture, (label, probability), wanted in zip(pictures, found, expected, strict=True):
        assert int(label) == wanted.label, picture.kind
        assert float(probability) == pytest.approx(wanted.probability, abs=0.02), picture.kind


@one_variant
def test_files_folders_patterns_and_standard_input_are_labelled(place: Path) -> None:
    printed = run(place, "bash", "-ec", commands("Files and folders")).splitlines()
    assert printed[0].startswith("image.png")
    assert [line.split(", ")[0] for line in printed[1:3]] == ["10 images"] * 2
    assert [line.split("; ")[1] for line in printed[1:3]] == ["written to found.csv", "written to found.jsonl"]
    assert sorted(json.loads(line)["path"] for line in printed[3:]) == [f"photos/{index}.png" for index in range(10)]


@one_variant
def test_arrays_and_files_are_labelled_from_python(place: Path) -> None:
    assert run(place, sys.executable, "-c", box("Arrays in Python"))
    found = run(place, sys.executable, "-c", box("Files in Python")).splitlines()
    assert [f"photos/{index}.png" in line for index, line in enumerate(found)] == [True] * 10


@one_variant
def test_the_http_service_answers_uploads_and_json(place: Path) -> None:
    for module in ("starlette", "uvicorn", "python_multipart"):
        pytest.importorskip(module, reason="the dev extra, which brings the example's own packages, is not installed")
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = commands("HTTP service").replace("localhost:8000", f"localhost:{port}")
    printed = run(place, "bash", "-mc", f"export AAE_PORT={port}\n{script}")
    printed = printed.replace(f"labelling at http://127.0.0.1:{port}/predict\n", "")
    decoder, answers = json.JSONDecoder(), []
    while printed := printed.strip():
        answer, end = decoder.raw_decode(printed)
        answers.append(answer)
        printed = printed[end:]
    health, uploaded, as_json = answers
    [expected] = predict(place / "classifier.onnx", [place / "image.png"])
    assert health == {"status": "ok"}
    assert [p["class_name"] for p in uploaded["predictions"]] == [expected.class_name] * 2
    assert as_json["predictions"] == uploaded["predictions"][:1]


@pytest.mark.slow
@one_variant
def test_a_ray_cluster_writes_a_row_for_every_image(place: Path) -> None:
    pytest.importorskip("ray", reason="the ray extra is not installed")
    import pyarrow as pa
    from pyarrow import parquet

    (place / "shards").mkdir()
    for index in range(2):
        content = pa.table({"image": [(place / "image.png").read_bytes()] * 3})
        parquet.write_table(content, place / "shards" / f"{index}.parquet")
    printed = run(place, "bash", "-ec", f"export RAY_USAGE_STATS_ENABLED=0\n{commands('Ray cluster')}")
    assert "76 images, 0 unreadable, in 4 parts: labels" in printed
    assert "[76 rows x 7 columns]" in printed
    found = parquet.read_table(place / "labels").to_pylist()
    expected = list(predict(place / "classifier.onnx", [place / "photos" / f"{index}.png" for index in range(10)]))
    assert [(row["path"], row["label"]) for row in found[:10]] == [
        (f"photos/{index}.png", p.label) for index, p in enumerate(expected)
    ]
