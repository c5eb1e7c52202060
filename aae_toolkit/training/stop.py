"""Being asked to stop: SIGINT and SIGTERM wait for the running step, so that it can be kept."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from aae_toolkit.distributed.collectives import is_alone, largest
from aae_toolkit.errors import AaeError

_STEPS_BETWEEN_AGREEMENTS = 10  # with other processes: they must stop at the same step


class Stopped(AaeError):  # noqa: N818  (it is asked for)
    """Training was asked to stop, and can be resumed."""

    def __init__(self, signum: int, where: str) -> None:
        """Take the signal's number, from which the exit status follows as in a shell."""
        super().__init__(f"stopped by {signal.Signals(signum).name} {where}; continue with --resume")
        self.exit_status = 128 + signum


class StopRequest:
    """Holds SIGINT and SIGTERM back while it is entered, but not a second SIGINT.

    A second SIGTERM is held back too: schedulers send it to a process both directly and by way of its parent.
    """

    def __init__(self) -> None:
        """Nothing has been asked yet."""
        self._signum = 0
        self._calls = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Take the signals over that are not ignored (nohup and shells in the background do); others are left alone."""
        if threading.current_thread() is threading.main_thread():  # no other thread can
            taken = (s for s in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(s) not in (signal.SIG_IGN, None))
            self._before = {s: signal.signal(s, self._remember) for s in taken}
        return self

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Give the signals back."""
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before = {}

    def _remember(self, signum: int, frame: FrameType | None) -> None:
        self._signum = signum
        if signum == signal.SIGINT:
            signal.signal(signum, self._before.pop(signum))

    def signum(self) -> int:
        """The signal that asked, 0 where none did; call once a step, in every process."""
        self._calls += 1
        if is_alone():
            return self._signum
        return largest(self._signum) if self._calls % _STEPS_BETWEEN_AGREEMENTS == 0 else 0
