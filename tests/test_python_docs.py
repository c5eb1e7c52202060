import re
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY

DOCS = REPOSITORY / "docs"


def run_blocks(page: str) -> dict[str, Any]:
    """Run a page's Python blocks, one after the other, as a reader would paste them; return what they define."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    assert blocks
    namespace: dict[str, Any] = {}
    for block in blocks:
        assert block.count("\n") <= 15
        exec(block, namespace)
    return namespace


@pytest.mark.slow
def test_the_examples_of_the_python_api_run_and_do_what_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = run_blocks("python-api.md")
    assert found["classifier"].score(found["X"], found["y"]) > 0.8
    assert set(found["clusters"]) == {0, 1, 2}
