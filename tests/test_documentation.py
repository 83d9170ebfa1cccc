"""The documentation is true: examples run, links lead somewhere, names exist and none is left out."""

from __future__ import annotations

import builtins
import inspect
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import agent_world_distfs
from agent_world_distfs import AgentSession, BlobLease, LocalCasStore, Transaction, Watch
from agent_world_distfs.catalog.schema import APPLICATION_ID, FORMAT, TABLES
from agent_world_distfs.engine.intake import INLINE_MAX_BYTES
from agent_world_distfs.faces.cli import cli

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
API = ROOT / "docs" / "api.md"
FORMAT_PAGE = ROOT / "docs" / "file-format.md"

_fence = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> Iterator[tuple[int, str]]:
    """The fenced blocks of one language: the line on which the content begins, and the content."""
    text = page.read_text("utf-8")
    for match in _fence.finditer(text):
        if match[1] == language:
            yield text.count("\n", 0, match.start(2)) + 1, match[2]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _fence.sub("", page.read_text("utf-8"))


def having(language: str) -> list[Path]:
    return [page for page in PAGES if any(blocks(page, language))]


every_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


def environment() -> dict[str, str]:
    """Of somebody who has installed the package and set nothing."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("DISTFS")}
    return own | {"PATH": f"{Path(sys.executable).parent}:{own['PATH']}"}


# --- examples run -----------------------------------------------------------------------------


@pytest.mark.parametrize("page", having("python"), ids=name_of)
def test_the_python_of_a_page_runs_from_top_to_bottom(page: Path, tmp_path: Path) -> None:
    # Each block stands on the lines that it has on the page, so that a traceback points there.
    lines: list[str] = []
    for line, block in blocks(page, "python"):
        lines += [""] * (line - 1 - len(lines)) + block.splitlines()
    program = tmp_path / f"{page.stem}.py"
    program.write_text("\n".join(lines) + "\n", "utf-8")
    place = tmp_path / "place"
    place.mkdir()
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", program],
        cwd=place,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def pattern(printed: str) -> str:
    """What is printed as a regular expression; ``...`` stands for anything within a line."""
    return r"[^\n]*".join(map(re.escape, printed.split("...")))


@pytest.mark.parametrize(
    "page", [page for page in having("console") if page.name != "commands.md"], ids=name_of
)
def test_the_sessions_of_a_page_print_what_they_show(page: Path, tmp_path: Path) -> None:
    """``$ `` begins a command; its output follows. ``docs/commands.md`` is tested with the command."""
    text = "".join(block for _, block in blocks(page, "console"))
    steps = re.findall(r"^\$ (.*?)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE)
    assert text == "".join(f"$ {line}\n{printed}" for line, printed in steps)
    mark = "--- end of step ---"
    script = "".join(f"{line} 2>&1; echo '{mark}'\n" for line, _ in steps)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    printed = done.stdout.split(f"{mark}\n")[:-1]
    for (line, expected), actual in zip(steps, printed, strict=True):
        assert re.fullmatch(pattern(expected), actual), f"$ {line}\n{actual}"


# --- links lead somewhere ---------------------------------------------------------------------


def slug(heading: str) -> str:
    """The anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").strip().lower()).replace(" ", "-")


def leads_somewhere(page: Path, target: str) -> bool:
    file, _, anchor = target.partition("#")
    linked = (page.parent / file).resolve() if file else page
    if not linked.is_relative_to(ROOT) or not linked.exists():
        return False
    return not anchor or anchor in map(slug, re.findall(r"^#+ (.*)$", prose(linked), re.MULTILINE))


@every_page
def test_every_relative_link_of_a_page_leads_to_something(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    own = [target for target in targets if not re.match(r"[a-z]+:", target)]
    assert [target for target in own if not leads_somewhere(page, target)] == []


@every_page
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    broken = []
    for file, test in re.findall(r"(tests/[\w/]+\.py)(?:::(\w+))?", page.read_text("utf-8")):
        place = ROOT / file
        if not place.exists() or (test and f"def {test}(" not in place.read_text("utf-8")):
            broken.append(f"{file}::{test}")
    assert broken == []


@every_page
def test_every_module_that_a_page_names_is_there(page: Path) -> None:
    package = ROOT / "src" / "agent_world_distfs"
    modules = re.findall(
        r"`((?:catalog|blobs|engine|operations|faces|testing)/[\w/]*(?:\.py)?)`", prose(page)
    )
    assert [module for module in modules if not (package / module).exists()] == []


def test_every_page_is_on_the_map() -> None:
    docs = ROOT / "docs"
    on_the_map = set(re.findall(r"\]\(([^)#\s]+)", (docs / "index.md").read_text("utf-8")))
    pages = {str(page.relative_to(docs)) for page in PAGES if page.is_relative_to(docs)}
    assert pages - on_the_map == {"index.md"}


def test_every_decision_is_on_the_map_by_its_title_and_says_what_it_should() -> None:
    on_the_map = " ".join((ROOT / "docs" / "index.md").read_text("utf-8").split())
    for page in sorted((ROOT / "docs" / "decisions").iterdir()):
        text = page.read_text("utf-8")
        title = re.match(rf"# ({page.name[:4]}: .+)\n\n\d{{4}}-\d\d-\d\d\. In force\.", text)
        assert title is not None, page.name
        assert f"[{title[1]}](decisions/{page.name})" in on_the_map
        for heading in ("What", "Why", "What else was weighed", "How to undo"):
            assert re.search(rf"^## {heading}", text, re.MULTILINE), (page.name, heading)


# --- names exist, and none is left out --------------------------------------------------------


@every_page
def test_every_error_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"\b[A-Z]\w+Error\b", page.read_text("utf-8")))
    known = {*dir(agent_world_distfs), *dir(builtins), "UsageError"}  # the last: of the command line
    assert named - known == set()


@every_page
def test_every_method_that_a_page_calls_on_a_store_exists(page: Path) -> None:
    called = set(re.findall(r"\bstore\.(\w+)\(", page.read_text("utf-8")))
    assert {name for name in called if not hasattr(LocalCasStore, name)} == set()


@every_page
def test_every_command_that_a_page_types_exists(page: Path) -> None:
    typed = re.findall(r"`distfs ([a-z-]+)[^`]*`|^\$ distfs ([a-z-]+)", page.read_text("utf-8"), re.MULTILINE)
    assert {one or other for one, other in typed} - {*cli.commands, "--help", "--version"} == set()


def public_methods() -> dict[str, Callable[..., object]]:
    return {name: getattr(LocalCasStore, name) for name in dir(LocalCasStore) if not name.startswith("_")}


def test_the_api_page_names_every_public_name() -> None:
    words = set(re.findall(r"\w+", API.read_text("utf-8")))
    assert {*agent_world_distfs.__all__, *public_methods()} - words == set()


@pytest.mark.parametrize("kind", [AgentSession, BlobLease, Transaction, Watch])
def test_the_api_page_names_every_method_of_what_a_store_hands_out(kind: type) -> None:
    methods = {
        name for name in vars(kind) if not name.startswith("_") and inspect.isfunction(vars(kind)[name])
    }
    assert {name for name in methods if f"`{name}(" not in API.read_text("utf-8")} == set()


def described() -> dict[str, str]:
    """What the API page describes as ``- **`name(parameters)`** ...``."""
    return dict(re.findall(r"^- \*\*`(\w+)\(([^`]*)\)`\*\*", API.read_text("utf-8"), re.MULTILINE))


def parameters(call: Callable[..., object]) -> str:
    """As the API page writes them: names, ``*`` before those by name only, defaults, no types."""
    written = []
    signature = inspect.signature(call)
    for each in signature.parameters.values():
        if each.name == "self":
            continue
        if each.kind is each.KEYWORD_ONLY and "*" not in written:
            written.append("*")
        written.append(each.name if each.default is each.empty else f"{each.name}={each.default!r}")
    return ", ".join(written)


def test_the_api_page_describes_every_call_with_its_parameters() -> None:
    calls: dict[str, Callable[..., object]] = {
        name: call for name, call in public_methods().items() if inspect.isfunction(call)
    }
    calls |= {
        name: getattr(agent_world_distfs, name)
        for name in ("open_store", "upgrade_store", "adopt_original", "repair_store", "restore_backup")
    }
    calls["LocalCasStore"] = LocalCasStore
    told = described()
    assert {name: told.get(name) for name in calls} == {
        name: parameters(call) for name, call in calls.items()
    }


# --- the format on its page is the one that is written -----------------------------------------


def test_the_format_page_has_every_table_and_index_to_the_letter() -> None:
    shown = "".join(block for _, block in blocks(FORMAT_PAGE, "sql"))
    assert shown == "".join(f"{statement}\n" for statement in in_order_of_the_page(shown))


def in_order_of_the_page(shown: str) -> list[str]:
    return sorted(TABLES.values(), key=lambda statement: shown.find(statement.split("(")[0]))


def test_the_format_page_has_the_numbers_of_the_format() -> None:
    text = FORMAT_PAGE.read_text("utf-8")
    assert f"| {APPLICATION_ID}, " in text
    assert f"# The file format, format {FORMAT}\n" in text
    assert f"up to {INLINE_MAX_BYTES:,} bytes inline" in text
    assert [row for row in text.splitlines() if row.startswith("### `")] == [
        heading
        for heading in text.splitlines()
        if re.match(r"### `(\w+)`", heading) and heading[5:].split("`")[0] in TABLES
    ]


def test_the_changelog_and_the_package_have_the_same_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == agent_world_distfs.__version__
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.search(rf"^## \[{re.escape(agent_world_distfs.__version__)}\]", changes, re.MULTILINE)
