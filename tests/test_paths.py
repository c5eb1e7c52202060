import os
from pathlib import Path

import pytest

from aae_toolkit.data.paths import image_files


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
        (b"", []),
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
