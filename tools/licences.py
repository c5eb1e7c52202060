"""Writer of `docs/licences.md`: every package of `requirements.lock` with the licence that its metadata name."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, distribution
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "licences.md"
LOCK = Path(__file__).parent.parent / "requirements.lock"

_HEAD = """# Licences of installed packages

This page lists every package of [requirements.lock](../requirements.lock) with the licence that its metadata name.
`make lock` writes it. aae_toolkit itself is under the MIT licence; none of these packages is part of it.

| package | version | licence |
| --- | --- | --- |
"""
_UNSAID = {"cuda-toolkit": "not named in its metadata; it holds no files, and asks for NVIDIA's packages"}
_LONGEST = 60  # characters; some packages have the whole text in that field


def locked(text: str) -> dict[str, str]:
    """Versions by normalized name."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", text, flags=re.M)
    return {re.sub(r"[._]", "-", name).lower(): version for name, version in found}


def licence_of(package: Distribution) -> str:
    """Licence in a package's metadata: an SPDX expression, else classifiers, else the start of its licence field."""
    metadata = package.metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = [c.rsplit(" :: ", 1)[-1] for c in metadata.get_all("Classifier") or [] if c.startswith("License ::")]
    named = [c for c in classifiers if c not in ("OSI Approved", "Other/Proprietary License")]
    if named:
        return ", ".join(named)
    first = (metadata.get("License") or "").strip().splitlines()[:1]
    return first[0][:_LONGEST] if first else ", ".join(classifiers) or _UNSAID.get(package.name, "unknown")


def page(text: str) -> str:
    """Text of the page for a lock file whose packages are installed."""
    return _HEAD + "".join(
        f"| {name} | {version} | {licence_of(distribution(name)).replace('|', '/')} |\n"
        for name, version in sorted(locked(text).items())
    )


if __name__ == "__main__":
    PAGE.write_text(page(LOCK.read_text(encoding="utf-8")), encoding="utf-8")
