import os
from dataclasses import replace
from pathlib import Path

import pytest
from refusals import refused

from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.predict.image_files import Candidate, Prediction
from aae_toolkit.predict.parts import (
    FILE_NAME,
    PartsManifest,
    begin_or_continue,
    count_attempt,
    errors_of,
    finish,
    manifest_of,
    require_all,
    write_part,
)
from aae_toolkit.predict.shards import Shard

pytest.importorskip("pyarrow", reason="the ray extra, which brings pyarrow, is not installed")
from pyarrow import parquet

SHARDS = [Shard("files", (f"{name}.png",), 0, 1, 0, 1, name * 64) for name in "abc"]
OPTIONS = {"threshold": 0.5, "column": "image"}
PREDICTIONS = [
    Prediction("a.png", 1, "one", 0.75, (Candidate(0, "zero", 0.25),), ("inverted",)),
    Prediction("b.png", error="no such file"),
]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "output"


def test_a_part_holds_what_was_predicted_and_says_of_which_shard(output: Path) -> None:
    assert write_part(output / "part-00000.parquet", "a", PREDICTIONS) == 1
    assert parquet.read_table(output / "part-00000.parquet").to_pylist() == [
        {
            "path": "a.png",
            "label": 1,
            "class_name": "one",
            "probability": 0.75,
            "top": [{"label": 0, "class_name": "zero", "probability": 0.25}],
            "notes": ["inverted"],
            "error": None,
        },
        dict.fromkeys(("label", "class_name", "probability", "top", "notes"))
        | {"path": "b.png", "error": "no such file"},
    ]
    assert errors_of(output / "part-00000.parquet", "a") == 1
    assert errors_of(output / "part-00000.parquet", "b") is None


def test_a_path_that_is_no_utf8_is_escaped(output: Path) -> None:
    shard = replace(SHARDS[0], names=(os.fsdecode(b"\xff.png"),))
    assert manifest_of([shard], "model", OPTIONS).parts[0].first == "\\xff.png"
    write_part(output / "part-00000.parquet", "a", [Prediction(os.fsdecode(b"\xff.png"), error="no such file")])
    assert parquet.read_table(output / "part-00000.parquet")["path"].to_pylist() == ["\\xff.png"]


def test_only_whole_parts_of_the_same_shards_count_as_done(output: Path) -> None:
    manifest = manifest_of(SHARDS, "model", OPTIONS)
    assert begin_or_continue(output, manifest) == {}
    write_part(output / "part-00000.parquet", SHARDS[0].sha256, PREDICTIONS)
    write_part(output / "part-00001.parquet", SHARDS[0].sha256, PREDICTIONS)  # another's
    write_part(output / "part-00002.parquet", SHARDS[2].sha256, PREDICTIONS)
    assert begin_or_continue(output, manifest) == {"part-00000.parquet": 1, "part-00002.parquet": 1}
    (output / "part-00000.parquet").write_bytes((output / "part-00000.parquet").read_bytes()[:-9])
    assert begin_or_continue(output, manifest) == {"part-00002.parquet": 1}


def test_a_finished_directory_holds_parts_and_the_manifest_alone_and_reads_as_one_table(output: Path) -> None:
    manifest = manifest_of(SHARDS, "model", OPTIONS)
    begin_or_continue(output, manifest)
    with refused("lacks part-00000.parquet", kind=AaeError):
        require_all(output, manifest)
    for part, shard in zip(manifest.parts, SHARDS, strict=True):
        count_attempt(output / part.file)
        write_part(output / part.file, shard.sha256, PREDICTIONS)
    (output / ".1234.part-00001.parquet").write_text("of a killed worker")
    require_all(output, manifest)
    finish(output, manifest, 3)
    assert sorted(path.name for path in output.iterdir()) == [FILE_NAME, *(part.file for part in manifest.parts)]
    assert parquet.read_table(output).num_rows == 6
    finished = PartsManifest.model_validate_json((output / FILE_NAME).read_text())
    assert (finished.rows, finished.errors) == (3, 3)
    assert len(begin_or_continue(output, manifest)) == 3


def test_attempts_are_counted_until_the_next_run(output: Path) -> None:
    manifest = manifest_of(SHARDS, "model", OPTIONS)
    begin_or_continue(output, manifest)
    path = output / "part-00000.parquet"
    assert [count_attempt(path), count_attempt(path)] == [1, 2]
    begin_or_continue(output, manifest)
    assert count_attempt(path) == 1


def test_a_directory_of_anything_else_is_refused_and_left_alone(output: Path) -> None:
    manifest = manifest_of(SHARDS, "model", OPTIONS)
    begin_or_continue(output, manifest)
    for other, said in (
        (manifest_of(SHARDS, "other", OPTIONS), "holds predictions of another model"),
        (manifest_of(SHARDS, "model", OPTIONS | {"threshold": 0.9}), "was begun with threshold 0.5"),
        (
            manifest_of(SHARDS[1:], "model", OPTIONS),
            "the input of part-00000.parquet (from a.png on) or --shard-size has changed",
        ),
        (
            manifest_of(SHARDS[:2], "model", OPTIONS),
            "the input of part-00002.parquet (from c.png on) or --shard-size has changed",
        ),
        (manifest_of([*SHARDS, SHARDS[0]], "model", OPTIONS), "was begun without a.png"),
    ):
        with refused(output, said, "give --output a new directory", kind=UsageError):
            begin_or_continue(output, other)
    (output / FILE_NAME).write_text("{")
    with refused("_manifest.json is damaged", kind=UsageError):
        begin_or_continue(output, manifest)
    (output / FILE_NAME).rename(output / "photo.png")
    with refused("is neither empty nor a directory of predictions", kind=UsageError):
        begin_or_continue(output, manifest)
    with refused("nor a directory of predictions", kind=UsageError):
        begin_or_continue(output / "photo.png", manifest)
    assert [path.name for path in output.iterdir()] == ["photo.png"]
