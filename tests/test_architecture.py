"""The architecture is a test: what ARCHITECTURE.md draws is what the imports obey."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grimp

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "agent_world_distfs"
OUTSIDE = ("__main__", "faces", "testing")
"""What stands where a user stands and may import the public names from the top level."""


def contracts() -> dict[str, dict[str, Any]]:
    """The contracts of import-linter, by id."""
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    return {contract["id"]: contract for contract in configuration["tool"]["importlinter"]["contracts"]}


def python_files() -> Iterator[Path]:
    """Every Python file of the project."""
    for directory in ("src", "tests", "benchmarks"):
        yield from (ROOT / directory).rglob("*.py")


def imported_modules(file: Path) -> set[str]:
    """The modules that ``file`` imports anywhere in it, as they are written."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"), str(file))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module)
    return found


def layers_drawn() -> list[list[str]]:
    """The first fenced block under "Layers" in ARCHITECTURE.md: a layer a line, split at ``|``."""
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    match = re.search(r"^## Layers$.*?^```[a-z]*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert match is not None, "ARCHITECTURE.md has no fenced block after the heading '## Layers'"
    return [[name.strip() for name in line.split("|")] for line in match[1].splitlines() if line.strip()]


def test_imports_obey_the_contracts() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [linter, "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_picture_shows_the_layers_that_are_enforced() -> None:
    enforced = [[name.strip() for name in layer.split("|")] for layer in contracts()["layers"]["layers"]]
    assert layers_drawn() == enforced


def test_no_inner_module_takes_the_way_round_over_the_top_level() -> None:
    graph = grimp.build_graph(PACKAGE, cache_dir=None, exclude_type_checking_imports=True)
    importers = graph.find_modules_that_directly_import(PACKAGE)
    assert {name for name in importers if name.split(".")[1] not in OUTSIDE} == set()


def test_nothing_loads_a_second_sqlite() -> None:
    # Each library keeps its own table of open files, and closing one drops the other's POSIX locks.
    banned = {"sqlite3", "_sqlite3"}
    offenders = [str(file.relative_to(ROOT)) for file in python_files() if imported_modules(file) & banned]
    assert offenders == []
