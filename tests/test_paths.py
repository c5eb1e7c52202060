import io
import os
import sys
import threading
import time
from pathlib import Path

import pytest
from PIL import Image, features
from refusals import refused

from aae_toolkit.data import paths
from aae_toolkit.data.left_out import LeftOut
from aae_toolkit.data.paths import image_files
from aae_toolkit.errors import UsageError


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("b/2.png", "b/10.JPG", "a/deep/1.png", "0.png", "notes.txt", ".hidden.png", ".cache/3.png", "e/x.txt"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return Path("photos")


IN_PHOTOS = ["photos/0.png", "photos/a/deep/1.png", "photos/b/10.JPG", "photos/b/2.png"]


def found(*named: str, piped: bytes = b"") -> list[str]:
    reading, writing = os.pipe()
    os.write(writing, piped)
    os.close(writing)
    with os.fdopen(reading, "rb") as standard_input:
        return [str(path) for path in image_files(named, standard_input)]


def test_a_folder_stands_for_the_images_below_it_but_hidden_ones(photos: Path) -> None:
    assert found("photos") == IN_PHOTOS


def test_files_are_taken_as_they_are_named_in_their_order(photos: Path) -> None:
    assert found("photos/notes.txt", "photos/.hidden.png", "photos/0.png") == [
        "photos/notes.txt",
        "photos/.hidden.png",
        "photos/0.png",
    ]


def test_patterns_find_files_and_folders(photos: Path) -> None:
    assert found("photos/*.png") == ["photos/0.png"]
    assert found("photos/**/*.png") == ["photos/0.png", "photos/a/deep/1.png", "photos/b/2.png"]
    assert found("photos/?") == ["photos/a/deep/1.png", "photos/b/10.JPG", "photos/b/2.png", "photos/e"]


def test_a_file_whose_name_looks_like_a_pattern_is_itself(photos: Path) -> None:
    Path("photos/[0].png").touch()
    assert found("photos/[0].png") == ["photos/[0].png"]


def test_what_means_no_image_stands_for_itself(photos: Path) -> None:
    assert found("absent.png", "absent*.png", "photos/e") == ["absent.png", "absent*.png", "photos/e"]


@pytest.mark.parametrize(
    ("piped", "expected"),
    [
        (b"photos/0.png\nphotos/b\n", ["photos/0.png", "photos/b/10.JPG", "photos/b/2.png"]),
        (b"photos/0.png\n\nlast without a newline.png", ["photos/0.png", "last without a newline.png"]),
        (b"with\na newline.png\0photos/0.png\0", ["with\na newline.png", "photos/0.png"]),
        (b"not utf-8 \xff.png\n", ["not utf-8 \udcff.png"]),
        (b"photos/*.png\n", ["photos/*.png"]),
        (b"%d.png\n" * 40000, ["%d.png"] * 40000),
    ],
)
def test_standard_input_names_files_and_folders(photos: Path, piped: bytes, expected: list[str]) -> None:
    if len(piped) < 2**16:  # what a pipe holds without a reader
        assert found("-", piped=piped) == expected
        return
    path = Path("list")
    path.write_bytes(piped)
    with path.open("rb") as standard_input:
        assert [str(p) for p in image_files(["-"], standard_input)] == expected


def test_a_folder_stands_for_images_whatever_their_names(photos: Path) -> None:
    for name, start in (("b/noname", b"\x89PNG\r\n\x1a\n"), ("b/x.jxl", b"\xff\x0a"), ("b/x.txt", b"GIF89a")):
        (photos / name).write_bytes(start)
    (photos / "Thumbs.db").write_bytes(b"\x89PNG\r\n\x1a\n")
    left_out = LeftOut()
    named = [str(path) for path in image_files(["photos"], sys.stdin.buffer, left_out=left_out)]
    added = ["photos/b/noname", "photos/b/x.jxl", "photos/b/x.txt"]  # their reader reports what it does not read
    assert named == [*IN_PHOTOS, *added]
    assert left_out.others == {".txt": 2}


@pytest.mark.parametrize("follow", [False, True])
def test_links_of_a_folder_are_followed_inside_of_it_or_when_asked(photos: Path, follow: bool) -> None:
    elsewhere = photos.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "far.png").touch()
    (photos / "c.png").symlink_to("0.png")
    (photos / "f").symlink_to("a")
    (photos / "g").symlink_to(".cache")
    (photos / "h").symlink_to(elsewhere.resolve())
    (photos / "loop").symlink_to("..")
    (photos / "gone.png").symlink_to("absent")
    lines: list[str] = []
    left_out = LeftOut(lines.append)
    named = [str(path) for path in image_files(["photos"], sys.stdin.buffer, left_out=left_out, follow_links=follow)]
    assert named == [*IN_PHOTOS, "photos/g/3.png", *(["photos/h/far.png"] if follow else [])]
    assert "photos/gone.png: a link to nothing" in lines
    outside = [line for line in lines if "leads outside of photos; follow it with --follow-links" in line]
    assert [line.partition(":")[0] for line in outside] == ([] if follow else ["photos/h", "photos/loop"])
    assert left_out.n_twice == 1


@pytest.mark.parametrize("folder", ["set [2024]", "[ab]", "a[!b]", "x[0-9"])
def test_brackets_in_the_name_of_a_folder_are_no_pattern(photos: Path, folder: str) -> None:
    (photos / folder).mkdir()
    (photos / folder / "1.png").touch()
    (photos / folder / "2.png").touch()
    expected = [f"photos/{folder}/1.png", f"photos/{folder}/2.png"]
    for pattern in (f"photos/{folder}/*.png", f"photos/{folder}/[12].png", f"photos/{folder}/**"):
        assert found(pattern) == expected
    if folder != "[ab]":  # which as a pattern means other folders, as in a shell
        assert found(f"*/{folder}/?.png") == expected


def test_a_pattern_names_nothing_twice_and_no_litter(photos: Path) -> None:
    (photos / "Thumbs.db").touch()
    assert found("photos/**") == IN_PHOTOS
    assert found("photos/*") == [
        "photos/0.png", "photos/a/deep/1.png", "photos/b/10.JPG", "photos/b/2.png", "photos/e", "photos/notes.txt",
    ]  # fmt: skip
    assert found("photos/.h*") == ["photos/.hidden.png"]


@pytest.mark.parametrize(
    "piped",
    [
        b"photos/0.png\r\nphotos/b\r\n",
        b"photos/0.png\r\nphotos/b\r",
        b"\xef\xbb\xbfphotos/0.png\nphotos/b\n",
        b"\xef\xbb\xbfphotos/0.png\r\n\r\nphotos/b",
        b"\xef\xbb\xbfphotos/0.png\0photos/b\0",
        "photos/0.png\r\nphotos/b\r\n".encode("utf-16"),
        b"\xfe\xff" + "photos/0.png\nphotos/b".encode("utf-16-be"),
        b"photos/0.png  \n\tphotos/b \r\n",
        b"\"photos/0.png\"\n'photos/b' \n",
        '"photos/0.png" \r\nphotos/b\t\r\n'.encode("utf-16"),
    ],
)
def test_lists_of_other_systems_are_read(photos: Path, piped: bytes) -> None:
    assert found("-", piped=piped) == ["photos/0.png", "photos/b/10.JPG", "photos/b/2.png"]


def test_home_is_the_user_s_in_a_list(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(photos.resolve()))
    assert found("-", piped=b'~/0.png\n"~/b/2.png"\n') == [f"{photos.resolve()}/0.png", f"{photos.resolve()}/b/2.png"]
    assert found("-", piped=b"~/0.png\0") == ["~/0.png"]  # exact


def test_a_file_that_is_named_so_keeps_its_blanks_and_quotes(photos: Path) -> None:
    names = [" b.png", "c.png ", '"d.png"', "~"]
    for name in names:
        Path(name).touch()
    Path("c.png").touch()
    assert found("-", piped="\n".join(names).encode()) == names
    assert found("-", piped="\0".join(["c.png ", " absent "]).encode()) == ["c.png ", " absent "]
    assert found("-", piped=b" absent \n") == [" absent "]


def test_a_name_that_ends_with_a_carriage_return_is_itself(photos: Path) -> None:
    (photos / "odd.png\r").touch()
    assert found("-", piped=b"photos/odd.png\r\nphotos/0.png\r\n") == ["photos/odd.png\r", "photos/0.png"]


def test_an_empty_path_is_not_the_working_directory(photos: Path) -> None:
    with refused("an empty path", kind=UsageError):
        found("photos/0.png", "")


def piped_in(content: bytes, *named: str, pause_after: int | None = None) -> list[Path | bytes]:
    """What `-` stands for; a writer may pause after its first bytes."""
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb", buffering=0) as pipe:
            cut = len(content) if pause_after is None else pause_after
            pipe.write(content[:cut])
            time.sleep(0.05 if cut < len(content) else 0)
            pipe.write(content[cut:])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with os.fdopen(reading, "rb") as standard_input:
            return list(image_files(named or ("-",), standard_input))
    finally:
        writer.join()


@pytest.mark.parametrize("pause_after", [None, 1, 9])
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF"])
def test_an_image_on_standard_input_is_its_content(photos: Path, file_format: str, pause_after: int | None) -> None:
    if file_format == "AVIF" and not features.check("avif"):
        pytest.skip("this pillow writes no AVIF")
    content = io.BytesIO()
    Image.new("RGB", (30, 30)).save(content, file_format)
    assert piped_in(content.getvalue(), pause_after=pause_after) == [content.getvalue()]
    assert piped_in(content.getvalue(), "photos/0.png", "-") == [Path("photos/0.png"), content.getvalue()]


def test_an_image_written_in_digits_is_an_image(photos: Path) -> None:
    content = b"P2\n# made by hand\n2 2\n255\n" + b"9\n" * 4
    assert piped_in(content) == [content]


def test_a_path_that_begins_like_an_image_is_a_path(photos: Path) -> None:
    for name in ("icns", "BM", "8BPS.png"):
        Path(name).write_bytes(b"")
        assert piped_in(name.encode() + b"\0photos/0.png\0") == [Path(name), Path("photos/0.png")]


def test_too_large_an_image_is_refused_before_all_of_it_is_read(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "_LARGEST", 2**17)
    with refused("standard input is an image of more than 0 MiB; scale it down", kind=UsageError):
        piped_in(b"\x89PNG\r\n\x1a\n\0\0" + bytes(2**17 - 10) + bytes(10))


@pytest.mark.parametrize("named", [("-",), ("-", "-")])
@pytest.mark.parametrize("piped", [b"", b"\n\n", b"\0", b"\xef\xbb\xbf", b"  \r\n"])
def test_an_empty_list_is_refused(photos: Path, piped: bytes, named: tuple[str, ...]) -> None:
    with refused("standard input is empty; pipe an image there, or the paths of images, one per line"):
        piped_in(piped, *named)


def test_an_empty_list_beside_other_files_is_none(photos: Path) -> None:
    assert piped_in(b"", "photos/0.png", "-") == [Path("photos/0.png")]


@pytest.mark.parametrize(
    "piped",
    [
        *(b"PK\x03\x04" + bytes(range(256)) * 9, b"\x1f\x8b\x08\0" + bytes(range(255, -1, -1)), b"\x7fELF\n"),
        *(b"x" * 5000, b"photos/0.png\n" + b"y" * 5000 + b"\n", b"\x1b[31mphotos/0.png\x1b[0m\n"),
        b"\x93NUMPY\x01\0v\0{'descr': '|u1', 'shape': (3,)}\n" + bytes(range(64)),
    ],
)
def test_what_is_neither_an_image_nor_a_list_is_refused_in_one_line(photos: Path, piped: bytes) -> None:
    with refused("standard input is neither an image (PNG", "nor a list of paths", kind=UsageError):
        piped_in(piped)


def test_a_name_with_control_characters_is_a_path_if_there_is_such_a_file(photos: Path) -> None:
    Path("bell\x07.png").write_bytes(b"")
    assert piped_in(b"bell\x07.png\n") == [Path("bell\x07.png")]


@pytest.mark.parametrize("piped", [b"BM\n", b"P1\n2\n", b"GIF89a\n", b"<svg >\n"])
def test_a_list_that_begins_like_an_image_is_a_list(photos: Path, piped: bytes) -> None:
    assert found("-", piped=piped) == piped.decode().splitlines()
