"""repair."""

from __future__ import annotations

import pytest

from agent_world_distfs import LocalCasStore
from cli.running import Distfs

BIG = b"x" * 30_000


def test_repair_fetches_what_is_gone_from_a_directory_of_files(distfs: Distfs) -> None:
    name = distfs.write("a/big", BIG)
    [file] = distfs.location.rglob(name)
    file.write_bytes(b"y" * 30_000)
    distfs("audit", "--verify", code=5)
    plan = distfs.json("repair", "--dry-run", code=5)
    assert plan["lost_paths"] == ["a/big"]
    original = distfs.file("originals/some name", BIG)
    document = distfs.json("repair", "--from", original.parent)
    assert document["repaired_blob_hashes"] == [name]
    assert document["is_whole"] is True
    assert len(document["quarantined"]) == 1
    assert distfs("read", "a/big").stdout == BIG


def test_repair_says_what_is_lost(distfs: Distfs) -> None:
    name = distfs.write("a/\x1b", BIG)
    [file] = distfs.location.rglob(name)
    file.write_bytes(b"")
    text = distfs("repair", code=5).text
    assert "Mended 0 blobs; 1 blob nobody has." in text
    assert '  "a/\\u001b"' in text
    assert "quarantine/" in text


def test_repair_builds_a_catalog_anew(distfs: Distfs) -> None:
    distfs.write("a", b"a")
    catalog = distfs.location / "catalog.db"
    catalog.write_bytes(bytes(4096) + catalog.read_bytes()[4096:])
    distfs("ls", code=7)
    text = distfs("repair").text
    assert "The catalog was built anew with 1 file: exactly those that were last written." in text
    assert "catalog.db.damaged-" in text
    assert distfs("read", "a").stdout == b"a"


def test_repair_while_somebody_has_a_damaged_store_open_exits_with_6(distfs: Distfs) -> None:
    distfs.write("a", b"a")
    catalog = distfs.location / "catalog.db"
    with LocalCasStore(distfs.location):
        data = catalog.read_bytes()
        catalog.write_bytes(bytes(4096) + data[4096:])
        distfs("repair", code=6)
        catalog.write_bytes(data)


@pytest.mark.parametrize("words", [["repair"], ["repair", "--from", "nothing"]])
def test_repair_without_a_store_or_a_source_exits_with_3(distfs: Distfs, words: list[str]) -> None:
    if len(words) > 1:
        distfs("init")
    distfs(*words, code=3)
