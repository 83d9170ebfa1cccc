"""The fixture that most tests of the command take."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.running import Distfs


@pytest.fixture
def distfs(tmp_path: Path) -> Distfs:
    """The command on a store that is not made yet."""
    place = tmp_path / "place"
    place.mkdir()
    return Distfs(tmp_path / "world", place)
