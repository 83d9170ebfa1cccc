"""tour."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from cli.running import Distfs


@pytest.fixture
def sights(distfs: Distfs) -> Path:
    """A directory to tour."""
    distfs.file("sights/a", b"the same")
    distfs.file("sights/b", b"the same")
    return distfs.place / "sights"


def test_the_tour_says_what_it_shows_and_leaves_nothing(
    distfs: Distfs, sights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    text = distfs("tour", sights).text
    assert "1/9 store: " in text
    assert "All 9 promises held" in text
    assert os.listdir(temporary) == []
    assert not distfs.location.exists()
    assert sorted(os.listdir(sights)) == ["a", "b"]


def test_the_document_of_the_tour_holds_every_step(distfs: Distfs, sights: Path) -> None:
    document = distfs.json("tour", sights)
    assert list(document) == ["directory", "steps", "took_s", "has_held", "kept"]
    assert document["has_held"] is True
    assert len(document["steps"]) == 9
    assert all(step["broken"] == [] and step["facts"] for step in document["steps"])


def test_the_tour_needs_no_store_and_touches_none(distfs: Distfs, sights: Path) -> None:
    distfs.write("mine", b"mine")
    distfs("tour", sights)
    assert [file["path"] for file in distfs.json("ls")["files"]] == ["mine"]
    distfs.environment["DISTFS_STORE"] = None
    distfs("tour", sights)


def test_the_stores_of_the_tour_are_kept_where_it_is_told_to(distfs: Distfs, sights: Path) -> None:
    kept = distfs.place / "kept"
    assert distfs.json("tour", sights, "--keep", kept)["kept"] == str(kept)
    for name in ("world", "copy"):
        paths = [file["path"] for file in distfs.json("ls", "files/", "--store", kept / name)["files"]]
        assert paths == ["files/a", "files/b"]
    distfs("tour", sights, "--keep", kept, code=2)
    distfs("tour", sights, "--keep", sights / "within", code=2)


def test_a_directory_that_is_missing_exits_with_3(distfs: Distfs) -> None:
    assert distfs.error("tour", distfs.place / "missing", code=3)["path"] == str(distfs.place / "missing")
