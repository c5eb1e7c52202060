import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from aae_toolkit.files import (
    atomic_path,
    native_sink,
    remove_leftovers,
    sha256,
    verify_sha256,
    write_bytes,
    write_json,
    write_text,
)


def names(directory):
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize("error", [OSError("disk full"), ValueError("bad"), KeyboardInterrupt()])
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_writer_that_fails_leaves_the_old_file_and_no_temporary(tmp_path, error, old):
    path = tmp_path / "model.onnx"
    if old is not None:
        path.write_bytes(old)

    def fail_halfway():
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"half of the ne")
            raise error

    with pytest.raises(type(error)):
        fail_halfway()
    assert names(tmp_path) == ([] if old is None else ["model.onnx"])
    assert old is None or path.read_bytes() == old


def test_a_writer_that_writes_nothing_is_an_error_and_leaves_the_old_file(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.txt"):
        pass
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("name", ["a.npz", "a.torchscript.pt", "curve.png"])
def test_the_temporary_lies_beside_the_file_with_its_suffixes_and_the_old_file_stays_until_the_end(tmp_path, name):
    path = tmp_path / name
    path.write_text("old")
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary != path
        assert temporary.suffix == path.suffix
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == [name]


def test_two_writers_at_once_do_not_share_a_temporary(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_path(path) as first, atomic_path(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"
    assert names(tmp_path) == ["a.txt"]


def test_absent_parent_directories_are_made(tmp_path):
    write_bytes(tmp_path / "a" / "b" / "c.bin", b"\x00\xff")
    assert (tmp_path / "a" / "b" / "c.bin").read_bytes() == b"\x00\xff"


def test_text_is_written_as_utf_8_with_its_line_ends_as_given(tmp_path):
    write_text(tmp_path / "a.txt", "größer\r\n…")
    assert (tmp_path / "a.txt").read_bytes() == "größer\r\n…".encode()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    )
)
def test_json_reads_back_as_it_was_written(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    content = path.read_text(encoding="utf-8")
    assert json.loads(content) == value
    assert content.endswith("\n")


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("content", [b"", b"abc", bytes(range(256)) * 5000])
def test_an_intact_file_is_accepted(tmp_path, content):
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    assert sha256(path) == hashlib.sha256(content).hexdigest()
    verify_sha256(path, sha256(path))


@pytest.mark.parametrize("damaged", [b"abd", b"ab", b"abcc", b""])
def test_a_damaged_file_is_refused_with_both_checksums(tmp_path, damaged):
    path = tmp_path / "a.bin"
    path.write_bytes(b"abc")
    recorded = sha256(path)
    path.write_bytes(damaged)
    with refused(path, "damaged", recorded[:12], sha256(path)[:12]):
        verify_sha256(path, recorded)


def test_a_missing_file_or_a_directory_in_its_place_is_refused(tmp_path):
    (tmp_path / "directory").mkdir()
    for path in (tmp_path / "absent", tmp_path / "directory"):
        with refused(path, "missing"):
            verify_sha256(path, "0" * 64)


def test_leftovers_of_killed_writers_go_and_nothing_else_does(tmp_path):
    kept = ["a.txt", ".aae-lock", ".0123abcd.a.txt", ".aae-notes.txt", ".aae-0123abcd", ".aae-0123ABCD.a.txt"]
    for name in [*kept, ".aae-0123abcd.a.txt", ".aae-ffffffff.b.torchscript.pt"]:
        (tmp_path / name).touch()
    (tmp_path / ".aae-0123abcd.directory").mkdir()
    remove_leftovers(tmp_path)
    assert names(tmp_path) == sorted([*kept, ".aae-0123abcd.directory"])


def test_a_temporary_file_is_one_that_is_removed_as_a_leftover(tmp_path):
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.touch()
        remove_leftovers(tmp_path)
        assert not temporary.exists()
        temporary.write_text("again")


def test_a_native_writer_hears_of_no_error_and_the_caller_of_the_first(tmp_path):
    said = []

    def write_a_lot():
        with native_sink(Path("/dev/full")) as sink:
            said.extend([sink.write(bytes(10**6)), sink.write(b"ab")])
            sink.flush()

    with pytest.raises(OSError, match="No space left"):
        write_a_lot()
    assert said == [10**6, 2]
    with native_sink(tmp_path / "a") as sink:
        assert sink.write(b"abc") == 3
    assert (tmp_path / "a").read_bytes() == b"abc"
