"""Output directory of predictions: numbered Parquet files, one per shard, each whole or absent; runs can continue.

`_manifest.json` records the model, the options and the input of each shard. Readers of Parquet directories skip names
that begin with `_` or `.`.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.files import atomic_path, write_text
from aae_toolkit.predict.image_files import Prediction
from aae_toolkit.predict.shards import Shard

FILE_NAME = "_manifest.json"
_ATTEMPTS = ".attempts"
_SHARD_KEY, _ERRORS_KEY, _NOTES_KEY = b"aae.shard_sha256", b"aae.errors", b"aae.notes"


class PartEntry(BaseModel):
    """Entry of `_manifest.json` for one output file and its shard."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    file: str
    first: str  # name of the shard's first input file, for people
    rows: int
    shard_sha256: str


class PartsManifest(BaseModel):
    """Content of `_manifest.json`; `errors` counts the rows without a label, once all parts are there."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: Literal["aae-predictions-1"] = "aae-predictions-1"
    model_sha256: str
    options: dict[str, Any]  # options that affect rows
    parts: tuple[PartEntry, ...]
    errors: int | None = None

    @property
    def rows(self) -> int:
        """Number of rows in all parts."""
        return sum(part.rows for part in self.parts)

    def save(self, directory: Path) -> None:
        """Write `_manifest.json`, whole or not at all."""
        write_text(directory / FILE_NAME, self.model_dump_json(indent=2) + "\n")


def manifest_of(shards: Sequence[Shard], model_sha256: str, options: dict[str, Any]) -> PartsManifest:
    """Return the manifest of a run over these shards."""
    parts = (
        PartEntry(file=f"part-{index:05}.parquet", first=_text(shard.names[0]), rows=shard.n, shard_sha256=shard.sha256)
        for index, shard in enumerate(shards)
    )
    return PartsManifest(model_sha256=model_sha256, options=options, parts=tuple(parts))


def begin_or_continue(directory: Path, manifest: PartsManifest) -> dict[str, int]:
    """Prepare `directory`; return the parts that are already there, with their numbers of errors.

    Raises:
        UsageError: the directory holds something else, or the predictions of other inputs or of another model.
    """
    if not (directory / FILE_NAME).exists():
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise UsageError(
                f"{directory} is neither empty nor a directory of predictions; give --output a new directory"
            )
        directory.mkdir(parents=True, exist_ok=True)
        manifest.save(directory)
        return {}
    try:
        earlier = PartsManifest.model_validate(json.loads((directory / FILE_NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise UsageError(f"{directory / FILE_NAME} is damaged; give --output a new directory") from error
    advice = "give --output a new directory, or repeat the earlier command"
    if earlier.model_sha256 != manifest.model_sha256:
        raise UsageError(f"{directory} holds predictions of another model; {advice}")
    if earlier.options != manifest.options:
        was = ", ".join(
            f"{key} {value}" for key, value in earlier.options.items() if value != manifest.options.get(key)
        )
        raise UsageError(f"{directory} was begun with {was}; {advice}")
    for index, part in enumerate(earlier.parts):
        if index >= len(manifest.parts) or part != manifest.parts[index]:
            raise UsageError(
                f"{directory}: the input of {part.file} (from {part.first} on) or --shard-size has changed; {advice}"
            )
    if more := manifest.parts[len(earlier.parts) :]:
        raise UsageError(f"{directory} was begun without {more[0].first}; {advice}")
    for leftover in directory.glob(f".*{_ATTEMPTS}"):
        leftover.unlink(missing_ok=True)
    done = {part.file: errors_of(directory / part.file, part.shard_sha256) for part in manifest.parts}
    return {file: errors for file, errors in done.items() if errors is not None}


def errors_of(path: Path, shard_sha256: str) -> int | None:
    """Return the number of rows without a label in a finished part; None if absent, damaged, or of another shard."""
    import pyarrow
    from pyarrow import parquet

    try:
        metadata = parquet.read_schema(path).metadata or {}
    except (OSError, pyarrow.ArrowException):
        return None
    return int(metadata[_ERRORS_KEY]) if metadata.get(_SHARD_KEY) == shard_sha256.encode() else None


def count_notes(directory: Path, manifest: PartsManifest) -> dict[str, int]:
    """Count the rows with each note, in all parts."""
    from pyarrow import parquet

    counts: Counter[str] = Counter()
    for part in manifest.parts:
        metadata = parquet.read_schema(directory / part.file).metadata
        counts.update(json.loads(metadata.get(_NOTES_KEY, b"{}")))  # absent in parts of an earlier version
    return dict(counts)


def count_attempt(path: Path) -> int:
    """Record an attempt to make a part; return the number of attempts in this run."""
    with path.with_name(f".{path.name}{_ATTEMPTS}").open("ab") as notes:
        notes.write(b".")
        return notes.tell()


def write_part(path: Path, shard_sha256: str, predictions: Sequence[Prediction]) -> int:
    """Write one part, whole or not at all; return its number of errors.

    The columns are the keys of `aae predict --json`. Bytes of a path that are not UTF-8 are escaped.
    """
    import pyarrow as pa
    from pyarrow import parquet

    errors = sum(prediction.error is not None for prediction in predictions)
    candidate = pa.struct({"label": pa.int64(), "class_name": pa.string(), "probability": pa.float32()})
    columns = {"path": pa.string(), "label": pa.int64(), "class_name": pa.string(), "probability": pa.float32()}
    columns |= {"top": pa.list_(candidate), "notes": pa.list_(pa.string()), "error": pa.string()}
    notes = json.dumps(Counter(note for prediction in predictions for note in prediction.notes))
    schema = pa.schema(columns, metadata={_SHARD_KEY: shard_sha256, _ERRORS_KEY: str(errors), _NOTES_KEY: notes})
    rows = [p.to_json() | {"path": _text(p.path)} for p in predictions]
    with atomic_path(path) as temporary:
        parquet.write_table(pa.Table.from_pylist(rows, schema), temporary)
    return errors


def _text(path: str) -> str:
    """Return a path with bytes that are not UTF-8 escaped."""
    return os.fsencode(path).decode(errors="backslashreplace")


def finish(directory: Path, manifest: PartsManifest, errors: int) -> None:
    """Record the number of errors in `_manifest.json`, and remove temporary files of killed workers."""
    for leftover in directory.glob(".*part-*"):
        leftover.unlink(missing_ok=True)
    manifest.model_copy(update={"errors": errors}).save(directory)


def require_all(directory: Path, manifest: PartsManifest) -> None:
    """Raise `AaeError` unless every part is there."""
    if absent := [part.file for part in manifest.parts if not (directory / part.file).is_file()]:
        raise AaeError(
            f"{directory} lacks {absent[0]}; give a directory that all workers can write, or run the same command again"
        )
