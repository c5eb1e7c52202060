"""What comes with the tool, and what it does behind its user's back: nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY
from exports import one_variant

from aae_toolkit.backends.onnxruntime_backend import OnnxRuntimeBackend

sys.path.insert(0, str(REPOSITORY / "tools"))
from licences import PAGE, locked, page

LOCK = (REPOSITORY / "requirements.lock").read_text()
MODULES = sorted(
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
    for path in (REPOSITORY / "aae_toolkit").rglob("*.py")
    if path.name != "__main__.py"
)
WATCHED = """
import sys
seen = []
def watch(event, arguments):
    if event.startswith(("socket.", "subprocess.", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.fork",
                         "urllib.", "http.", "ftplib.", "smtplib.", "webbrowser.")):
        seen.append((event, arguments))
sys.addaudithook(watch)
"""


def watched(code: str) -> str:
    """Run code in a process that keeps the events of sockets and of other processes; what it printed."""
    done = subprocess.run([sys.executable, "-c", WATCHED + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_watch_sees_a_socket_and_a_process() -> None:
    seen = watched("""
import socket, subprocess
socket.socket().close()
subprocess.run([sys.executable, "-c", ""])
print(sorted({event for event, _ in seen}))
""")
    assert "socket.__new__" in seen
    assert "subprocess.Popen" in seen


def test_importing_the_package_opens_no_socket_and_starts_no_program() -> None:
    assert watched("import aae_toolkit, aae_toolkit.cli.app; print(seen)") == "[]\n"


@pytest.mark.slow
def test_importing_every_module_opens_no_socket_and_starts_no_program_of_its_own() -> None:
    """What torch imports may ask the system's loader which libraries there are; nothing here does, nothing connects."""
    code = f"""
import importlib, traceback
own = []
def whose(event, arguments):
    if seen and seen[-1] == (event, arguments):
        frames = [frame.filename for frame in traceback.extract_stack()]
        if not any("site-packages" in name for name in frames):
            own.append((event, arguments))
sys.addaudithook(whose)
for name in {MODULES!r}:
    importlib.import_module(name)
print([event for event, _ in seen if event.startswith(("socket.connect", "socket.bind", "socket.getaddrinfo",
                                                       "urllib.", "http."))], own)
"""
    assert watched(code) == "[] []\n"


def test_predicting_opens_no_socket_and_starts_no_program(tmp_path: Path) -> None:
    code = f"""
from aae_toolkit.cli.app import run
assert run(["predict", "--model", {str(tmp_path / "absent.onnx")!r}, "x.png"]) == 1
print(seen)
"""
    assert watched(code) == "[]\n"


@one_variant
def test_onnx_runtime_is_told_to_report_nothing(export_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its telemetry exists on Windows alone, and the switch everywhere."""
    import onnxruntime

    told = []
    monkeypatch.setattr(onnxruntime, "disable_telemetry_events", lambda: told.append(True))
    OnnxRuntimeBackend(export_dir / "classifier.onnx")
    assert told


def test_every_locked_package_is_pinned_and_has_checksums() -> None:
    entries = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", LOCK, flags=re.M).strip())
    assert len(entries) > 80
    for entry in entries:
        first, *hashes = (line.strip().removesuffix("\\").strip() for line in entry.splitlines())
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[^\s;]+( ; .*)?", first), first
        assert hashes, f"{first} has no checksum"
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line) for line in hashes), first


def test_what_the_project_asks_for_is_locked() -> None:
    import tomllib

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["gpu"], *extras["train"], *extras["dev"]]
    names = {re.split(r"[>=<\[; ]", one)[0].lower().replace("_", "-") for one in asked}
    assert names <= set(locked(LOCK)), "run `make lock`"


def test_every_locked_package_has_its_licence_in_the_docs() -> None:
    rows = re.findall(r"^\| ([a-z0-9-]+) \| (\d\S*) \| (.+) \|$", PAGE.read_text(), flags=re.M)
    assert {name: version for name, version, _ in rows} == locked(LOCK), "run `make lock`"
    assert [name for name, _, licence in rows if not licence.strip() or "unknown" in licence.lower()] == []
    assert page(LOCK).splitlines()[0] == PAGE.read_text().splitlines()[0]
