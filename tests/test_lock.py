import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from refusals import refused

from aae_toolkit.files import lock
from aae_toolkit.files.lock import LOCK_FILE, lock_directory
from aae_toolkit.progress import Silent

HOLD = """
import os, sys, time
from pathlib import Path
from aae_toolkit.files.lock import lock_directory
with lock_directory(Path(sys.argv[1])):
    if "fork" in sys.argv and os.fork() == 0:
        print(os.getpid(), flush=True)
        time.sleep(60)
    if "fork" not in sys.argv:
        print(os.getpid(), flush=True)
    time.sleep(60)
"""


def holder(directory: Path, *flags: str) -> tuple[subprocess.Popen[str], int]:
    """A process that holds the lock, and what it printed: its process id, or its child's."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(directory), *flags], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


class Lines(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_a_lock_leaves_nothing_behind(tmp_path: Path) -> None:
    with lock_directory(tmp_path) as held:
        assert (tmp_path / LOCK_FILE).exists()
        held.require_held()
    assert list(tmp_path.iterdir()) == []
    with lock_directory(tmp_path / "new"):
        pass
    assert not (tmp_path / "new").exists()  # nothing was written in it
    with lock_directory(tmp_path / "new"):
        (tmp_path / "new" / "a").touch()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a"]


def test_the_second_is_refused_with_who_is_the_first_until_the_first_is_killed(tmp_path: Path) -> None:
    process, pid = holder(tmp_path)
    try:
        with refused(tmp_path, f"is being written by process {pid} on ", "wait"), lock_directory(tmp_path):
            pass
        assert (tmp_path / LOCK_FILE).exists()
    finally:
        process.kill()
        process.wait()
    (tmp_path / ".aae-0123abcd.model.json").touch()  # as the killed one may have left it
    with lock_directory(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]


def test_a_lock_does_not_outlive_its_owner_in_the_owners_children(tmp_path: Path) -> None:
    process, child = holder(tmp_path, "fork")
    try:
        process.kill()
        process.wait()
        os.kill(child, 0)  # it lives
        with lock_directory(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_two_locks_of_one_process_exclude_each_other_too(tmp_path: Path) -> None:
    with lock_directory(tmp_path):
        with refused("is being written by process"), lock_directory(tmp_path):
            pass
        assert (tmp_path / LOCK_FILE).exists()


def test_what_the_lock_file_says_is_not_trusted(tmp_path: Path) -> None:
    process, _ = holder(tmp_path)
    try:
        (tmp_path / LOCK_FILE).write_bytes(b"\x1b[2Jnobody\n" * 1000)
        with refused("is being written by another process"), lock_directory(tmp_path):
            pass
    finally:
        process.kill()
        process.wait()


def test_a_symbolic_link_in_the_place_of_the_lock_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    (tmp_path / LOCK_FILE).symlink_to(tmp_path / "precious")
    with refused("cannot be written"), lock_directory(tmp_path):
        pass
    assert (tmp_path / "precious").read_text() == "kept"


@pytest.mark.parametrize("change", ["removed", "moved", "replaced"])
def test_a_directory_that_goes_meanwhile_is_noticed(change: str, tmp_path: Path) -> None:
    directory = tmp_path / "directory"
    with lock_directory(directory) as held:
        directory.rename(tmp_path / "elsewhere")
        if change == "removed":
            (tmp_path / "elsewhere" / LOCK_FILE).unlink()
        if change == "replaced":
            directory.mkdir()
            (directory / LOCK_FILE).touch()
        with refused(directory, "removed, replaced or unmounted"):
            held.require_held()
    if change == "replaced":
        assert (directory / LOCK_FILE).exists()  # another one's


def test_on_a_file_system_without_locks_it_is_said_and_gone_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unable(descriptor: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(lock, "_flock", unable)
    progress = Lines()
    with lock_directory(tmp_path, progress) as held:
        held.require_held()
    [line] = progress.lines
    assert line.startswith(f"warning: {tmp_path} is on a file system without locks (No locks available)")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_directory_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with refused("cannot be written: it is a file, not a directory"), lock_directory(tmp_path / "file"):
        pass
