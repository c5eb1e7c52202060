"""Markdown extension that turns links to files outside docs/ into plain text, because the site has no such files.

In the repository, these links can be followed.
"""

from __future__ import annotations

import posixpath
from typing import Any
from xml.etree.ElementTree import Element

from markdown import Markdown
from markdown.extensions import Extension
from markdown.treeprocessors import Treeprocessor
from zensical.extensions.context import ContextPreprocessor


class Outside(Treeprocessor):
    """Remove the target of links that leave the site."""

    def run(self, root: Element) -> None:
        """Process the links of a page."""
        context = ContextPreprocessor.from_markdown(self.md)
        assert context is not None
        folder = posixpath.dirname(context.page.path)
        for link in root.iter("a"):
            if posixpath.normpath(posixpath.join(folder, link.get("href", ""))).startswith("../"):
                link.tag = "span"
                del link.attrib["href"]


class OutsideExtension(Extension):
    """Extension that `markdown_extensions` loads."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802  (the base class's name)
        """Register the processor after the inline patterns, which make the links."""
        md.treeprocessors.register(Outside(md), "outside", 5)


def makeExtension(**options: Any) -> OutsideExtension:  # noqa: N802  (the name that Markdown looks for)
    """Make the extension."""
    return OutsideExtension(**options)
