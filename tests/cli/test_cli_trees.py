"""import-tree checkout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent_world_distfs.operations.tree_in import remembered
from cli.running import Distfs


def paths(distfs: Distfs) -> list[str]:
    """What the index holds."""
    return [file["path"] for file in distfs.json("ls")["files"]]


@pytest.fixture
def tree(distfs: Distfs) -> Path:
    """A small directory of the caller."""
    distfs.file("tree/a", b"a")
    distfs.file("tree/dir/b", b"bb")
    return distfs.place / "tree"


def test_a_directory_goes_in_and_comes_out_the_same(distfs: Distfs, tree: Path) -> None:
    report = distfs.json("import-tree", tree)
    assert report == {
        "total_files": 2,
        "total_bytes": 3,
        "added": 2,
        "changed": 0,
        "removed": 0,
        "skipped_paths": [],
        "skipped_reasons": [],
        "unread_files": 0,
    }
    target = distfs.place / "out"
    document = distfs.json("checkout", target)
    assert document == {
        "total_files": 2,
        "total_bytes": 3,
        "previous": None,
        "linked_files": 0,
        "target": str(target),
    }
    assert (target / "a").read_bytes() == b"a"
    assert (target / "dir" / "b").read_bytes() == b"bb"


def test_import_tree_takes_a_switch_to_read_what_looks_unchanged(
    distfs: Distfs, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "TICK_NS", -(10**15))  # as if the files were old
    distfs("import-tree", tree)
    assert distfs.json("import-tree", tree)["unread_files"] == 2
    assert "2 of them known to be unchanged" in distfs("import-tree", tree).text
    assert distfs.json("import-tree", "--read-all", tree)["unread_files"] == 0


def test_import_tree_lays_over_what_the_index_has(distfs: Distfs, tree: Path) -> None:
    distfs.write("site/old", b"")
    distfs("import-tree", tree, "site")
    assert paths(distfs) == ["site/a", "site/dir/b", "site/old"]


def test_mirror_also_removes_what_the_directory_lacks_below_the_prefix(distfs: Distfs, tree: Path) -> None:
    distfs.write("site/old", b"")
    distfs.write("site2/kept", b"")
    assert distfs.json("import-tree", tree, "site", "--mirror")["removed"] == 1
    assert paths(distfs) == ["site/a", "site/dir/b", "site2/kept"]


def test_what_is_no_regular_file_is_left_out_and_reported(distfs: Distfs, tree: Path) -> None:
    os.mkfifo(tree / "pipe\x1b")
    (tree / os.fsdecode(b"a\xff")).write_bytes(b"")
    (tree / r"b\xff").write_bytes(b"")  # which that must not be taken for
    lines = distfs("import-tree", tree).lines
    assert lines[1:] == [
        "Left out 1 (not a regular file):",
        '  "pipe\\u001b"',
        "Left out 1 (the name is not UTF-8):",
        r"  a\xff",
    ]
    document = distfs.json("import-tree", tree)
    assert document["skipped_paths"] == [r"a\xff", "pipe\x1b"]
    assert document["skipped_reasons"] == ["the name is not UTF-8", "not a regular file"]
    assert r"b\xff" in paths(distfs)


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_directory_that_is_none_is_refused_and_no_store_is_made(distfs: Distfs, name: str) -> None:
    distfs.file("file", b"")
    distfs("import-tree", distfs.place / name, code={"missing": 3, "file": 2}[name])
    assert not distfs.location.exists()


def test_checkout_takes_a_directory_and_not_what_only_begins_alike(distfs: Distfs) -> None:
    for path in ("docs/a", "docs2/b"):
        distfs.write(path, b"")
    distfs("checkout", distfs.place / "out", "docs")
    assert [file.name for file in (distfs.place / "out").rglob("*")] == ["a"]


def test_checkout_refuses_a_target_that_is_not_empty(distfs: Distfs) -> None:
    distfs.write("a", b"new")
    kept = distfs.file("out/mine", b"mine")
    outcome = distfs("checkout", distfs.place / "out", code=2)
    assert "out" in outcome.stderr
    assert os.listdir(distfs.place / "out") == ["mine"]
    assert kept.read_bytes() == b"mine"


def test_replace_keeps_what_was_there_beside_the_target(distfs: Distfs) -> None:
    distfs.write("a", b"new")
    distfs.file("out/mine", b"mine")
    document = distfs.json("checkout", distfs.place / "out", "--replace")
    previous = Path(document["previous"])
    assert previous.name.startswith("out.before-")
    assert (previous / "mine").read_bytes() == b"mine"
    assert os.listdir(distfs.place / "out") == ["a"]


def test_collisions_are_reported_before_the_first_byte(distfs: Distfs) -> None:
    distfs.write("a", b"")
    distfs.write("a/b", b"")
    target = distfs.place / "out"
    assert "a/b" in distfs("checkout", target, code=2).stderr
    assert not target.exists() or os.listdir(target) == []


def test_both_say_what_they_did(distfs: Distfs, tree: Path) -> None:
    assert distfs("import-tree", tree).text == "Read 2 files (3 bytes): 2 added, 0 changed, 0 removed.\n"
    assert (
        distfs("checkout", distfs.place / "out").text
        == f"Wrote 2 files (3 bytes) to {distfs.place / 'out'}.\n"
    )
