"""JSON documents, read safely: damaged and malicious files give a one-line error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ValidationError

from aae_toolkit.text import one_line

Document = TypeVar("Document", bound=BaseModel)

_MAX_BYTES = 2**24  # a thousand times the size of documents of this tool

# Messages for pydantic's types of error; `value` and the error's `ctx` fill the braces.
_MESSAGES = {
    "missing": "is missing",
    "int_type": "is {value}; give an integer",
    "int_parsing": "is {value}; give an integer",
    "int_from_float": "is {value}; give an integer",
    "int_parsing_size": "is an integer that is too large",
    "float_type": "is {value}; give a number",
    "float_parsing": "is {value}; give a number",
    "finite_number": "is {value}; give a finite number",
    "bool_type": "is {value}; give true or false",
    "bool_parsing": "is {value}; give true or false",
    "string_type": "is {value}; give a text",
    "tuple_type": "is {value}; give a list",
    "dict_type": "is {value}; give keys with values",
    "model_type": "is {value}; give keys with values",
    "literal_error": "is {value}; choose {expected}",
    "enum": "is {value}; choose {expected}",
    "greater_than": "is {value}; give more than {gt}",
    "greater_than_equal": "is {value}; give at least {ge}",
    "less_than": "is {value}; give less than {lt}",
    "less_than_equal": "is {value}; give at most {le}",
    "too_short": "has {actual_length} entries; give at least {min_length}",
    "too_long": "has too many entries; give at most {max_length}",
}


def _printable(name: str) -> str:
    if not name.isprintable():
        raise ValueError("a name with characters that cannot be printed")
    return name


Name = Annotated[str, AfterValidator(_printable)]  # name that is shown on terminals, in pages and in pictures


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not JSON, too large, or too deeply nested; the message says which.
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
    """Read a JSON file as a pydantic model.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not JSON, or invalid for `kind`; the message is one line that names the key.
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
    """Return one line for pydantic's first error: the key's path, the value, and a correct one."""
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    context = first.get("ctx", {})
    if first["type"] == "value_error":  # raised by a validator of this project
        return f"{path!r}: {context['error']}{more}" if path else f"{context['error']}{more}"
    value = brief(first["input"])
    template = _MESSAGES.get(first["type"])
    problem = (
        f"is {value}; {first['msg'][:1].lower()}{first['msg'][1:]}"
        if template is None
        else template.format(value=value, **context)
    )
    return one_line(f"{path!r} {problem}{more}" if path else f"the content {problem}{more}")


def brief(value: Any) -> str:
    """Return a value from a file as a message quotes it; containers, which may be bombs, by their type only."""
    if isinstance(value, (dict, list, tuple, set)):
        return {dict: "a mapping", set: "a set"}.get(type(value), "a list")
    try:
        return one_line(repr(value), 60)
    except ValueError:  # an integer with more digits than Python converts
        return "an integer that is too large"
