"""One writer at a time in a directory, by a lock that ends with its owner, however that ends."""

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
    """A forked child shares its parent's locks, and would hold them on when the parent is killed."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


class DirectoryLock:
    """A directory that this process has for itself."""

    def __init__(self, directory: Path, descriptor: int) -> None:
        """Hold `descriptor`, the directory's lock file."""
        self.directory = directory
        self._descriptor = descriptor

    def require_held(self) -> None:
        """Raise `AaeError` where the directory, or its lock file, is no longer the one that was locked.

        It was removed, moved away or unmounted, and what is written now would lie in another place.
        """
        if not self.is_held():
            raise AaeError(
                f"{self.directory} was removed, replaced or unmounted while it was being written to; nothing more is"
                " written there"
            )

    def is_held(self) -> bool:
        """Whether the lock file at its path is the one that was opened."""
        try:
            return os.path.samestat((self.directory / LOCK_FILE).stat(), os.fstat(self._descriptor))
        except OSError:
            return False


@contextmanager
def lock_directory(directory: Path, progress: Progress | None = None) -> Iterator[DirectoryLock]:
    """Have `directory` for this process while the context is entered; it is made where it is absent.

    The lock is the kernel's (`flock`), so it ends with the process that holds it, also where that is killed; its file
    may stay behind then, which is no lock. On a file system that cannot lock, `progress` is told so, and nobody is kept
    out. Temporary files of a writer that was killed are removed, and at the end a directory that is still empty.

    Raises:
        AaeError: another process has it, or it cannot be written.
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
        if descriptor in _held:  # it is not in a forked child
            _release(lock, remove_directory=made)
            _held.remove(descriptor)
            os.close(descriptor)


def _release(lock: DirectoryLock, *, remove_directory: bool) -> None:
    """Remove the lock file, and the directory if asked to and it is empty, while both are still locked."""
    with suppress(OSError):  # an unremovable lock file locks nothing, and the directory may hold something
        if lock.is_held():
            (lock.directory / LOCK_FILE).unlink()
            if remove_directory:
                lock.directory.rmdir()


def _open_locked(path: Path, progress: Progress) -> int:
    """Open the lock file and lock it; start over where its last owner removed it meanwhile."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            _flock(descriptor)
        except OSError as error:
            if error.errno in _HELD_ELSEWHERE:
                os.close(descriptor)
                raise AaeError(
                    f"{path.parent} is being written by {_owner(path)}; wait for it to end, or name another directory"
                ) from error
            progress.say(
                f"warning: {path.parent} is on a file system without locks ({error.strerror}): let nothing else write"
                " there meanwhile"
            )
            return descriptor
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(descriptor)):
                return descriptor
        os.close(descriptor)


def _flock(descriptor: int) -> None:
    """Lock for this process alone, or raise `OSError` at once."""
    try:
        import fcntl
    except ImportError as error:  # not on Windows
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from error
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _owner(path: Path) -> str:
    """Who says in the lock file that it has the lock; it is no proof."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            said = file.read(_OWNER_LENGTH)
    except OSError:
        said = ""
    return said if said and said.isprintable() else "another process"
