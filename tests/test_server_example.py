import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from exports import add_image_classifier, copy_with_only, one_variant
from PIL import Image

from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.data.preparation import Preparation
from aae_toolkit.parity.pictures import write_pictures
from aae_toolkit.predict import predict
from aae_toolkit.predict.classifier_file import ClassifierFile

pytest.importorskip("starlette", reason="the example's own dependency, in the dev extra, is not installed")
from starlette.testclient import TestClient

FILE = Path(__file__).parent.parent / "examples" / "python_server" / "server.py"
pytestmark = one_variant


@pytest.fixture(scope="module")
def server() -> Iterator[ModuleType]:
    sys.path.insert(0, str(FILE.parent))
    import server

    yield server
    sys.path.remove(str(FILE.parent))


@pytest.fixture
def serving(server: ModuleType, export_dir: Path) -> Iterator[Any]:
    """A function that starts the service with these settings and returns a client."""
    clients: list[TestClient] = []

    def serve(**settings: Any) -> TestClient:
        app = server.create_app(server.Settings(model=export_dir / "classifier.onnx", **settings))
        clients.append(TestClient(app, raise_server_exceptions=False).__enter__())
        return clients[-1]

    yield serve
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture(scope="session")
def images(data_dir: Path) -> np.ndarray:
    return DataDirectory(data_dir).load("test").images


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def as_files(*contents: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("file", (f"{index}.png", content)) for index, content in enumerate(contents)]


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def test_files_of_every_kind_get_the_labels_of_predict(
    server: ModuleType, export_dir: Path, images: np.ndarray, tmp_path: Path
) -> None:
    preparation = Preparation(background=(30, 200, 90), range=(0, 65000), invert="auto", fit="crop")
    export = add_image_classifier(copy_with_only(export_dir, tmp_path / "export"), preparation)
    model = export.path / "classifier.onnx"
    pictures = write_pictures(tmp_path, images)
    with TestClient(server.create_app(server.Settings(model=model))) as client:
        files = [("file", (picture.path.name, picture.path.read_bytes())) for picture in pictures]
        answer = client.post("/predict", files=files)
    assert answer.status_code == 200
    found = answer.json()["predictions"]
    for picture, one, expected in zip(pictures, found, predict(model, [p.path for p in pictures]), strict=True):
        assert one["label"] == expected.label, picture.kind
        assert one["probability"] == pytest.approx(expected.probability, abs=1e-5), picture.kind


def test_every_way_to_send_images_gives_what_the_model_gives(
    serving: Any, export_dir: Path, images: np.ndarray
) -> None:
    client = serving()
    classifier = ClassifierFile(export_dir / "classifier.onnx")
    expected = classifier.run(images)
    encoded = [png(image[0]) for image in images]
    answers = [
        client.post("/predict", files=as_files(*encoded)),
        client.post("/predict", json={"images": [base64_of(content) for content in encoded]}),
        client.post("/predict", json={"images": images.tolist()}),
        client.post("/predict", json={"images": images[:, 0].tolist()}),  # H x W, for there is one channel
    ]
    assert len(set(expected["label"].tolist())) > 1
    for answer in answers:
        assert answer.status_code == 200
        found = answer.json()["predictions"]
        assert [p["label"] for p in found] == expected["label"].tolist()
        assert [p["class_name"] for p in found] == [classifier.class_names[label] for label in expected["label"]]
        np.testing.assert_allclose([p["probabilities"] for p in found], expected["probabilities"], atol=1e-5)
        assert all(p["probability"] == p["probabilities"][p["label"]] for p in found)


def test_the_service_says_what_it_is_and_that_it_is_well(serving: Any) -> None:
    client = serving(max_images=7)
    about = client.get("/").json()
    assert (about["class_names"], about["image_shape"]) == (["row_0", "row_1", "row_2"], [1, 6, 6])
    assert about["settings"]["max_images"] == 7
    assert client.get("/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "not JSON"),
        ({"content": b"[" * 100_000, "headers": {"content-type": "application/json"}}, 400, "not JSON"),
        ({"content": b"image"}, 415, "application/json or multipart/form-data"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "boundary"),
        ({"data": {"file": "text"}, "files": {}}, 415, "multipart"),
        ({"json": []}, 422, "no images"),
        ({"json": {"images": []}}, 422, "no images"),
        ({"json": {"images": "abc"}}, 422, "no images"),
        ({"json": {"images": ["%%%"]}}, 422, "images[0]: not a whole image"),
        ({"json": {"images": [base64_of(b"no image")]}}, 422, "images[0]: not a whole image"),
        ({"json": {"images": [None]}}, 422, "images[0]: found shape []; expected lists"),
        ({"json": {"images": [[[1, 2], [3]]]}}, 422, "of shape [1, 6, 6]"),
        ({"json": {"images": [[[0.5] * 6] * 6]}}, 422, "whole numbers"),
        ({"json": {"images": [[[True] + [9] * 5] * 6]}}, 422, "found bool; expected lists of whole numbers"),
        ({"json": {"images": [[[9] * 6] * 6], "invert": "yes"}}, 422, "unknown keys: invert"),
        (
            {"content": b'{"images": [1], "images": [2]}', "headers": {"content-type": "application/json"}},
            422,
            "a key stands twice in the JSON",
        ),
        ({"json": {"images": [[[256] * 6] * 6]}}, 422, "from 0 to 255"),
        ({"json": {"images": [[[-1] * 6] * 6]}}, 422, "from 0 to 255"),
        ({"json": {"images": [[[10**30] * 6] * 6]}}, 422, "from 0 to 255"),
        ({"json": {"images": [[[0] * 7] * 7, 5]}}, 422, "images[0]: found shape [7, 7]; expected lists"),
        ({"json": {"images": [[[0] * 7] * 7, 5]}}, 422, "images[1]: found shape []; expected lists"),
        ({"files": as_files(png(np.zeros((100, 101), np.uint8)), b"no image")}, 413, "images[1]: not a whole image"),
        ({"files": as_files(b"no image")}, 422, "images[0]: not a whole image in one of PNG"),
        ({"files": as_files(png(np.zeros((6, 6), np.uint8))[:45])}, 422, "images[0]: not a whole image"),
        ({"files": as_files(png(np.zeros((100, 101), np.uint8)))}, 413, "images[0]: more than 10000 pixels"),
        ({"files": as_files(*[png(np.zeros((6, 6), np.uint8))] * 4)}, 413, "Too many files"),
        ({"json": {"images": [[[0] * 6] * 6] * 4}}, 413, "more than 3 images"),
        ({"content": b"x" * 200_001}, 413, "more than 200000 bytes"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_requests_are_refused_in_json_and_the_service_goes_on(
    serving: Any, sent: dict[str, Any], status: int, said: str
) -> None:
    client = serving(max_bytes=200_000, max_images=3, max_pixels=10_000)
    answer = client.post("/predict", **sent)
    assert answer.status_code == status
    assert answer.json().keys() == {"error"}
    assert said in answer.json()["error"]
    assert client.post("/predict", json={"images": [[[0] * 6] * 6]}).status_code == 200


def test_one_bad_image_fails_alone_and_the_others_get_their_labels(serving: Any, images: np.ndarray) -> None:
    client = serving(max_pixels=10_000)
    good = client.post("/predict", json={"images": images[:2].tolist()}).json()["predictions"]
    first, second = (png(image[0]) for image in images[:2])
    cut, large = first[:45], png(np.zeros((100, 101), np.uint8))
    for request in (
        {"files": as_files(b"", first, cut, b"text", second, large)},
        {"json": {"images": ["", base64_of(first), base64_of(cut), 7, images[1].tolist(), base64_of(large)]}},
        {"json": {"images": ["%%%", base64_of(first), [[0.5] * 6] * 6, None, base64_of(second), base64_of(large)]}},
    ):
        answer = client.post("/predict", **request)
        assert answer.status_code == 200
        rows = answer.json()["predictions"]
        assert [set(row) == {"error"} for row in rows] == [True, False, True, True, False, True]
        for row, alone in zip((rows[1], rows[4]), good, strict=True):
            assert (row["label"], row["class_name"]) == (alone["label"], alone["class_name"])
            assert row["probabilities"] == pytest.approx(alone["probabilities"], abs=1e-5)
        assert rows[5]["error"] == "more than 10000 pixels"
        assert all("images[" not in row.get("error", "") for row in rows)


def test_a_warning_names_the_image_although_others_fail(serving: Any) -> None:
    answer = serving().post("/predict", json={"images": ["%%%", [[1] * 6] * 6]}).json()
    assert answer["warnings"] == ["images[1]: no number is above 1, and pixels are 0 to 255"]


def test_formats_that_need_other_programs_are_refused(serving: Any) -> None:
    file = io.BytesIO()
    Image.new("L", (6, 6)).save(file, "EPS")
    assert serving().post("/predict", files=as_files(file.getvalue())).status_code == 422


def test_unknown_places_and_methods_are_refused_in_json(serving: Any) -> None:
    client = serving()
    assert (client.get("/absent").status_code, client.get("/absent").json()) == (404, {"error": "Not Found"})
    assert (client.get("/predict").status_code, client.get("/predict").json()) == (405, {"error": "Method Not Allowed"})


class Gate:
    """Holds the model back until it is opened, and remembers what ran."""

    def __init__(self, client: TestClient) -> None:
        self.opened, self.sizes = threading.Event(), []
        classifier = client.app.state.batcher._classifier
        run = classifier.run

        def held(images: np.ndarray) -> dict[str, np.ndarray]:
            self.sizes.append(len(images))
            assert self.opened.wait(60)
            return run(images)

        classifier.run = held


def send_at_once(client: TestClient, requests: list[list[Any]]) -> tuple[list[threading.Thread], list[Any]]:
    answers: list[Any] = [None] * len(requests)

    def send(index: int) -> None:
        answers[index] = client.post("/predict", json={"images": requests[index]})

    threads = [threading.Thread(target=send, args=[index]) for index in range(len(requests))]
    for thread in threads:
        thread.start()
    return threads, answers


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_requests_that_wait_run_together_and_get_their_own_labels(serving: Any, images: np.ndarray) -> None:
    client = serving(max_batch=8, max_wait_ms=0)
    alone = client.post("/predict", json={"images": images[:12].tolist()}).json()["predictions"]
    gate = Gate(client)
    first, first_answer = send_at_once(client, [images[:1].tolist()])
    wait_until(lambda: gate.sizes == [1])
    others, answers = send_at_once(client, [[image.tolist()] for image in images[1:12]])
    wait_until(lambda: client.app.state.batcher._queue.qsize() == 11)
    gate.opened.set()
    for thread in first + others:
        thread.join()
    assert gate.sizes == [1, 8, 3]
    together = [answer.json()["predictions"][0] for answer in first_answer + answers]
    assert [p["label"] for p in together] == [p["label"] for p in alone]
    np.testing.assert_allclose([p["probabilities"] for p in together], [p["probabilities"] for p in alone], atol=1e-5)


def test_a_full_queue_and_too_many_requests_are_told_to_come_back(serving: Any, images: np.ndarray) -> None:
    for settings in ({"max_queue": 2}, {"max_requests": 3}):
        client = serving(max_wait_ms=0, max_batch=1, **settings)
        gate = Gate(client)
        threads, answers = send_at_once(client, [images[:1].tolist()])
        wait_until(lambda gate=gate: gate.sizes == [1])
        more, more_answers = send_at_once(client, [images[:1].tolist()] * 2)
        wait_until(lambda client=client: client.app.state.batcher._queue.qsize() == 2)
        busy = client.post("/predict", json={"images": images[:1].tolist()})
        assert (busy.status_code, busy.headers["retry-after"], busy.json()) == (
            503,
            "1",
            {"error": "busy: try again later"},
        )
        assert client.get("/healthz").status_code == 200
        gate.opened.set()
        for thread in threads + more:
            thread.join()
        assert [answer.status_code for answer in answers + more_answers] == [200] * 3


def test_what_is_not_answered_in_time_is_given_up_and_never_run(serving: Any, images: np.ndarray) -> None:
    client = serving(timeout_s=0.3, max_wait_ms=0)
    gate = Gate(client)
    threads, answers = send_at_once(client, [images[:1].tolist()])
    wait_until(lambda: gate.sizes == [1])
    late = client.post("/predict", json={"images": images[:2].tolist()})
    assert (late.status_code, late.json()) == (504, {"error": "not answered within 0.3 s"})
    threads[0].join()
    assert answers[0].status_code == 504
    gate.opened.set()
    assert client.post("/predict", json={"images": images[:1].tolist()}).status_code == 200
    assert gate.sizes == [1, 1]


def test_a_model_that_fails_is_an_error_of_the_service_which_goes_on(serving: Any, images: np.ndarray) -> None:
    client = serving()
    classifier = client.app.state.batcher._classifier
    run, classifier.run = classifier.run, lambda images: 1 / 0
    failed = client.post("/predict", json={"images": images[:1].tolist()})
    assert (failed.status_code, failed.json()) == (500, {"error": "internal error"})
    classifier.run = run
    assert client.post("/predict", json={"images": images[:1].tolist()}).status_code == 200


def test_health_is_lost_when_nothing_is_labelled_any_more(serving: Any) -> None:
    client = serving()
    client.portal.call(client.app.state.running.cancel)
    wait_until(client.app.state.running.done)
    assert (client.get("/healthz").status_code, client.get("/healthz").json()) == (503, {"status": "stopped"})


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(model: Path, port: int, **settings: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"AAE_MODEL": str(model), "AAE_PORT": str(port)} | settings
    return subprocess.Popen([sys.executable, FILE], env=environment, stderr=subprocess.PIPE)


def answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz") as answer:
            return answer.status == 200
    except OSError:
        return False


def test_a_stopped_server_answers_what_it_took_and_needs_no_torch(
    export_dir: Path, images: np.ndarray, port: int
) -> None:
    pytest.importorskip("uvicorn", reason="the example's own dependency, in the dev extra, is not installed")
    process = start(export_dir / "classifier.onnx", port, AAE_MAX_WAIT_MS="1500")
    try:
        wait_until(lambda: answers(port, process))
        assert "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text() if sys.platform == "linux" else True
        body = json.dumps({"images": images[:1].tolist()}).encode()
        with socket.create_connection(("127.0.0.1", port)) as client:
            head = "POST /predict HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: "
            client.sendall(f"{head}{len(body)}\r\n\r\n".encode() + body)
            time.sleep(0.5)  # it waits for others to join its batch
            process.send_signal(signal.SIGTERM)
            answer = client.makefile("rb").readline()
        assert answer.startswith(b"HTTP/1.1 200")
        process.wait(60)
        assert process.stderr.read() == b""
    finally:
        process.kill()
        process.wait()


def test_a_request_that_does_not_arrive_is_given_up(export_dir: Path, port: int) -> None:
    pytest.importorskip("uvicorn", reason="the example's own dependency, in the dev extra, is not installed")
    process = start(export_dir / "classifier.onnx", port, AAE_TIMEOUT_S="0.3")
    try:
        wait_until(lambda: answers(port, process))
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"POST /predict HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n")
            client.sendall(b"Content-Length: 100\r\n\r\n{")
            assert client.makefile("rb").readline().startswith(b"HTTP/1.1 408")
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("settings", "said"), [({"AAE_MAX_BATCH": "many"}, "max_batch"), ({"AAE_MODEL": "absent.onnx"}, "absent.onnx does")]
)
def test_settings_and_models_that_are_none_are_refused_by_name(
    export_dir: Path, port: int, settings: dict[str, str], said: str
) -> None:
    process = start(export_dir / "classifier.onnx", port, **settings)
    error = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 1
    assert error.startswith("server.py: ")
    assert said in error
    assert "Traceback" not in error
