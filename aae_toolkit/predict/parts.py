"""A directory of predictions in numbered Parquet files, one a shard, each whole or absent; so that a run can go on.

`_manifest.json` says which shards there are, of which inputs, for which model. Readers of Parquet directories leave out
names that begin with `_` or `.`.
"""

from __future__ import annotations

import json
import os
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
_SHARD_KEY, _ERRORS_KEY = b"aae.shard_sha256", b"aae.errors"


class PartEntry(BaseModel):
    """One file of output: what it is named, and the shard that it is of."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    file: str
    first: str  # the name of the shard's first file, for people
    rows: int
    shard_sha256: str


class PartsManifest(BaseModel):
    """The content of `_manifest.json`; `errors`, the rows without a label, is known once all parts are there."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: Literal["aae-predictions-1"] = "aae-predictions-1"
    model_sha256: str
    options: dict[str, Any]  # that change what rows hold
    parts: tuple[PartEntry, ...]
    errors: int | None = None

    @property
    def rows(self) -> int:
        """Of all parts."""
        return sum(part.rows for part in self.parts)

    def save(self, directory: Path) -> None:
        """Write `_manifest.json`, whole or not at all."""
        write_text(directory / FILE_NAME, self.model_dump_json(indent=2) + "\n")


def manifest_of(shards: Sequence[Shard], model_sha256: str, options: dict[str, Any]) -> PartsManifest:
    """What a run over these shards is to write."""
    parts = (
        PartEntry(file=f"part-{index:05}.parquet", first=_text(shard.names[0]), rows=shard.n, shard_sha256=shard.sha256)
        for index, shard in enumerate(shards)
    )
    return PartsManifest(model_sha256=model_sha256, options=options, parts=tuple(parts))


def begin_or_continue(directory: Path, manifest: PartsManifest) -> dict[str, int]:
    """Make `directory` ready; return the parts that are already there, and how many of their rows are errors.

    Raises:
        UsageError: the directory holds something else, or the predictions of other inputs or of another model.
    """
    if not (directory / FILE_NAME).exists():
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise UsageError(f"{directory} is no directory of predictions, and not empty; give --output a new one")
        directory.mkdir(parents=True, exist_ok=True)
        manifest.save(directory)
        return {}
    try:
        found = PartsManifest.model_validate(json.loads((directory / FILE_NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise UsageError(f"{directory / FILE_NAME} is damaged; give --output a new directory") from error
    mend = "give --output a new directory, or what this one was begun with"
    if found.model_sha256 != manifest.model_sha256:
        raise UsageError(f"{directory} holds predictions of another model; {mend}")
    if found.options != manifest.options:
        was = ", ".join(f"{key} {value}" for key, value in found.options.items() if value != manifest.options.get(key))
        raise UsageError(f"{directory} was begun with {was}; {mend}")
    for index, part in enumerate(found.parts):
        if index >= len(manifest.parts) or part != manifest.parts[index]:
            raise UsageError(
                f"{directory}: what {part.file} is of (from {part.first} on) has changed, or --shard-size; {mend}"
            )
    if more := manifest.parts[len(found.parts) :]:
        raise UsageError(f"{directory} was begun without {more[0].first}; {mend}")
    for left in directory.glob(f".*{_ATTEMPTS}"):
        left.unlink(missing_ok=True)
    done = {part.file: errors_of(directory / part.file, part.shard_sha256) for part in manifest.parts}
    return {file: errors for file, errors in done.items() if errors is not None}


def errors_of(path: Path, shard_sha256: str) -> int | None:
    """How many rows of a finished part have no label; None where it is absent, damaged, or of another shard."""
    import pyarrow
    from pyarrow import parquet

    try:
        metadata = parquet.read_schema(path).metadata or {}
    except (OSError, pyarrow.ArrowException):
        return None
    return int(metadata[_ERRORS_KEY]) if metadata.get(_SHARD_KEY) == shard_sha256.encode() else None


def count_attempt(path: Path) -> int:
    """Note that a part is being made; return how often it was since the run began."""
    with path.with_name(f".{path.name}{_ATTEMPTS}").open("ab") as notes:
        notes.write(b".")
        return notes.tell()


def write_part(path: Path, shard_sha256: str, predictions: Sequence[Prediction]) -> int:
    """Write one part, whole or not at all; return how many of its rows are errors.

    Its columns are the keys of `aae predict --json`. A path that is no UTF-8 has its other bytes escaped.
    """
    import pyarrow as pa
    from pyarrow import parquet

    errors = sum(prediction.error is not None for prediction in predictions)
    candidate = pa.struct({"label": pa.int64(), "class_name": pa.string(), "probability": pa.float32()})
    columns = {"path": pa.string(), "label": pa.int64(), "class_name": pa.string(), "probability": pa.float32()}
    columns |= {"top": pa.list_(candidate), "notes": pa.list_(pa.string()), "error": pa.string()}
    schema = pa.schema(columns, metadata={_SHARD_KEY: shard_sha256, _ERRORS_KEY: str(errors)})
    rows = [p.to_json() | {"path": _text(p.path)} for p in predictions]
    with atomic_path(path) as temporary:
        parquet.write_table(pa.Table.from_pylist(rows, schema), temporary)
    return errors


def _text(path: str) -> str:
    """A path as UTF-8 can hold it."""
    return os.fsencode(path).decode(errors="backslashreplace")


def finish(directory: Path, manifest: PartsManifest, errors: int) -> None:
    """Note that all parts are there, and remove what killed workers left."""
    for left in directory.glob(".*part-*"):
        left.unlink(missing_ok=True)
    manifest.model_copy(update={"errors": errors}).save(directory)


def require_all(directory: Path, manifest: PartsManifest) -> None:
    """Raise `AaeError` unless every part is there."""
    if absent := [part.file for part in manifest.parts if not (directory / part.file).is_file()]:
        raise AaeError(f"{directory} lacks {absent[0]}; workers must see this directory: the same command goes on")
