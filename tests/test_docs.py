"""README and docs: commands run or at least parse, code runs, links lead somewhere, generated pages are current."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml
from conftest import REPOSITORY, TINY_MODEL, TINY_TRAINING
from exports import add_image_classifier, copy_with_only, one_variant
from PIL import Image
from pydantic import BaseModel
from test_rooms import PACKAGE, ROOMS

from aae_toolkit.cli.app import run
from aae_toolkit.cli.commands import SEED_COMMANDS, application
from aae_toolkit.cli.names import SEED
from aae_toolkit.cli.predict import parsed
from aae_toolkit.cli.predict import parser as predict_parser
from aae_toolkit.config import VARIANTS, SemiSupervisedConfig, UnsupervisedConfig, load_config, shipped_configs
from aae_toolkit.export.manifest import IMAGE_FILE

DOCS = REPOSITORY / "docs"
pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="the source distribution is without docs")

PAGES = sorted(DOCS.rglob("*.md"))
DOCUMENTS = [REPOSITORY / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")] + PAGES
GENERATED = ("configuration.md", "commands.md")

WALKS = ("getting-started.md", "your-images.md", "no-labels.md", "choosing-k.md")  # users follow them line by line
PARSED_ONLY = {  # slow commands, where an earlier page has run them
    "your-images.md": {"visualize", "parity"},
    "no-labels.md": {"visualize", "export", "parity"},
}
NOT_RUN = {  # the first line of a Python block -> why it cannot run here
    "# Both networks have the same layers in the same order; only the names differ.": "the weights are not there",
}

if importlib.util.find_spec("cv2") is None:
    NOT_RUN["import cv2"] = "opencv-python-headless, in the dev extra, is not installed"

OTHER_PROGRAMS = {"cd", "curl", "docker", "echo", "export", "find", "kill", "node", "pip", "pytest"}
OTHER_PROGRAMS |= {"tensorboard", "until"}
SHELL = {"|", "||", "&", "&&", ";", ">", ">>", "2>"}  # what a command ends at
OTHER_FLAGS = {"--help", "--debug", "--version", "--max-restarts"}  # of every command; of torchrun
OTHER_FLAGS |= set(SEED.values())  # longer names, which the seed's commands show

FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: where it is, what follows its language, what it holds."""

    page: Path
    language: str
    options: str
    text: str

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command: lines after a dollar sign of `console`, all lines of `sh`."""
        joined = self.text.replace("\\\n", " ").splitlines()
        lines = [line[2:] for line in joined if line.startswith("$ ")] if self.language == "console" else joined
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks(page: Path) -> list[Block]:
    return [Block(page, *found) for found in FENCE.findall(page.read_text(encoding="utf-8"))]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def name_of(page: Any) -> str:
    return str(page.relative_to(REPOSITORY)) if isinstance(page, Path) else str(page)


def the_module(name: str) -> Any:
    """A module of tools/, which is no package that is installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(REPOSITORY)
        return importlib.import_module(f"tools.{name}")


# Commands


def all_commands(command: Any = None, words: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    command = command or typer.main.get_command(application())
    if not hasattr(command, "commands"):
        return {words: command}
    return {k: v for name, inner in command.commands.items() for k, v in all_commands(inner, (*words, name)).items()}


COMMANDS = all_commands()


def command_of(arguments: list[str]) -> tuple[tuple[str, ...], Any]:
    for words, command in COMMANDS.items():
        if tuple(arguments[: len(words)]) == words:
            return words, command
    raise AssertionError(f"there is no command `aae {' '.join(arguments)}`")


def flags_of(command: Any) -> set[str]:
    if command.name == "predict":
        return {flag for action in predict_parser()._actions for flag in action.option_strings}
    return {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}


def check_arguments(arguments: list[str]) -> None:
    """Raise unless `aae` would take them."""
    words, command = command_of([a for a in arguments if a != "--debug"])
    if words == ("predict",):
        parsed(arguments[1:])
    else:
        command.make_context(" ".join(words), arguments[len(words) :])


def check_make(arguments: list[str]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    assert {a for a in arguments if "=" not in a} <= targets


def check_script(script: str, arguments: list[str]) -> None:
    source = (REPOSITORY / script).read_text()
    for flag in (a for a in arguments if a.startswith("--")):
        assert flag in source or f"{flag[2:].replace('-', '_')}:" in source, f"{script} has no {flag}"


def check_command(words: list[str]) -> None:
    """Raise unless the command, its target or script, and all of its flags exist."""
    alone = takewhile(lambda word: word not in SHELL, words)
    program, *arguments = dropwhile(re.compile(r"\w+=").match, alone)  # less NAME=value before it
    if "aae_toolkit" in arguments and arguments[arguments.index("aae_toolkit") - 1] == "-m":  # python, torchrun
        check_arguments(arguments[arguments.index("aae_toolkit") + 1 :])
    elif program == "aae":
        check_arguments(arguments)
    elif program in SEED_COMMANDS:
        check_arguments([*SEED_COMMANDS[program], *arguments])
    elif program == "make":
        check_make(arguments)
    elif program == "python" and arguments[0] == "-m":
        assert importlib.util.find_spec(arguments[1]), f"there is no module {arguments[1]}"
    elif program == "python" and arguments[0] == "-c":
        compile(arguments[1], "<console>", "exec")
    elif program == "python":
        check_script(arguments[0], arguments[1:])
    else:
        assert program in OTHER_PROGRAMS, f"what is {program}?"


@pytest.mark.parametrize("page", DOCUMENTS, ids=name_of)
def test_every_command_in_a_block_exists_with_all_of_its_flags(page: Path) -> None:
    for block in blocks(page):
        if block.language in ("console", "sh"):
            for words in block.commands:
                check_command(words)


@pytest.mark.parametrize(
    "line",
    [
        *("aae frobnicate", "aae train", "aae evaluate --data d", "aae bench --export e --round 5"),
        *("aae train unsupervised --dir-path d --n-classes many", "init_datasets --dir d", "make everything"),
        *("python benchmarks/accuracy.py --raws r", "frobnicate"),
        "torchrun --nproc-per-node 4 -m aae_toolkit train semi-supervised --dir d",
    ],
)
def test_a_command_that_does_not_exist_would_be_found(line: str) -> None:
    with pytest.raises((AssertionError, typer.TyperException, FileNotFoundError)):
        check_command(line.split())


@pytest.mark.parametrize("page", [p for p in DOCUMENTS if p.name not in GENERATED], ids=name_of)
def test_every_command_and_flag_in_the_text_exists(page: Path) -> None:
    scripts = "".join(script.read_text() for script in (REPOSITORY / "benchmarks").glob("*.py"))
    known = OTHER_FLAGS.union(*map(flags_of, COMMANDS.values()))
    for code in INLINE.findall(prose(page)):
        words = code.split()
        flags = {word for word in words if re.fullmatch(r"--[a-z][a-z0-9-]*", word)}
        if words[0] == "aae" and len(words) > 1 and words[1][0] not in "-." and words[1] not in ("train", "tune"):
            assert flags <= flags_of(command_of(words[1:])[1]) | OTHER_FLAGS, code
        elif words[0] == "aae" or words[0].startswith("--"):
            assert all(f in known or f"{f[2:].removeprefix('no-').replace('-', '_')}:" in scripts for f in flags), code
        elif words[0] == "make":
            check_make(words[1:])
        elif words[0] == "python" and words[1].endswith(".py"):
            check_script(words[1], words[2:])


# What a user follows line by line


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Image files as the pages describe them: `photos` with labels, `pictures` without."""
    path, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for name, n in {"photos": {"cat": 170, "dog": 170, "_unlabeled": 9}, "pictures": {"_unlabeled": 60}}.items():
        for directory, count in n.items():
            (path / name / directory).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 100, (8, 8, 3), dtype=np.uint8)
                pixels[:, : 4 if directory == "cat" else 8] += 100
                Image.fromarray(pixels).save(path / name / directory / f"{i}.png")
    return path


FEW = ["--validation", "60", "--test", "60"]


def smaller(words: list[str], tiny: Path) -> list[str]:
    """Arguments of `aae` with the last word on data, size and length: small ones."""
    more: list[str] = []
    if words[0] == "init-datasets":
        more = ["--image-size", "8"] if "--source" in words else ["--source", "digits", *FEW]
    if words[0] == "train":
        own = [word for word in words if word.endswith(".yaml")]  # a file that the page shows
        more = ["--n-epochs", "1", "--config", own[0] if own else str(tiny)]
    if words[0] == "export":
        more = ["--format", "onnx"]
    if words[0] == "bench":
        more = ["--rounds", "5", "--batch-sizes", "1", "--threads", "1", "--backends", "onnxruntime"]
    return [*words, *more]


@pytest.mark.slow
@pytest.mark.parametrize("name", WALKS)
def test_a_page_that_users_follow_works_from_its_first_line_to_its_last(
    name: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = tmp_path / "tiny.yaml"
    section = {"model": TINY_MODEL, "training": TINY_TRAINING | {"batch_size": 32}}
    tiny.write_text(yaml.safe_dump(dict.fromkeys(VARIANTS, section)))
    shutil.copytree(pictures, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    for block in blocks(DOCS / name):
        if block.language == "yaml" and (title := re.search(r'title="([^"]+)"', block.options)):
            Path(title[1]).write_text(block.text)
        if block.language == "python" and block.text.splitlines()[0] not in NOT_RUN:
            exec(block.text, namespace)
        needs_network = any("--backbone" in words for words in block.commands)  # for its weights
        for words in block.commands if block.language == "console" and not needs_network else ():
            if words[0] == "aae" and words[1] not in {"doctor", *PARSED_ONLY.get(name, ())}:
                if "pictures" in words and "0" in words:  # the step at which the page has some labelled by hand
                    for animal in ("cat", "dog"):
                        shutil.copytree(f"photos/{animal}", f"pictures/{animal}")
                assert run(smaller(words[1:], tiny)) == 0, f"{shlex.join(words)}: {capsys.readouterr().err}"


# Other code


WITH_CODE = [
    pytest.param(page, id=name_of(page), marks=[pytest.mark.slow] * (page.name == "python-api.md"))  # it trains
    for page in DOCUMENTS
    if page.name not in WALKS and any(block.language == "python" for block in blocks(page))
]


@one_variant
@pytest.mark.parametrize("page", WITH_CODE)
def test_python_blocks_run_beside_an_export_and_an_image(
    page: Path, export_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = [block for block in blocks(page) if block.language == "python"]
    image_classifier = add_image_classifier(copy_with_only(export_dir, tmp_path / "image")).path / IMAGE_FILE
    for place in (tmp_path, tmp_path / "export"):  # as a page has it
        shutil.copytree(export_dir, place, dirs_exist_ok=True)
        shutil.copy(image_classifier, place)
    Image.new("L", (6, 6)).save(tmp_path / "image.png")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    for block in code:
        if block.text.splitlines()[0] not in NOT_RUN:
            exec(block.text, namespace)


@pytest.mark.parametrize("page", DOCUMENTS, ids=name_of)
def test_yaml_blocks_are_yaml_and_those_with_a_variant_are_configurations(page: Path, tmp_path: Path) -> None:
    for block in blocks(page):
        if block.language == "yaml":
            content = yaml.safe_load(block.text)
            (tmp_path / "block.yaml").write_text(block.text)
            for variant in set(VARIANTS) & set(content):
                load_config(tmp_path / "block.yaml", variant)


# Links


def anchors(page: Path) -> set[str]:
    """What headings are called in links: by the site and by code hosts alike, as long as they are plain."""
    headings = HEADING.findall(prose(page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> Iterator[str]:
    for target in LINK.findall(INLINE.sub("", prose(page))):
        if not re.match(r"[a-z]+:", target):
            yield target


@pytest.mark.parametrize("page", DOCUMENTS, ids=name_of)
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{target} is not there"
        assert file.is_relative_to(REPOSITORY), f"{target} leaves the repository"
        if anchor:
            assert anchor in anchors(file), f"{target}: no such heading; there are {sorted(anchors(file))}"


def nav_of(entries: list[Any]) -> Iterator[str]:
    for entry in entries:
        inside = entry.values() if isinstance(entry, dict) else [entry]
        for value in inside:
            yield from nav_of(value) if isinstance(value, list) else [value]


def test_the_site_s_navigation_has_every_page_once() -> None:
    nav = sorted(nav_of(tomllib.loads((REPOSITORY / "zensical.toml").read_text())["project"]["nav"]))
    assert nav == sorted(str(page.relative_to(DOCS)) for page in PAGES)


def test_the_index_of_decisions_has_all_of_them() -> None:
    decisions = DOCS / "decisions"
    assert set(links(decisions / "index.md")) == {page.name for page in decisions.glob("0*.md")}


def test_every_shipped_configuration_and_every_command_is_written_about() -> None:
    text = "".join(page.read_text() for page in DOCUMENTS if page.name not in GENERATED)
    assert [name for name in shipped_configs() if f"`{name}`" not in text] == []
    assert [words for words in COMMANDS if f"aae {' '.join(words)}" not in text] == []


# Plain English, and the map of the code


@pytest.mark.parametrize("page", [*DOCUMENTS, REPOSITORY / "SECURITY.md"], ids=name_of)
def test_headings_stand_alone(page: Path) -> None:
    starts = {heading.split()[0] for heading in HEADING.findall(prose(page))}
    assert not starts & {"Of", "What", "That", "So", "As", "Which", "How"}


def test_the_architecture_page_names_every_room_and_only_files_that_exist() -> None:
    named = INLINE.findall(prose(DOCS / "architecture.md"))
    assert [room for room in ROOMS if room not in named and f"{room}/" not in named] == []
    files = {code for code in named if re.fullmatch(r"\w+(/\w+)*\.py", code) and not code.startswith("tests/")}
    assert len(files) > 20
    assert sorted(file for file in files if not (PACKAGE / file).exists()) == []


# Pages that are made


@pytest.mark.parametrize("name", GENERATED)
def test_a_generated_page_is_what_the_code_gives(name: str) -> None:
    reference = the_module("reference")
    assert set(reference.pages()) == set(GENERATED)
    assert (DOCS / name).read_text(encoding="utf-8") == reference.pages()[name], "run: python tools/reference.py"


def keys_of(section: Any) -> dict[str, Any]:
    """Every key of a section and of those in it, with its field."""
    found = dict(type(section).model_fields)
    for _, value in section:
        if isinstance(value, BaseModel):
            found |= keys_of(value)
    return found


KEYS = keys_of(SemiSupervisedConfig()) | keys_of(UnsupervisedConfig())


def test_every_configuration_key_says_what_it_means_and_has_a_known_source() -> None:
    sections = {"learning_rates", "model", "training", "consistency"}
    method = (DOCS / "method.md").read_text().split("## Sources")[1]
    sources = set(re.findall(r"^\| ([^|]+?) \|", method, re.MULTILINE))
    meaning = the_module("reference")._meaning
    for key, field in KEYS.items():
        if key not in sections:
            text, source = meaning(field)
            assert text, f"{key} has no text in aae_toolkit/config/sections.py"
            assert set(source.split("; ")) <= sources | {""}, f"{key}: {source} is not among method.md's sources"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_configuration_keys_in_the_text_exist(page: Path) -> None:
    for code in INLINE.findall(prose(page)):
        if found := re.fullmatch(r"(\w+_\w+): \S.*", code):
            assert found[1] in KEYS, code


@pytest.mark.parametrize("page", WALKS)
def test_accuracies_on_pages_for_users_are_those_of_the_results(page: str) -> None:
    results = (DOCS / "results.md").read_text()
    for figure in re.findall(r"\d+\.\d+ ± \d+\.\d+", (DOCS / page).read_text()):
        assert figure in results


# The site


def test_formulas_become_mathml_and_a_broken_one_stops_the_build() -> None:
    markdown = pytest.importorskip("markdown", reason="the docs extra is not installed")
    arithmatex = {"pymdownx.arithmatex": {"generic": True}}
    extensions = ["pymdownx.arithmatex", the_module("formulas").FormulasExtension()]

    def html(text: str) -> str:
        return markdown.markdown(text, extensions=extensions, extension_configs=arithmatex)

    assert re.search(
        r'of <span class="arithmatex"><math [^>]*display="inline".*<mi>K</mi>.* units', html("of $K$ units")
    )
    assert re.search(
        r'<div class="arithmatex">\s*<math [^>]*display="block".*<mfrac>', html("$$\n\\frac{a}{b}\n$$"), re.S
    )
    assert "<math" not in html("it costs $5")
    assert "<mo>&#x0003C;</mo>" in html("$i < j$")
    with pytest.raises(ValueError, match=r"a command in the formula \\nonsense is not known"):
        html(r"$\nonsense$")


@pytest.mark.slow
def test_the_site_builds_without_a_warning_has_no_dead_link_and_loads_nothing_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("zensical", reason="the docs extra is not installed")
    for name in ("docs", "tools"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    shutil.copy(REPOSITORY / "zensical.toml", tmp_path)
    build = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in PAGES:
        html = (tmp_path / "site" / page.relative_to(DOCS)).with_suffix(".html").read_text()
        loaded = re.findall(r'<(?:script|img|iframe)[^>]*\bsrc="?([^">\s]+)', html)
        loaded += re.findall(r'<link[^>]*rel="?(?:stylesheet|icon|preconnect)"?[^>]*href="?([^">\s]+)', html)
        assert loaded
        assert [url for url in loaded if re.match(r"https?:|//", url)] == []
        assert "$$" not in html
        for target in re.findall(r'<a [^>]*href="?([^">\s#]+)', html):
            there = (tmp_path / "site" / page.relative_to(DOCS)).parent / target
            assert re.match(r"[a-z]+:", target) or there.exists(), f"{page.name}: {target} is not in the site"
