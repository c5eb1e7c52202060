"""Formatting for people, and escaping of untrusted text: a file name must not move the cursor or fake a line."""

from __future__ import annotations


def shown(text: str, encoding: str = "utf-8") -> str:
    r"""Return `text` with unprintable and unencodable characters as escapes such as `\x1b`."""
    return "".join(c if _is_plain(c, encoding) else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str, limit: int = 600) -> str:
    """Return `text` as one line; beyond about `limit` characters, an ellipsis replaces the middle."""
    line = shown(" ".join(text.split()))
    return line if len(line) <= limit else f"{line[: limit * 2 // 3]} … {line[-limit // 3 :]}"


def percent(fraction: float | None) -> str:
    """Return a fraction as a percentage such as 98.33%, or "-" for None."""
    return "-" if fraction is None else f"{100 * fraction:.2f}%"


def rough_percent(fraction: float) -> str:
    """Return a fraction as a percentage such as 98.3%; only 0 and 1 become 0.0% and 100.0%."""
    text = f"{100 * fraction:.1f}%"
    if text == "100.0%" and fraction < 1:
        return "over 99.9%"
    return "under 0.1%" if text == "0.0%" and fraction > 0 else text


def _is_plain(character: str, encoding: str) -> bool:
    if not character.isprintable():  # control and format characters, surrogates, odd spaces
        return False
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
