"""What a measuring process is asked in tests: looked up by name over there, so this module loads nothing heavy."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from aae_toolkit.bench.session import Session
from aae_toolkit.bench.worker import _THREAD_VARIABLES


def facts_of(session: Session) -> dict[str, Any]:
    return {
        "variables": {name: os.environ.get(name) for name in _THREAD_VARIABLES},
        "affinity": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "torch": "torch" in sys.modules,
        "blocked": signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()),
    }


def refuse(session: Session, error: Exception) -> None:
    raise error


def end(session: Session, signum: int) -> None:
    os.kill(os.getpid(), signum)


def work(session: Session) -> None:
    time.sleep(600)
