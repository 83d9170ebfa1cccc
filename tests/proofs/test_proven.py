"""Every operation is in every harness that could find it wrong, and the page says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from proven import EXCUSED, HARNESSES, REQUIRED, names, table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "proofs.md"


@pytest.fixture(scope="module")
def rows() -> dict[str, list[str]]:
    """The cells of each operation, by its name."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table()[2:]]
    return {first.strip("`"): rest for first, *rest in cells}


def test_every_operation_is_in_the_harnesses_that_it_needs(rows: dict[str, list[str]]) -> None:
    """A new one belongs into operations.py, replay/workloads.py and schedule_newer.py."""
    columns = [list(HARNESSES).index(harness) for harness in REQUIRED]
    lacking = {name for name, cells in rows.items() if not all(cells[column] for column in columns)}
    assert lacking == set(EXCUSED)


def test_the_page_has_the_table(rows: dict[str, list[str]]) -> None:
    """Printed by tests/proofs/proven.py."""
    section = (
        PAGE.read_text("utf-8").partition("## Which operation is in which harness")[2].partition("\n## ")[0]
    )
    there = [line for line in section.splitlines() if line.startswith("| `")]
    found = {
        line.split("|")[1].strip().strip("`"): [c.strip() for c in line.split("|")[2:-1]] for line in there
    }
    assert found == rows
    assert set(rows) == set(names())
