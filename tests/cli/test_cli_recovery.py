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
    assert "Repaired 0 blobs; 1 blob lost." in text
    assert '  "a/\\u001b"' in text
    assert "quarantine/" in text


def test_repair_builds_a_catalog_anew(distfs: Distfs) -> None:
    distfs.write("a", b"a")
    catalog = distfs.location / "catalog.db"
    catalog.write_bytes(bytes(4096) + catalog.read_bytes()[4096:])
    distfs("ls", code=5)
    text = distfs("repair").text
    assert "The catalog was rebuilt with 1 file: exactly those last written." in text
    assert "catalog.db.damaged-" in text
    assert distfs("read", "a").stdout == b"a"


def test_repair_that_finds_no_index_says_how_it_comes_back_also_the_next_time(distfs: Distfs) -> None:
    distfs.write("a", b"a")
    distfs.write("big", BIG)
    backup = distfs.place / "backup"
    distfs("backup", backup)
    (distfs.location / "catalog.db").write_bytes(b"")
    assert "is empty: run `distfs repair`" in distfs.error("ls", code=5)["message"]
    plan = distfs("repair", "--dry-run", code=5).text
    first = distfs("repair", code=5).text
    [kept] = distfs.location.glob("catalog.db.damaged-*")
    second = distfs("repair", "--from", backup).text
    for text in (plan, first, second):
        assert "`distfs pull BACKUP` replaces the index" in text
    assert f"The damaged one is kept as {kept.name}." in first
    assert f"An earlier repair has kept {kept.name}." in second
    assert "with --from BACKUP" in first
    distfs("pull", backup)
    assert distfs("read", "a").stdout == b"a"
    assert distfs("read", "big").stdout == BIG


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


# --- audit with a budget ------------------------------------------------------------------------


def test_an_audit_with_a_budget_goes_on_the_next_time(distfs: Distfs) -> None:
    for number in range(4):
        distfs.write(str(number), bytes([number]) * 10_000)
    first = distfs("audit", "--verify", "--budget", "15kB").text
    assert "Hashed 19.5 KiB; the next such audit goes on from here." in first
    distfs("audit", "--verify", "--budget", "15kB")
    second = distfs("audit", "--verify", "--budget", "15kB").text
    assert "has been hashed since" in second
    assert distfs.json("audit", "--verify", "--budget", "1h")["is_verified"] is True


@pytest.mark.parametrize("amount", ["", "10", "0GB", "-1s", "GB", "1.5GB", "10 parsecs"])
def test_what_is_no_budget_exits_with_2(distfs: Distfs, amount: str) -> None:
    distfs("init")
    distfs("audit", "--verify", f"--budget={amount}", code=2)


def test_a_budget_without_verify_exits_with_2(distfs: Distfs) -> None:
    distfs("init")
    distfs("audit", "--budget", "1GB", code=2)


def test_what_is_advised_where_the_catalog_is_damaged_can_be_done(distfs: Distfs) -> None:
    distfs.write("a", b"1")
    with (distfs.location / "catalog.db").open("r+b") as catalog:
        catalog.write(bytes(4096))
    how = distfs("audit", code=5).stderr.splitlines()[1]
    advised = how.split("'")[1]  # where it does not open, it cannot be audited
    assert "would be rebuilt with 1 file" in distfs(*advised.split()[1:]).text


# --- backup, restore, du ------------------------------------------------------------------------


def test_backup_and_restore(distfs: Distfs) -> None:
    name = distfs.write("a", BIG)
    backup, target = distfs.place / "backup", distfs.place / "target"
    assert distfs.json("backup", backup)["copied_blobs"] == 1
    assert distfs.json("backup", backup, "--verify")["copied_blobs"] == 0
    assert distfs("restore", backup, target).text == "Restored 1 file: 1 large blob copied of 1.\n"
    assert distfs("read", "a", "--store", target).stdout == BIG
    distfs("backup", target, code=7)
    [file] = distfs.location.rglob(name)
    file.unlink()
    assert name in distfs("backup", distfs.place / "fresh", code=5).text
    distfs("restore", distfs.place / "nothing", distfs.place / "other", code=3)


def test_damage_of_a_backup_is_told_as_its_damage(distfs: Distfs) -> None:
    distfs.write("a", BIG)
    backup = distfs.place / "backup"
    distfs("backup", backup)
    with (backup / "catalog.db").open("r+b") as catalog:
        catalog.write(bytes(4096))
    for words in (("backup", backup), ("restore", backup, distfs.place / "target")):
        assert distfs.error(*words, code=5)["location"] == str(backup)
        assert f"'distfs repair --store {backup}' repairs it." in distfs(*words, code=5).stderr


def test_damage_of_the_store_itself_is_not_told_as_that_of_its_backup(distfs: Distfs) -> None:
    distfs.write("other", b"1")
    distfs("backup", distfs.place / "backup")
    catalog = distfs.location / "catalog.db"
    catalog.write_bytes(catalog.read_bytes().replace(b"other", b"otter"))
    assert "'distfs repair --from SOURCE'" in distfs("backup", distfs.place / "backup", code=5).stderr


def test_du_tells_of_a_prefix(distfs: Distfs) -> None:
    distfs.write("a/1", b"1")
    distfs.write("b/1", b"22")
    assert distfs.json("du", "a/")["unique_bytes"] == 1
    assert "3 bytes  in 2 files, as if each had its own bytes" in distfs("du").text
