"""Errors for users, each with the exit status of the command line.

Every message is one line: the problem found, and how to fix it.
"""

from __future__ import annotations


class AaeError(Exception):
    """A request that failed; the message says why."""

    exit_status = 1


class UsageError(AaeError):
    """Wrong usage: the command line or the configuration asks for something impossible."""

    exit_status = 2


class ParityError(AaeError):
    """Parity refused: an exported file is not the same classifier as the trained model."""

    exit_status = 3


class GateError(AaeError):
    """Reduced precision refused: it loses too much accuracy, or is no smaller or faster."""

    exit_status = 4


class DeviceError(AaeError):
    """Requested device or execution provider that did not run."""

    exit_status = 5


class SlowerError(AaeError):
    """Benchmark slower than its baseline allows."""

    exit_status = 6
