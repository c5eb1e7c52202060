"""Labels of images from a CSV file with the columns `path` and `label`."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from pathlib import Path, PureWindowsPath

from aae_toolkit.data.class_names import reads_as_no_label, require_distinct
from aae_toolkit.data.layout import require_two_classes
from aae_toolkit.data.left_out import CONTRADICTORY, LIMIT, MISSING, OUTSIDE, LeftOut
from aae_toolkit.data.walk import FOLLOW
from aae_toolkit.errors import AaeError
from aae_toolkit.text import one_line

COLUMNS = ("path", "label")
_DELIMITERS = ",;\t"
_SPLIT_COLUMNS = frozenset({"split", "set", "subset", "partition", "is_train", "is_valid", "is_validation", "is_test"})
_MAX_BYTES = 2**30


def read_labels(
    file: Path,
    raw_dir: Path,
    left_out: LeftOut,
    *,
    follow_links: bool = False,
    drop_conflicts: bool = False,
    say: Callable[[str], None],
) -> tuple[dict[Path, str], set[str]]:
    """Read the label of each image that a CSV file names; an empty label means unlabelled.

    Returns:
        The labels by path, and the real paths of images that were dropped for their two labels.

    Args:
        file: CSV file in UTF-8, with commas, semicolons or tabs between its columns.
        raw_dir: folder that paths are relative to.
        left_out: account of files that do not exist or lie outside of `raw_dir`.
        follow_links: also take files outside of `raw_dir`.
        drop_conflicts: leave out an image with two labels, instead of refusing the file.
        say: reports columns that are not used.

    Raises:
        AaeError: the file is damaged, lacks a column, gives an image two labels, or names a single class.
    """
    labels: dict[str, tuple[Path, str, int]] = {}
    conflicts: dict[str, str] = {}
    root = os.path.realpath(raw_dir)
    for number, name, label in _rows(file, say):
        path = _located(raw_dir, name)
        real = os.path.realpath(path)
        if not os.path.lexists(path):
            left_out.add(MISSING, path, f"no such file, though line {number} of {file} names it")
        elif not follow_links and not Path(real).is_relative_to(root):
            left_out.add(OUTSIDE, path, f"it lies outside of {raw_dir}; {FOLLOW}")
        else:
            _, other, first = labels.setdefault(real, (path, label, number))
            if other != label:
                conflicts.setdefault(real, f"{path}: {other!r} in line {first}, {label!r} in line {number}")
    if conflicts and not drop_conflicts:
        more = f" (and {len(conflicts) - 1} more images)" if len(conflicts) > 1 else ""
        raise AaeError(f"{file} gives {next(iter(conflicts.values()))}{more}; correct it, or --conflicts drop")
    for real, reason in conflicts.items():
        left_out.add(CONTRADICTORY, labels.pop(real)[0], f"left out for its labels, {reason.partition(': ')[2]}")
    if not labels:
        raise AaeError(f"{file} names no image that is in {raw_dir}; paths are relative to --raw-dir")
    for path, label, number in labels.values():
        if reads_as_no_label(label):
            raise AaeError(
                f"{file}, line {number}: {path} has the label {label!r}; leave it empty if the image has none, or"
                " rename the class"
            )
    names = {label for _, label, _ in labels.values()} - {""}
    require_distinct(names, str(file))
    require_two_classes(names, str(file))
    return {path: label for path, label, _ in labels.values()}, set(conflicts)


def _rows(file: Path, say: Callable[[str], None]) -> list[tuple[int, str, str]]:
    """Return line number, path and label of each row."""
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise AaeError(f"{file} is larger than {_MAX_BYTES // 2**20} MiB")
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise AaeError(f"{file} is not in UTF-8; save it as CSV UTF-8") from None
    except OSError as error:
        raise AaeError(f"{file} cannot be read: {error.strerror}") from error
    header = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=header.count)
    rows, reader = [], csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = [name.strip().casefold() for name in next(reader, [])]
        _require_columns(file, columns, say)
        at = [columns.index(name) for name in COLUMNS]
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(columns):
                raise AaeError(f"{file}, line {reader.line_num}: {len(row)} columns; expected {len(columns)}")
            path, label = row[at[0]], row[at[1]].strip()
            if not path.strip() or "\0" in path:
                raise AaeError(f"{file}, line {reader.line_num}: no path; give one in each line")
            rows.append((reader.line_num, path, label))
    except csv.Error as error:
        raise AaeError(f"{file}, line {reader.line_num}: not CSV ({one_line(str(error))})") from error
    return rows


def _require_columns(file: Path, columns: list[str], say: Callable[[str], None]) -> None:
    found = one_line(", ".join(name[:40] for name in columns[:LIMIT])) or "none"
    for name in COLUMNS:
        if columns.count(name) != 1:
            raise AaeError(f"{file} has {columns.count(name)} columns {name!r}; expected path,label and found: {found}")
    if split := next((name for name in columns if name in _SPLIT_COLUMNS), None):
        raise AaeError(
            f"{file} has a column {split!r}, which is not read; sort the images into train/, val/ and test/, or remove"
            " it"
        )
    if other := [name for name in columns if name not in COLUMNS]:
        say(f"columns of {file} that are not used: {one_line(', '.join(other[:LIMIT]))}")


def _located(raw_dir: Path, name: str) -> Path:
    """Return the path of an image; if there is none, spaces around it are dropped and backslashes separate folders."""
    path = raw_dir / name
    return path if os.path.lexists(path) else raw_dir / PureWindowsPath(name.strip()).as_posix()
