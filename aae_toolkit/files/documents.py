"""JSON files that describe a directory, read so that damage and malice end in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ValidationError

from aae_toolkit.text import one_line

Document = TypeVar("Document", bound=BaseModel)

_MAX_BYTES = 2**24  # a thousand times what this tool writes

# pydantic's kinds of error, as this tool says them; `ctx` fills the braces.
_WORDS = {
    "missing": "is missing",
    "int_type": "is {found}; give an integer",
    "int_parsing": "is {found}; give an integer",
    "int_from_float": "is {found}; give an integer",
    "int_parsing_size": "is an integer too large to be meant",
    "float_type": "is {found}; give a number",
    "float_parsing": "is {found}; give a number",
    "finite_number": "is {found}; give a finite number",
    "bool_type": "is {found}; give true or false",
    "bool_parsing": "is {found}; give true or false",
    "string_type": "is {found}; give a text",
    "tuple_type": "is {found}; give a list",
    "dict_type": "is {found}; give keys with values",
    "model_type": "is {found}; give keys with values",
    "literal_error": "is {found}; choose {expected}",
    "enum": "is {found}; choose {expected}",
    "greater_than": "is {found}; give more than {gt}",
    "greater_than_equal": "is {found}; give at least {ge}",
    "less_than": "is {found}; give less than {lt}",
    "less_than_equal": "is {found}; give at most {le}",
    "too_short": "has {actual_length} entries; give at least {min_length}",
    "too_long": "has too many entries; give at most {max_length}",
}


def _printable(name: str) -> str:
    if not name.isprintable():
        raise ValueError("a name with characters that cannot be printed")
    return name


Name = Annotated[str, AfterValidator(_printable)]  # that is going to be shown: on terminals, in pages, in pictures


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not JSON, or of a size or depth that nothing here has; the message says which.
    """
    return parse_json(read_limited(path))


def read_limited(path: Path) -> bytes:
    """The bytes of a file; raises as `read_json` does where it is larger than any document."""
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError(f"it is larger than {_MAX_BYTES // 2**20} MiB")
    return path.read_bytes()


def parse_json(content: bytes) -> Any:
    """The content of a JSON file that was read already.

    Raises:
        ValueError: as `read_json` does.
    """
    try:
        return json.loads(content.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError:
        raise ValueError("it is not JSON") from None


def read_document(path: Path, kind: type[Document]) -> Document:
    """A JSON file as the model that describes it.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not JSON, or not what `kind` describes; the message is one line that names the key.
    """
    return parse_document(read_json(path), kind)


def parse_document(content: Any, kind: type[Document]) -> Document:
    """JSON that was parsed already as the model that describes it.

    Raises:
        ValueError: as `read_document` does.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ValueError(explain(error)) from error


def explain(error: ValidationError) -> str:
    """One line for the first of pydantic's complaints: the key's full path, what was found, what would be right."""
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    context = first.get("ctx", {})
    if first["type"] == "value_error":  # raised by a validator of this project
        return f"{path!r}: {context['error']}{more}" if path else f"{context['error']}{more}"
    found = brief(first["input"])
    words = _WORDS.get(first["type"])
    said = (
        f"is {found}; {first['msg'][:1].lower()}{first['msg'][1:]}"
        if words is None
        else words.format(found=found, **context)
    )
    return one_line(f"{path!r} {said}{more}" if path else f"the content {said}{more}")


def brief(value: Any) -> str:
    """A value that a file holds, as a message quotes it: containers, which may be bombs, by their kind alone."""
    if isinstance(value, (dict, list, tuple, set)):
        return {dict: "a mapping", set: "a set"}.get(type(value), "a list")
    try:
        return one_line(repr(value), 60)
    except ValueError:  # an integer beyond what Python converts
        return "an integer too large to be meant"
