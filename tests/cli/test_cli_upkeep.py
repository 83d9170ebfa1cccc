"""init audit prune upgrade."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_world_distfs import FileIndexAuditReport
from agent_world_distfs.faces.cli.findings import describe
from cli.running import Distfs

BIG = b"x" * 3_000_000


def blob_file(distfs: Distfs, content_hash: str) -> Path:
    """Where a large blob's bytes are."""
    [file] = distfs.location.rglob(content_hash)
    return file


# --- init -------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["blake3", "sha256"])
def test_init_makes_a_store_and_leaves_one_that_is_there(distfs: Distfs, algorithm: str) -> None:
    document = distfs.json("init", "--hash-algorithm", algorithm)
    assert document == {"location": str(distfs.location), "hash_algorithm": algorithm, "created": True}
    distfs.write("a", b"1")
    assert distfs.json("init", "--hash-algorithm", algorithm)["created"] is False
    assert distfs.json("init") == document | {"created": False}
    assert "There is a store already" in distfs("init").text
    assert distfs("read", "a").stdout == b"1"


def test_init_uses_blake3_unless_told_otherwise(distfs: Distfs) -> None:
    assert distfs("init").text == f"Made a store in {distfs.location} (blake3).\n"


def test_init_with_another_algorithm_exits_with_7(distfs: Distfs) -> None:
    distfs("init", "--hash-algorithm", "sha256")
    assert distfs.error("init", "--hash-algorithm", "blake3", code=7)["kind"] == "IncompatibleStoreError"


def test_init_in_a_directory_of_something_else_exits_with_7(distfs: Distfs) -> None:
    distfs.file("mine", b"mine")
    error = distfs.error("init", "--store", distfs.place, code=7)
    assert error["location"] == str(distfs.place)


def test_an_unknown_algorithm_exits_with_2(distfs: Distfs) -> None:
    distfs("init", "--hash-algorithm", "md5", code=2)
    assert not distfs.location.exists()


# --- audit ------------------------------------------------------------------------------------


def test_a_clean_store_is_sound(distfs: Distfs) -> None:
    distfs.write("a", b"1")
    assert distfs("audit").lines == ["1 file, 0 pins.", "Sound. --verify also hashes every byte."]
    assert distfs("audit", "--verify", "--strict").lines[-1] == "Sound: every byte was hashed."


def test_the_document_of_an_audit_is_the_report_and_the_verdict(distfs: Distfs) -> None:
    distfs.write("a", b"1")
    document = distfs.json("audit", "--verify")
    assert document == {
        "total_indexed_files": 1,
        "total_pins": 0,
        "missing_file_blob_hashes": [],
        "dangling_pin_hashes": [],
        "orphan_blob_hashes": [],
        "damaged_blob_hashes": [],
        "corrupt_blob_hashes": [],
        "index_damage": [],
        "is_verified": True,
        "history_blob_hashes": [],
        "missing_history_blob_hashes": [],
        "verified_bytes": 1,
        "verified_since_ms": None,
        "snapshot_blob_hashes": [],
        "missing_snapshot_blob_hashes": [],
        "damaged_snapshots": [],
        "is_sound": True,
        "is_clean": True,
    }


def test_orphans_are_sound_but_not_clean(distfs: Distfs) -> None:
    orphan = distfs("put", stdin=b"1").text.strip()
    assert "1 orphan blob: nothing names it" in distfs("audit").text.replace("them", "it")
    assert "`distfs prune`" in distfs("audit", "--strict", code=5).text
    document = distfs.json("audit", "--strict", code=5)
    assert (document["orphan_blob_hashes"], document["is_sound"], document["is_clean"]) == (
        [orphan],
        True,
        False,
    )


def test_a_missing_blob_exits_with_5_and_names_the_path_and_the_remedy(distfs: Distfs) -> None:
    content_hash = distfs.write("a\x1b", BIG)
    blob_file(distfs, content_hash).unlink()
    outcome = distfs("audit", code=5)
    assert "1 blob missing" in outcome.text
    assert f'  {content_hash}  "a\\u001b"' in outcome.lines
    assert "`distfs put FILE`" in outcome.text
    assert distfs.json("audit", code=5)["missing_file_blob_hashes"] == [content_hash]


def test_the_remedy_for_a_missing_blob_works(distfs: Distfs) -> None:
    blob_file(distfs, distfs.write("a", BIG)).unlink()
    distfs("put", stdin=BIG)
    distfs("audit", "--verify")
    assert distfs("read", "a").stdout == BIG


def test_a_dangling_pin_exits_with_5_and_can_be_given_up(distfs: Distfs) -> None:
    content_hash = distfs("put", stdin=BIG).text.strip()
    distfs("pin", content_hash)
    blob_file(distfs, content_hash).unlink()
    assert "`distfs unpin HASH`" in distfs("audit", code=5).text
    distfs("unpin", content_hash)
    assert distfs.json("audit")["dangling_pin_hashes"] == []


def test_corrupt_bytes_are_found_by_verify_alone(distfs: Distfs) -> None:
    content_hash = distfs.write("a", BIG)
    file = blob_file(distfs, content_hash)
    file.chmod(0o600)
    with file.open("r+b") as stored:
        stored.write(b"y")
    distfs("audit")
    assert "1 blob corrupt" in distfs("audit", "--verify", code=5).text
    assert distfs.json("audit", "--verify", code=5)["corrupt_blob_hashes"] == [content_hash]


def test_every_kind_of_finding_says_what_to_do(distfs: Distfs) -> None:
    hashes = tuple(f"{number:064}" for number in range(30))
    report = FileIndexAuditReport(1, 1, hashes, hashes, hashes, hashes, hashes, ("row \x1b",))
    with distfs.store() as store:
        text = "\n".join(describe(report, store))
    for expected in (
        "distfs put FILE",
        "distfs unpin HASH",
        "distfs prune",
        "Do not write to this store",
        "row \\u001b",
    ):
        assert expected in text
    assert "... and 10 more (--json lists all)" in text
    assert "Sound" not in text


# --- prune ------------------------------------------------------------------------------------


def test_prune_removes_orphans_and_says_how_much(distfs: Distfs) -> None:
    orphan = distfs("put", stdin=b"x" * 2048).text.strip()
    distfs.write("a", b"kept")
    plan = distfs.json("prune", "--dry-run")
    assert plan == {"pruned_blobs": 1, "freed_bytes": 2048, "pruned_blob_hashes": [orphan], "dry_run": True}
    assert distfs("prune", "--dry-run").text == "Would remove 1 orphan blob, 2.0 KiB.\n"
    assert distfs("prune").text == "Removed 1 orphan blob, 2.0 KiB.\n"
    assert distfs.json("prune") == plan | {
        "pruned_blobs": 0,
        "freed_bytes": 0,
        "pruned_blob_hashes": [],
        "dry_run": False,
    }
    assert distfs("read", "a").stdout == b"kept"


# --- upgrade ----------------------------------------------------------------------------------


def test_upgrade_of_a_current_store_changes_nothing(distfs: Distfs) -> None:
    distfs("init")
    document = distfs.json("upgrade")
    assert list(document) == ["format_before", "format_after"]
    assert document["format_before"] == document["format_after"]
    assert distfs("upgrade").text == f"The store has format {document['format_after']} already.\n"
