import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from exports import one_variant
from refusals import refused
from remote import end, facts_of, refuse, work

from aae_toolkit.backends.protocol import Runnable
from aae_toolkit.bench.expected import Golden
from aae_toolkit.bench.session import Effort, Job, Session
from aae_toolkit.bench.worker import Worker, answer_of, pin_to_cores
from aae_toolkit.errors import AaeError, DeviceError, ParityError
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.parity.cases import golden_case

linux = pytest.mark.skipif(not Path("/proc/thread-self/children").is_file(), reason="needs Linux's /proc")


@pytest.fixture(scope="module")
def job(export_dir: Path) -> Job:
    export = ExportDirectory.open(export_dir)
    golden = Golden.of_case(golden_case(export), "fp32")
    return Job(export, Runnable("classifier", "onnxruntime", "classifier.onnx"), "cpu", 1, golden)


@pytest.fixture(scope="module")
def worker(job: Job) -> Iterator[Worker]:
    """A process of its own that the tests of this module share; it loads no torch."""
    with Worker(job) as started:
        opened = started.call(Session.start)
        assert opened.device.startswith("cpu")
        assert min(opened.import_seconds, opened.load_seconds) > 0
        yield started


@one_variant
def test_threads_and_cores_are_the_child_s_alone(worker: Worker) -> None:
    before = dict(os.environ)
    facts = worker.call(facts_of)
    assert set(facts["variables"].values()) == {"1"}
    assert facts["blocked"]
    assert not facts["torch"]  # so that memory and imports are the runtime's own
    assert dict(os.environ) == before
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    if hasattr(os, "sched_getaffinity"):
        assert facts["affinity"] == sorted(os.sched_getaffinity(0))[-1:]


@one_variant
def test_the_session_s_methods_run_over_there(worker: Worker) -> None:
    effort = Effort(seconds=0, iterations=2, warm_up_seconds=0)
    assert worker.call(Session.prepare, "end-to-end", 3) > 0
    assert len(worker.call(Session.time, effort)) == 2
    assert worker.call(Session.warm_up, effort) is False
    assert 10 < worker.call(Session.peak_rss_mib) < 400  # not that of this process, which has torch


@one_variant
@pytest.mark.parametrize("kind", [AaeError, DeviceError, ParityError, ModuleNotFoundError])
def test_refusals_come_back_as_they_are(worker: Worker, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        worker.call(refuse, kind("what was found, and what would be right"))
    assert type(caught.value) is kind
    assert str(caught.value) == "what was found, and what would be right"


@one_variant
def test_other_errors_come_back_as_one_line_with_their_traceback_for_debugging(worker: Worker) -> None:
    with pytest.raises(AaeError) as caught:
        worker.call(refuse, LookupError("a\nb"))
    assert str(caught.value) == "onnxruntime failed on classifier.onnx: LookupError: a b"
    assert "in refuse" in caught.value.__notes__[0]


@one_variant
def test_an_error_that_cannot_be_pickled_travels_all_the_same(job: Job) -> None:
    class Local(Exception):  # noqa: N818
        pass

    def fail() -> None:
        raise Local("why")

    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(Local("why"))
    assert str(pickle.loads(pickle.dumps(answer_of(job, fail)))) == "onnxruntime failed on classifier.onnx: Local: why"


@one_variant
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSEGV])
def test_a_process_that_dies_is_one_line(job: Job, signum: signal.Signals) -> None:
    with Worker(job) as dying:
        with refused(f"the measuring process was ended by {signum.name} while onnxruntime ran classifier.onnx (end)"):
            dying.call(end, signum)
        with refused("the measuring process was ended by"):  # asked again
            dying.call(end, signum)


@one_variant
def test_leaving_ends_the_process_also_while_it_works(job: Job) -> None:
    with Worker(job) as busy:
        busy._connection.send((work, (), {}))
    assert busy._process.exitcode == -signal.SIGKILL


def test_no_more_cores_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[list[int]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5, 3, 7}, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cores: pinned.append(cores), raising=False)
    for n in (1, 2, 9):
        pin_to_cores(n)
    assert pinned == [[7], [5, 7], [3, 5, 7]]


def processes_under(pid: int) -> list[int]:
    """Measuring processes that have got their job: one that has not yet would complain that its parent is gone."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    spawned = [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
    return [int(child) for child in spawned if len(list(Path(f"/proc/{child}/task").iterdir())) > 1]  # have threads


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)


@one_variant
@linux
@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_stopping_the_command_ends_its_processes(export_dir: Path, signum: signal.Signals, status: int) -> None:
    flags = ["--export", str(export_dir), "--backends", "onnxruntime", "--threads", "1", "--rounds", "1000000"]
    command = subprocess.Popen(
        [sys.executable, "-m", "aae_toolkit", "bench", *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(lambda: processes_under(command.pid))
        children = processes_under(command.pid)
        if signum == signal.SIGINT:
            os.killpg(command.pid, signum)  # as a terminal does
        else:
            os.kill(command.pid, signum)
        _, error = command.communicate(timeout=60)
        assert command.returncode == status
        assert error == ("aae: interrupted\n" if signum == signal.SIGINT else "")
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), seconds=20)
    finally:
        command.kill()
