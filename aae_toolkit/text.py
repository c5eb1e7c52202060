"""Formatting for people, and escaping of untrusted text: a file name must not move the cursor or fake a line."""

from __future__ import annotations

import difflib
import html
import re
from collections.abc import Iterable

# Characters that Markdown gives a meaning; an underscore has none within a word.
_MARKDOWN = re.compile(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])")
_LONGEST_WORD = 80  # characters of a misspelt name
_ALIKE = 0.7  # least likeness, of 0 to 1, of a name that is suggested
_MOST_CAUSES = 8  # of an exception that are asked for words


def shown(text: str, encoding: str = "utf-8") -> str:
    r"""Return `text` with unprintable and unencodable characters as escapes such as `\x1b`."""
    return "".join(c if _is_plain(c, encoding) else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str, limit: int = 600) -> str:
    """Return `text` as one line; beyond about `limit` characters, an ellipsis replaces the middle."""
    line = shown(" ".join(text.split()))
    return line if len(line) <= limit else f"{line[: limit * 2 // 3]} … {line[-limit // 3 :]}"


def nearest(word: str, known: Iterable[str], n: int = 1) -> list[str]:
    """Return the `n` known names that a misspelt one may stand for, the likeliest first; fewer if few are like it."""
    by_case = {name.casefold(): name for name in known}
    return [by_case[name] for name in difflib.get_close_matches(word[:_LONGEST_WORD].casefold(), by_case, n, _ALIKE)]


def reason_of(error: BaseException, limit: int = 300) -> str:
    """Return an exception's message as one line; or that of what caused it, or its type, where it has no words."""
    link: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if link is None:
            break
        if words := str(link).strip():
            return one_line(words, limit)
        link = link.__cause__ or link.__context__
    return type(error).__name__


def percent(fraction: float | None) -> str:
    """Return a fraction as a percentage such as 98.33%, or "-" for None."""
    return "-" if fraction is None else f"{100 * fraction:.2f}%"


def rough_percent(fraction: float) -> str:
    """Return a fraction as a percentage such as 98.3%; only 0 and 1 become 0.0% and 100.0%."""
    text = f"{100 * fraction:.1f}%"
    if text == "100.0%" and fraction < 1:
        return "over 99.9%"
    return "under 0.1%" if text == "0.0%" and fraction > 0 else text


def markdown(text: str) -> str:
    """Return a line of foreign text for Markdown that shows as it is: no HTML, emphasis, link or table in it."""
    escaped = _MARKDOWN.sub(r"\\\g<0>", html.escape(shown(text), quote=False))
    return escaped.replace("\n", " ")


def _is_plain(character: str, encoding: str) -> bool:
    if not character.isprintable():  # control and format characters, surrogates, odd spaces
        return False
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
