import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from exports import one_variant
from refusals import refused

from aae_toolkit.backends.protocol import Bound, Runnable
from aae_toolkit.bench import session as session_module
from aae_toolkit.bench.expected import Golden
from aae_toolkit.bench.scenarios import Cell, parse_ios, parse_rates, parse_sizes, plan
from aae_toolkit.bench.session import Effort, Job, Session
from aae_toolkit.errors import ParityError, UsageError
from aae_toolkit.export.contract import Tensors
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.parity.cases import golden_case

ONCE = Effort(rounds=1, seconds=0, iterations=1, warm_up_seconds=0)
N, K = 4, 3


def golden_of(tolerance: float = 1e-4) -> Golden:
    images = np.arange(N, dtype=np.uint8).reshape(N, 1, 1, 1)
    return Golden(images, answers(images), np.array([0.5, 0.5, 0.5, tolerance]), tolerance)


def answers(images: np.ndarray) -> Tensors:
    n = images.reshape(-1).astype(np.float32)
    probabilities = np.stack([n / 8, (8 - n) / 16, (8 - n) / 16], axis=1)
    label = (n > 1).astype(np.int64)
    return {"label": label, "probabilities": probabilities, "category": label.copy()}


class Fake:
    """A backend that answers rightly, but for what `change` does to it."""

    name, artifact, device, input_names = "onnxruntime", "classifier.onnx", "cpu", ["images"]

    def __init__(self, change: Callable[[Tensors], Tensors] = lambda outputs: outputs) -> None:
        self.change = change
        self.seen: list[int] = []

    def run(self, feeds: Tensors) -> Tensors:
        self.seen += feeds["images"].reshape(-1).tolist()
        return self.change(answers(feeds["images"]))

    def bind(self, feeds: Tensors) -> Bound:
        given: Tensors = {}
        return Bound(lambda: given.update(self.run(feeds)), lambda: given)

    def close(self) -> None:
        pass


def session_of(backend: Fake, golden: Golden | None = None) -> Session:
    runnable = Runnable("classifier", "onnxruntime", "classifier.onnx")
    session = Session(Job(Path(), runnable, "cpu", 1, golden or golden_of()))
    session._backend = backend  # type: ignore[assignment]
    return session


def test_golden_images_are_repeated_from_the_last_on() -> None:
    batch = golden_of().batch(6)
    assert batch.images.reshape(-1).tolist() == [3, 2, 1, 0, 3, 2]
    assert batch.problem(answers(batch.images)) is None
    assert [single.images.reshape(-1).tolist() for single in golden_of().singles()] == [[0], [1], [2], [3]]


def shifted(by: float) -> Callable[[Tensors], Tensors]:
    return lambda outputs: outputs | {"probabilities": (outputs["probabilities"] + by).astype(np.float32)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda outputs: {}, "no label that is int64"),
        (
            lambda outputs: outputs | {"probabilities": outputs["probabilities"][:, :2]},
            "no probabilities that is float32",
        ),
        (lambda outputs: outputs | {"label": outputs["label"].astype(np.int32)}, "no label that is int64"),
        (shifted(0.011), "probabilities differ by 0.011 (allowed 0.01)"),
        (shifted(float("nan")), "probabilities differ by nan"),
        (lambda outputs: outputs | {"category": outputs["category"] + 1}, "category differs for 3 of 4 images, beyond"),
    ],
)
@pytest.mark.parametrize("io", ["end-to-end", "bound"])
def test_other_outputs_than_the_golden_ones_are_refused(
    io: str, change: Callable[[Tensors], Tensors], said: str
) -> None:
    session = session_of(Fake(change), golden_of(tolerance=0.01))
    with refused("onnxruntime gives other outputs", "classifier.onnx", said, kind=ParityError):
        session.prepare(io, N)  # type: ignore[arg-type]


def test_what_rounding_explains_is_not_refused() -> None:
    def rounded(outputs: Tensors) -> Tensors:
        label = outputs["label"].copy()
        label[0] += 1  # of image 3, whose margin is as small as the tolerance
        return shifted(0.009)(outputs) | {"label": label}

    assert session_of(Fake(rounded), golden_of(tolerance=0.01)).prepare("end-to-end", N) > 0


@pytest.mark.parametrize("after", [1, 2, 3])
def test_outputs_are_checked_after_every_turn_not_only_the_first(after: int) -> None:
    backend = Fake()
    session = session_of(backend)
    session.prepare("end-to-end", 2)
    for _ in range(after):
        assert len(session.time(ONCE)) == 1
    backend.change = shifted(0.1)
    with refused("probabilities differ by 0.1", kind=ParityError):
        session.time(ONCE)


def test_a_turn_has_at_least_its_iterations_and_one_run_before_them() -> None:
    backend = Fake()
    session = session_of(backend)
    session.prepare("end-to-end", 1)
    backend.seen.clear()
    assert len(session.time(replace(ONCE, iterations=7))) == 7
    assert len(backend.seen) == 8


@pytest.mark.parametrize(
    ("medians", "stable", "taken"),
    [([10, 10.4], True, 2), ([100, 50, 20, 10, 10], True, 5), ([10, 20, 40, 80, 160], False, 5)],
)
def test_warming_up_goes_on_until_the_median_settles_or_time_is_up(
    monkeypatch: pytest.MonkeyPatch, medians: list[float], stable: bool, taken: int
) -> None:
    clock = iter(range(100))  # a second each time it is looked at
    monkeypatch.setattr(session_module.time, "perf_counter", lambda: next(clock))
    turns = iter(medians)
    session = session_of(Fake())
    monkeypatch.setattr(session, "time", lambda _: [next(turns)] * 3)
    assert session.warm_up(replace(ONCE, warm_up_seconds=4.5)) is stable
    assert list(turns) == medians[taken:]


def test_what_does_not_run_is_one_line_with_the_batch_size() -> None:
    def fail(_: Tensors) -> Tensors:
        raise RuntimeError("Got invalid dimensions\n Expected: 2")

    with refused("onnxruntime cannot run classifier.onnx at batch size 3: Got invalid dimensions Expected: 2"):
        session_of(Fake(fail)).prepare("end-to-end", 3)


def test_queries_go_over_all_golden_images_and_every_answer_is_checked() -> None:
    backend = Fake()
    session = session_of(backend)
    session.prepare_queries()
    backend.seen.clear()
    served = session.serve(1e6, 9, seed=0)
    assert backend.seen[1:] == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    assert len(served.latencies_ms) == 9
    assert served.seconds > 0
    backend.change = lambda outputs: shifted(0.1)(outputs) if len(backend.seen) == 14 else outputs
    with refused("probabilities differ by 0.1", kind=ParityError):  # the third answer alone is wrong
        session.serve(1e6, 9, seed=0)


def test_a_query_s_latency_begins_when_it_was_due(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def passing(seconds: float = 1e-4) -> float:  # each look at the clock takes a while
        nonlocal now
        now += seconds
        return now

    monkeypatch.setattr(session_module.time, "perf_counter", passing)
    monkeypatch.setattr(session_module.time, "sleep", passing)

    def slow(outputs: Tensors) -> Tensors:
        passing(1.0)
        return outputs

    backend = Fake()
    session = session_of(backend)
    session.prepare_queries()
    backend.change = slow
    served = session.serve(10.0, 20, seed=0)  # ten times as many as it can answer: the last waits for all before it
    assert served.seconds == pytest.approx(20, abs=1)
    assert served.latencies_ms[-1] == pytest.approx(1000 * 18, abs=1000)
    assert statistics.median(served.latencies_ms) > 5000


def test_arrivals_are_poisson_s_at_the_rate_and_differ_by_round(monkeypatch: pytest.MonkeyPatch) -> None:
    due: list[float] = []
    monkeypatch.setattr(session_module, "_wait_until", due.append)
    session = session_of(Fake())
    session.prepare_queries()
    for seed in (0, 0, 1):
        session.serve(500.0, 4000, seed=seed)
    first, again, other = (np.diff(due[i : i + 4000]) for i in (0, 4000, 8000))
    np.testing.assert_allclose(first, again, atol=1e-6)
    assert np.abs(first - other).max() > 1e-4
    assert first.min() >= 0
    assert first.mean() == pytest.approx(1 / 500, rel=0.01)
    assert first.std() == pytest.approx(1 / 500, rel=0.1)  # of an exponential: its mean


@one_variant
@pytest.mark.parametrize("backend", ["eager", "onnxruntime"])
@pytest.mark.parametrize("io", ["end-to-end", "bound"])
def test_real_backends_give_the_golden_outputs(export_dir: Path, backend: str, io: str) -> None:
    opened = ExportDirectory.open(export_dir)
    golden = Golden.of_case(golden_case(opened), "fp32")
    file = {"eager": "weights.safetensors", "onnxruntime": "classifier.onnx"}[backend]
    threads_before = torch.get_num_threads()
    session = Session(Job(opened, Runnable("classifier", backend, file), "cpu", 1, golden))  # type: ignore[arg-type]
    session.load()
    assert session.prepare(io, 50) > 0  # type: ignore[arg-type]
    assert len(session.time(replace(ONCE, iterations=2))) == 2
    assert session.peak_rss_mib() > 10
    session.close()
    torch.set_num_threads(threads_before)


def test_the_plan_has_every_cell_once_and_queries_end_to_end() -> None:
    assert plan((1, 32, 1), ("end-to-end", "bound"), (200.0, 200.0)) == [
        Cell("single-stream", 1, "end-to-end"),
        Cell("single-stream", 1, "bound"),
        Cell("offline", 32, "end-to-end"),
        Cell("offline", 32, "bound"),
        Cell("server", 1, "end-to-end", 200.0),
    ]
    assert [cell.scenario for cell in plan((1,), ("end-to-end",), ())] == ["single-stream"]


def test_lists_are_read_in_their_order() -> None:
    assert parse_sizes("--batch-sizes", "256, 1") == (256, 1)
    assert parse_rates("1000,0.5") == (1000, 0.5)
    assert parse_rates(None) == ()
    assert parse_ios(None, "cpu") == ("end-to-end",)
    assert parse_ios(None, "cuda:0") == ("end-to-end", "bound")
    assert parse_ios("bound", "cpu") == ("bound",)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "fast", "", "1,,2"])
def test_rates_that_are_none_are_refused(text: str) -> None:
    with refused(f"--server-rates {text!r}: give positive numbers", kind=UsageError):
        parse_rates(text)
