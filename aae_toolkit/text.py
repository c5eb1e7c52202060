"""Text that others wrote, made safe to show: a file's name must not move the cursor or fake a line."""

from __future__ import annotations


def shown(text: str, encoding: str = "utf-8") -> str:
    r"""`text` with whatever is not printable, or has no place in `encoding`, written as an escape such as `\x1b`."""
    return "".join(c if _is_plain(c, encoding) else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str, limit: int = 600) -> str:
    """`text` as one line of at most about `limit` characters, its middle left out where it is longer."""
    line = shown(" ".join(text.split()))
    return line if len(line) <= limit else f"{line[: limit * 2 // 3]} … {line[-limit // 3 :]}"


def percent(fraction: float | None) -> str:
    """A fraction as people read it, such as 98.33%; "-" where there is none."""
    return "-" if fraction is None else f"{100 * fraction:.2f}%"


def rough_percent(share: float) -> str:
    """A share as people read it, never rounded to all or nothing that it is not."""
    text = f"{100 * share:.1f}%"
    if text == "100.0%" and share < 1:
        return "over 99.9%"
    return "under 0.1%" if text == "0.0%" and share > 0 else text


def _is_plain(character: str, encoding: str) -> bool:
    if not character.isprintable():  # control and format characters, surrogates, odd spaces
        return False
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
