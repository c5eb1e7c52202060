"""Markdown extension that converts formulas to MathML while the site is built, so that no script has to be loaded.

It runs after `pymdownx.arithmatex`, which finds the formulas between dollar signs.
"""

from __future__ import annotations

from html import unescape
from typing import Any
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.treeprocessors import Treeprocessor

_CLASS = "arithmatex"


class Formulas(Treeprocessor):
    r"""Convert LaTeX between `\(` and `\)`, or `\[` and `\]`, in arithmatex's elements, to MathML."""

    def run(self, root: Element) -> None:
        """Convert every formula of a page.

        Raises:
            ValueError: a formula that cannot be converted.
        """
        for element in root.iter():
            if element.get("class") == _CLASS:
                latex = unescape("".join(element.itertext()).strip()[2:-2])
                mathml = convert(latex, display="block" if element.tag == "div" else "inline")
                if "\\" in mathml:
                    raise ValueError(f"a command in the formula {latex.strip()} is not known to latex2mathml")
                element[:] = []
                element.text = self.md.htmlStash.store(mathml)


class FormulasExtension(Extension):
    """Extension that `markdown_extensions` loads."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802  (the base class's name)
        """Register the processor after the inline patterns, which find inline formulas."""
        md.treeprocessors.register(Formulas(md), "formulas", 5)


def makeExtension(**options: Any) -> FormulasExtension:  # noqa: N802  (the name that Markdown looks for)
    """Make the extension."""
    return FormulasExtension(**options)
