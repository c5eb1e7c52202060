"""Damaged files by the thousand, and a process in which reading them can do no harm."""

from __future__ import annotations

import io
import os
import re
import resource
import signal
import sys
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

from aae_toolkit.errors import AaeError

SECONDS = 10  # that one file may take
MEMORY = 2 * 2**30  # bytes that reading may add to the process
STATUSES = {1, 2, 3, 4, 5, 6}  # of the contract

_NUMBER = re.compile(rb"-?\d+(\.\d+)?([eE][-+]?\d+)?")
_SPECIAL = [
    b"-1", b"0", b"1", b"1e999", b"-1e999", b"NaN", b"9" * 400, b"18446744073709551616", b"2147483648", b"1e-320",
    b"null", b"true", b'"x"', b"[]", b"{}", b"[[[[[[]]]]]]", b'"\\u001b[2J\\n"', b'"../../x"', b"0x" + b"f" * 5000,
]  # fmt: skip
_FOREIGN = [
    b"", b"\x00", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\x93NUMPY\x01\x00",
    b"\x80\x02}q\x00.", b"{}", b"[]", b"null", b"[" * 100_000, b"# text\n", b"\xff\xfe", b"\x1f\x8b\x08\x00",
    bytes(4096), b"P6\n99999 99999\n255\n", b"BM" + b"\xff" * 60, b"\x08\x03", b"%PDF-1.7", b"%!PS\n(x) run",
]  # fmt: skip


@dataclass(frozen=True)
class Mutation:
    """One change to a file; `at`, `to` are fractions of its length, so that it fits any."""

    kind: str
    at: float
    to: float
    value: bytes
    number: int

    def apply(self, content: bytes, others: list[bytes]) -> bytes:
        """The damaged content; `others` are whole files of other formats."""
        low, high = sorted((int(self.at * len(content)), int(self.to * len(content))))
        here = content[low : low + 1]
        made: dict[str, Callable[[], bytes]] = {
            "truncate": lambda: content[:low],
            "overwrite": lambda: content[:low] + self.value + content[low + len(self.value) :],
            "insert": lambda: content[:low] + self.value + content[low:],
            "delete": lambda: content[:low] + content[high:],
            "double": lambda: content[:high] + content[low:],
            "extend": lambda: content + self.value * (1 + self.number),
            "blank": lambda: content[:low] + bytes(high - low) + content[high:],
            "flip": lambda: content[:low] + bytes(b ^ (1 << self.number % 8) for b in here) + content[low + 1 :],
            "swap": lambda: others[self.number % len(others)],
            "foreign": lambda: _FOREIGN[self.number % len(_FOREIGN)],
            "version": lambda: re.sub(rb"-[1-9]\b", b"-9", content),
            "value": lambda: self._with_value(content),
            "member": lambda: self._within_archive(content, others),
        }
        return made[self.kind]()

    def _with_value(self, content: bytes) -> bytes:
        """One of the numbers that a text holds, replaced by something else."""
        found = list(_NUMBER.finditer(content))
        if not found:
            return self.value
        start, end = found[int(self.at * (len(found) - 1))].span()
        return content[:start] + _SPECIAL[self.number % len(_SPECIAL)] + content[end:]

    def _within_archive(self, content: bytes, others: list[bytes]) -> bytes:
        """The change inside one member, whose checksum is made right again."""
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                members = [(info.filename, archive.read(info)) for info in archive.infolist()]
        except zipfile.BadZipFile:
            return self.value
        chosen = int(self.to * (len(members) - 1))
        kinds = ("flip", "overwrite", "truncate", "value", "swap", "insert")
        inner = Mutation(kinds[self.number % len(kinds)], self.at, self.at, self.value, self.number)
        written = io.BytesIO()
        with zipfile.ZipFile(written, "w") as archive:
            for index, (name, member) in enumerate(members):
                archive.writestr(name, inner.apply(member, others) if index == chosen else member)
        return written.getvalue()


KINDS = ("truncate", "flip", "overwrite", "insert", "delete", "double", "extend", "blank", "swap", "foreign", "version",
         "value", "member")  # fmt: skip
mutations = st.builds(
    Mutation,
    st.sampled_from(KINDS),
    st.floats(0, 1),
    st.floats(0, 1),
    st.binary(min_size=1, max_size=8),
    st.integers(0, 999),
)


@dataclass(frozen=True)
class Target:
    """A file that is damaged, whole content that it has, and what reads it."""

    path: Path
    read: Callable[[], object]


def read_in_child(target: Target, contents: list[bytes], scratch: Path) -> Counter[str]:
    """Read each content in a process with limits; count `clean` and `refused`.

    Raises:
        AssertionError: an exception that is no refusal, a refusal of several lines, a crash, a hang, or a file that
            appeared beside the damaged one.
    """
    outcomes: Counter[str] = Counter()
    done = 0
    while done < len(contents):
        receiving, sending = os.pipe()
        child = os.fork()
        if child == 0:
            _child(target, contents[done:], scratch, sending)  # does not return
        os.close(sending)
        with os.fdopen(receiving, "rb") as pipe:
            lines = pipe.read().decode(errors="replace").split("\0")[:-1]
        _, status = os.waitpid(child, 0)
        for line in lines:
            assert line in ("clean", "refused"), line
            outcomes[line] += 1
        done += len(lines)
        if os.WIFSIGNALED(status):
            name = signal.Signals(os.WTERMSIG(status)).name
            assert name != "SIGALRM", f"reading took more than {SECONDS} s"
            outcomes[f"crashed by {name}"] += 1
            done += 1
    return outcomes


def _child(target: Target, contents: list[bytes], scratch: Path, sending: int) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    os.chdir(scratch)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    before = _names(target.path.parent) | _names(scratch)
    for content in contents:
        target.path.write_bytes(content)
        signal.alarm(SECONDS)
        outcome = _outcome(target.read)
        signal.alarm(0)
        if appeared := (_names(target.path.parent) | _names(scratch)) - before:
            outcome = f"written: {appeared}"
        os.write(sending, outcome.encode(errors="replace") + b"\0")
    sys.stdout.flush()
    os._exit(0)


def _outcome(read: Callable[[], object]) -> str:
    try:
        read()
    except AaeError as error:
        message = str(error)
        if len(message.splitlines()) != 1 or error.exit_status not in STATUSES:
            return f"refused badly: {message!r}"
        return "refused"
    except BaseException:
        return traceback.format_exc()
    return "clean"


def _names(directory: Path) -> set[str]:
    return {str(path) for path in directory.rglob("*")}
