"""Decoding ahead: any number of workers reads, says and writes the same; a stop leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aae_toolkit.cli.app import run
from aae_toolkit.data import decoding
from aae_toolkit.data.decoding import decoded_ahead
from aae_toolkit.errors import AaeError

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
SIDE = 9


def draw(path: Path, seed: int, *, light: bool = False) -> None:
    """An image of noise; other seeds have other pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 200, (SIDE, SIDE, 3), dtype=np.uint8)
    pixels[[0, -1]] = pixels[:, [0, -1]] = 250 if light else 5
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Given splits with damaged, left out, equal, contradictory, deep, turned and moving pictures in between."""
    raw = tmp_path_factory.mktemp("mixed")
    for i in range(40):
        draw(raw / "train" / "cat" / f"{i:02}.png", i, light=i % 3 == 0)
        draw(raw / "train" / "dog" / f"{i:02}.png", 100 + i)
        draw(raw / "_unlabeled" / f"{i:02}.png", 200 + i)
    for i in range(8):
        draw(raw / "test" / ("cat", "dog")[i % 2] / f"{i}.png", 300 + i)
    train, cat, dog = raw / "train", raw / "train" / "cat", raw / "train" / "dog"
    for i in (3, 17, 18):
        (cat / f"{i:02}a.png").write_bytes((cat / f"{i:02}.png").read_bytes()[:90])
        (dog / f"{i:02}b.jpg").write_text("no image")
        shutil.copy(cat / f"{i:02}.png", cat / f"{i + 5:02}copy.png")
        shutil.copy(cat / f"{i + 1:02}.png", dog / f"{i:02}other.png")  # another label
        shutil.copy(raw / "test" / "dog" / f"{i % 4 * 2 + 1}.png", raw / "_unlabeled" / f"{i:02}leak.png")
        (dog / f"{i:02}.psd").write_bytes(b"8BPS\0\1")
        values = np.random.default_rng(i).integers(0, 2**16, (SIDE, SIDE), dtype=np.uint16)
        Image.fromarray(values).save(dog / f"{i:02}deep.png")
        frames = [Image.open(dog / f"{i + n:02}.png") for n in (0, 1)]
        frames[0].save(cat / f"{i:02}moving.gif", save_all=True, append_images=frames[1:])
        exif = Image.Exif()
        exif[0x0112] = 6
        frames[1].resize((2 * SIDE, SIDE)).save(cat / f"{i:02}turned.jpg", exif=exif)
    (train / "dog" / "notes.txt").write_text("no image")
    return raw


def one_after_the_other(decode: Callable[[list[Path]], list], paths, *_: object, **__: object) -> Iterator:
    for path in paths:
        yield from decode([path])


def written(
    raw: Path, data: Path, capsys: pytest.CaptureFixture[str], *flags: str
) -> tuple[int, str, dict[str, bytes]]:
    """Status, what is said, and the content of all files of the data directory."""
    command = ["init-datasets", "--data", str(data), "--source", "folder", "--raw-dir", str(raw)]
    status = run([*command, "--image-size", "6", *flags])
    printed = capsys.readouterr()
    said = (printed.out + printed.err).replace(str(data), "DATA")
    return status, said, {path.name: path.read_bytes() for path in sorted(data.glob("*")) if path.is_file()}


@pytest.mark.parametrize("flags", [("--conflicts", "drop"), ("--conflicts", "drop", "--channels", "3"), ()])
def test_any_number_of_workers_writes_and_says_the_same(
    mixed: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...],
) -> None:
    flags = ("--invert", "auto", *flags)
    with monkeypatch.context() as serial:
        serial.setattr("aae_toolkit.data.pixels.decoded_ahead", one_after_the_other)
        status, said, files = written(mixed, tmp_path / "serial", capsys, *flags)
    assert status == 1
    causes = ("damaged image", "not an image", "Photoshop", "has the pixels of", "first picture of several", "inverted")
    assert all(cause in said for cause in (*causes, "equal pixels" if len(flags) == 2 else "for its labels"))
    assert len(files) == (0 if len(flags) == 2 else 5)  # contradictory labels are refused
    for many, cores in ((10**9, 1), (10**9, 5), (20, 3)):
        monkeypatch.setattr("aae_toolkit.data.decoding._MANY", many)
        monkeypatch.setattr("aae_toolkit.data.pixels.usable_cores", lambda cores=cores: cores)
        assert written(mixed, tmp_path / f"{many}-{cores}", capsys, *flags) == (status, said, files)


def process_ids(paths: list[Path]) -> list[int]:
    return [os.getpid() for _ in paths]


@pytest.mark.parametrize(("n", "workers", "processes"), [(40, 2, False), (19, 2, True), (40, 1, True)])
def test_few_files_and_one_core_and_a_caller_without_a_guard_start_no_process(
    monkeypatch: pytest.MonkeyPatch, n: int, workers: int, processes: bool
) -> None:
    monkeypatch.setattr(decoding, "_MANY", 20)
    with closing(decoded_ahead(process_ids, [Path()] * n, 4, workers, processes=processes)) as found:
        assert set(found) == {os.getpid()}


def test_processes_take_no_more_than_a_few_batches_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_MANY", 20)
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield Path()

    with closing(decoded_ahead(process_ids, endless(), 4, 2, processes=True)) as found:
        ids = {next(found) for _ in range(200)}
    assert os.getpid() not in ids
    assert taken <= 200 + 4 * 4


def killed_by_a_picture(paths: list[Path]) -> list[str]:
    if Path("37.png") in paths:
        os.kill(os.getpid(), signal.SIGKILL)  # as a crash of a decoder does, or the system without memory
    return [path.name for path in paths]


def test_a_dying_process_is_said_with_the_files_that_it_may_have_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_MANY", 20)
    paths = [Path(f"{i}.png") for i in range(60)]
    found: list[str] = []
    with pytest.raises(AaeError, match="remove the one that crashes its decoder") as caught:
        found.extend(decoded_ahead(killed_by_a_picture, paths, 4, 2, processes=True))
    range_ = re.search(r"images died; it had one of \d+ files, (\d+).png to (\d+).png", str(caught.value))
    assert range_ is not None
    first, last = map(int, range_.groups())
    assert first <= 37 <= last
    assert found == [f"{i}.png" for i in range(first)]


def workers_of(pid: int, n_threads: int) -> list[int]:
    """Processes that decode; they have a second thread, which follows their parent, once they are ready."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    spawned = [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
    return [int(child) for child in spawned if len(list(Path(f"/proc/{child}/task").iterdir())) >= n_threads]


@linux
@pytest.mark.parametrize(
    ("target", "signum", "status", "said"),
    [
        ("group at start", signal.SIGINT, 130, "aae: interrupted\n"),
        ("group", signal.SIGINT, 130, "aae: interrupted\n"),
        ("worker", signal.SIGKILL, 1, "aae: a process that decodes images died; "),
        ("command", signal.SIGKILL, -9, None),  # Python's own tracker of semaphores may warn
    ],
)
def test_a_stop_or_a_death_ends_all_processes_and_writes_nothing(
    tmp_path: Path, target: str, signum: signal.Signals, status: int, said: str | None
) -> None:
    first = tmp_path / "raw" / "cat" / "0.png"
    first.parent.mkdir(parents=True)
    Image.new("L", (3000, 3000)).save(first)
    (tmp_path / "raw" / "dog").mkdir()
    for i in range(1, 600):
        os.link(first, tmp_path / "raw" / ("cat", "dog")[i % 2] / f"{i}.png")
    flags = ["--source", "folder", "--raw-dir", tmp_path / "raw", "--data", tmp_path / "data"]
    code = "import sys, aae_toolkit.data.pixels as p; p.usable_cores = lambda: 2; import aae_toolkit.cli.app as app\n"
    code += "if __name__ == '__main__': app.main()"
    command = subprocess.Popen(
        [sys.executable, "-c", code, "init-datasets", *map(str, flags)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        n_threads = 1 if target == "group at start" else 2
        while len(children := workers_of(command.pid, n_threads)) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        if target == "group at start":
            time.sleep(0.15)  # while Python starts in them
        if target.startswith("group"):
            os.killpg(command.pid, signum)  # as a terminal does
        else:
            os.kill(children[0] if target == "worker" else command.pid, signum)
        _, error = command.communicate(timeout=60)
        assert command.returncode == status
        assert said is None or (error.startswith(said) and error.count("\n") == 1), error
        while any(Path(f"/proc/{pid}").exists() for pid in children):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert not (tmp_path / "data").exists()
    finally:
        command.kill()
