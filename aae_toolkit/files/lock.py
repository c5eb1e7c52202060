"""Directory locks: one writer at a time; a lock ends with its process, also if that is killed."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from aae_toolkit.errors import AaeError
from aae_toolkit.files import remove_leftovers
from aae_toolkit.progress import Progress, Silent

LOCK_FILE = ".aae-lock"

_HELD_ELSEWHERE = {errno.EWOULDBLOCK, errno.EACCES}
_OWNER_LENGTH = 200  # characters of the lock file that are read

_held: set[int] = set()  # open lock files of this process


def _let_go() -> None:
    """Close the locks in a forked child, which would keep holding them after the parent is killed."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


class DirectoryLock:
    """Directory locked by this process."""

    def __init__(self, directory: Path, descriptor: int) -> None:
        """Hold `descriptor`, the directory's lock file."""
        self.directory = directory
        self._descriptor = descriptor

    def require_held(self) -> None:
        """Raise `AaeError` if the directory or its lock file is no longer the one that was locked.

        It was removed, moved or unmounted, and further files would be written to another place.
        """
        if not self.is_held():
            raise AaeError(
                f"{self.directory} was removed, replaced or unmounted while it was being written to; nothing more is"
                " written there"
            )

    def is_held(self) -> bool:
        """Whether the lock file at its path is still the one that was opened."""
        try:
            return os.path.samestat((self.directory / LOCK_FILE).stat(), os.fstat(self._descriptor))
        except OSError:
            return False


@contextmanager
def lock_directory(directory: Path, progress: Progress | None = None) -> Iterator[DirectoryLock]:
    """Lock `directory` for this process inside the context; create it if absent.

    The lock is the kernel's (`flock`): it ends with its process, also if that is killed; a lock file left behind locks
    nothing. On a file system without locks, `progress` gets a warning and other writers are not kept out. Temporary
    files of killed writers are removed, and at the end also the directory if it was created here and is empty.

    Raises:
        AaeError: another process holds the lock, or the directory cannot be written.
    """
    path = directory / LOCK_FILE
    made = not directory.exists()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = _open_locked(path, progress or Silent())
    except FileExistsError as error:
        raise AaeError(f"{directory} cannot be written: it is a file, not a directory") from error
    except OSError as error:
        raise AaeError(f"{directory} cannot be written: {error.strerror or error}") from error
    _held.add(descriptor)
    lock = DirectoryLock(directory, descriptor)
    try:
        with suppress(OSError):  # the disk may be full
            os.truncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        remove_leftovers(directory)
        yield lock
    finally:
        if descriptor in _held:  # false in a forked child
            _release(lock, remove_directory=made)
            _held.remove(descriptor)
            os.close(descriptor)


def _release(lock: DirectoryLock, *, remove_directory: bool) -> None:
    """Remove the lock file, and with `remove_directory` an empty directory, while both are still locked."""
    with suppress(OSError):  # a remaining lock file locks nothing; the directory may not be empty
        if lock.is_held():
            (lock.directory / LOCK_FILE).unlink()
            if remove_directory:
                lock.directory.rmdir()


def _open_locked(path: Path, progress: Progress) -> int:
    """Open the lock file and lock it; start over if its last owner removed it meanwhile."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            _flock(descriptor)
        except OSError as error:
            if error.errno in _HELD_ELSEWHERE:
                os.close(descriptor)
                raise AaeError(
                    f"{path.parent} is being written by {_owner(path)}; wait for it to end, or give another directory"
                ) from error
            progress.say(
                f"warning: {path.parent} is on a file system without locks ({error.strerror}): let no other process"
                " write there meanwhile"
            )
            return descriptor
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(descriptor)):
                return descriptor
        os.close(descriptor)


def _flock(descriptor: int) -> None:
    """Lock the file for this process only, or raise `OSError` at once."""
    try:
        import fcntl
    except ImportError as error:  # not on Windows
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from error
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _owner(path: Path) -> str:
    """Return the owner that the lock file names; unverified."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            owner = file.read(_OWNER_LENGTH)
    except OSError:
        owner = ""
    return owner if owner and owner.isprintable() else "another process"
