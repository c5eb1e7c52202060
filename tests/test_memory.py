import numpy as np
import pytest
import torch
from refusals import refused

from aae_toolkit.cli.app import run
from aae_toolkit.machine.memory import is_out_of_memory, memory_advice


def test_what_libraries_raise_without_memory_is_known_as_such() -> None:
    for allocate in (lambda: torch.empty(2**55), lambda: np.empty(2**55), lambda: bytearray(2**60)):
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            allocate()
        assert is_out_of_memory(caught.value), caught.value


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes differ"), OSError(28, "No space left on device"), ValueError("bad_alloc")]
)
def test_other_errors_are_not(error: Exception) -> None:
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)), memory_advice("lower it"):
        raise error


def test_advice_is_one_line() -> None:
    with refused("out of memory; lower it"), memory_advice("lower it"):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")


def test_any_command_says_in_one_line_that_memory_ran_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def exhausted() -> None:
        raise MemoryError

    monkeypatch.setattr("aae_toolkit.machine.doctor.diagnose", exhausted)
    assert run(["doctor"]) == 1
    assert capsys.readouterr().err == "aae: out of memory; this command needs more than is free\n"
