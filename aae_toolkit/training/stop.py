"""Stop requests: SIGINT and SIGTERM wait until the running step is in a checkpoint."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from aae_toolkit.distributed.collectives import is_alone, largest
from aae_toolkit.errors import AaeError

_STEPS_BETWEEN_AGREEMENTS = 10  # several processes must stop at the same step


class Stopped(AaeError):  # noqa: N818  (no error: it was asked for)
    """Training was asked to stop, and can be resumed."""

    def __init__(self, signum: int, where: str, advice: str) -> None:
        """Derive the exit status from the signal's number, as a shell does."""
        super().__init__(f"stopped by {signal.Signals(signum).name} {where}; {advice}")
        self.exit_status = 128 + signum


class StopRequest:
    """Holds SIGINT and SIGTERM back while entered; a second SIGINT acts at once.

    A second SIGTERM is held back too: schedulers send it to a process both directly and through its parent.
    """

    def __init__(self) -> None:
        """Start without a request."""
        self._signum = 0
        self._calls = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Handle the signals, except those that are ignored, as under nohup or in a shell's background."""
        if threading.current_thread() is threading.main_thread():  # no other thread may handle signals
            taken = (s for s in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(s) not in (signal.SIG_IGN, None))
            self._before = {s: signal.signal(s, self._remember) for s in taken}
        return self

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Restore the handlers."""
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before = {}

    def _remember(self, signum: int, frame: FrameType | None) -> None:
        self._signum = signum
        if signum == signal.SIGINT:
            signal.signal(signum, self._before.pop(signum))

    def signum(self) -> int:
        """Return the signal that asked to stop, 0 where none did; call this once a step, in every process."""
        self._calls += 1
        if is_alone():
            return self._signum
        return largest(self._signum) if self._calls % _STEPS_BETWEEN_AGREEMENTS == 0 else 0
