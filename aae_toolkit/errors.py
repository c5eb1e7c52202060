"""The errors a user can meet, each with the exit status that the command line gives it.

Every message is one line: what was found, and what would be right.
"""

from __future__ import annotations


class AaeError(Exception):
    """Something asked for could not be done; the message says what and why."""

    exit_status = 1


class UsageError(AaeError):
    """The command line or the configuration asks for something impossible."""

    exit_status = 2


class ParityError(AaeError):
    """An exported artifact is not the same classifier as the trained model."""

    exit_status = 3


class GateError(AaeError):
    """An artifact of reduced precision loses too much accuracy, or gains nothing."""

    exit_status = 4


class DeviceError(AaeError):
    """The asked-for device or execution provider did not run."""

    exit_status = 5


class SlowerError(AaeError):
    """A benchmark is slower than its baseline allows."""

    exit_status = 6
