"""The command about states that are kept by name: snapshot, and pull --snapshots."""

from __future__ import annotations

import pytest

from agent_world_distfs import LocalCasStore
from cli.running import Distfs


@pytest.fixture
def kept(distfs: Distfs) -> Distfs:
    """The command on a store with a snapshot ``monday``, and changes since."""
    distfs.write("docs/a", b"a")
    distfs.write("docs2/b", b"b")
    distfs("snapshot", "create", "monday", "--message", "before the move")
    distfs.write("docs/a", b"changed")
    distfs.write("docs/new", b"new")
    distfs("rm", "docs2/b")
    return distfs


def test_creating_prints_the_reference_that_an_export_gives(distfs: Distfs) -> None:
    distfs.write("a", b"a")
    assert distfs("snapshot", "create", "one").text == distfs("export").text
    document = distfs.json("snapshot", "create", "two", "--message", "why")
    assert list(document) == ["name", "manifest", "created_at_ms", "total_files", "message"]
    assert (document["name"], document["total_files"], document["message"]) == ("two", 1, "why")
    assert document["manifest"] == distfs("export").text.strip()
    assert distfs.json("snapshot", "list")["snapshots"][1] == document


def test_a_list_and_a_snapshot_are_shown(kept: Distfs) -> None:
    (line,) = kept("snapshot", "list").lines
    assert line.endswith("2 files  monday  (before the move)")
    shown = kept("snapshot", "show", "monday", "docs/").lines
    assert shown[0] == line
    assert shown[1].startswith("manifest ")
    assert [each.split()[-1] for each in shown[2:]] == ["docs/a"]
    document = kept.json("snapshot", "show", "monday")
    assert [each["path"] for each in document["files"]] == ["docs/a", "docs2/b"]
    assert document["name"] == "monday"


def test_snapshots_are_compared(kept: Distfs) -> None:
    kept("snapshot", "create", "tuesday")
    expected = ["changed   docs/a", "added     docs/new", "removed   docs2/b"]
    assert kept("snapshot", "diff", "monday", "tuesday").lines == expected
    assert kept("snapshot", "diff", "monday").lines == expected
    assert kept("snapshot", "diff", "monday", "--prefix", "docs/").lines == expected[:2]
    differences = kept.json("snapshot", "diff", "tuesday", "monday")["differences"]
    assert [each["path"] for each in differences] == ["docs/a", "docs/new", "docs2/b"]
    assert differences[1]["after"] is None


def test_a_snapshot_is_restored_whole_or_in_part(kept: Distfs) -> None:
    now = kept("snapshot", "create", "now").text.strip()
    assert kept("snapshot", "restore", "monday", "docs").lines == [
        "docs/ has 1 file: 0 added, 1 changed, 1 removed."
    ]
    assert [line.split()[-1] for line in kept("ls").lines] == ["docs/a"]
    error = kept.error("snapshot", "restore", "monday", "--expect", now, code=4)
    assert error["kind"] == "IndexConflictError"
    document = kept.json("snapshot", "restore", "monday")
    assert document == {"total_files": 2, "added": 1, "changed": 1, "removed": 0}
    assert kept("snapshot", "diff", "monday").lines == []
    assert kept.error("snapshot", "restore", "monday", "nowhere", code=3)["kind"] == "PathNotFoundError"


def test_what_is_dropped_is_free_for_a_prune(kept: Distfs) -> None:
    assert kept.json("prune")["pruned_blobs"] == 0
    kept("snapshot", "create", "other")
    assert kept.json("snapshot", "drop", "monday", "other") == {"dropped": ["monday", "other"]}
    assert kept.json("prune")["pruned_blobs"] == 4
    error = kept.error("snapshot", "drop", "monday", code=3)
    assert (error["kind"], error["name"]) == ("SnapshotNotFoundError", "monday")


def test_several_are_dropped_in_one_step_or_none(kept: Distfs) -> None:
    kept("snapshot", "create", "other")
    error = kept.error("snapshot", "drop", "monday", "nope", "other", "none", code=3)
    assert (error["name"], error["others"]) == ("nope", ["none"])
    outcome = kept("snapshot", "drop", "monday", "nope", "other", "none", code=3)
    assert outcome.stderr == "distfs: no such snapshot: 'nope', 'none'; nothing was dropped\n"
    assert len(kept.json("snapshot", "list")["snapshots"]) == 2
    assert kept.json("snapshot", "drop", "other", "monday", "other") == {"dropped": ["other", "monday"]}
    assert kept.json("snapshot", "list")["snapshots"] == []


def test_a_rule_says_what_it_would_drop_and_drops_it(kept: Distfs) -> None:
    kept("snapshot", "create", "tuesday")
    planned = kept.json("snapshot", "prune", "--keep-last", "1", "--dry-run")
    assert planned == {"kept": ["tuesday"], "dropped": ["monday"], "dry_run": True}
    assert kept("snapshot", "prune", "--keep-last", "1").lines == [
        "Dropped 1 snapshot, kept 1.",
        "  monday",
    ]
    assert kept("snapshot", "prune", "--keep-daily", "2", "--keep-monthly", "1").lines == [
        "Dropped 0 snapshots, kept 1."
    ]
    why = kept.error("snapshot", "prune", code=2)["message"]
    assert "--keep-last" in why
    assert "distfs snapshot drop NAME" in why
    kept("snapshot", "prune", "--keep-last", "-1", code=2)


def test_a_fork_is_a_store_of_its_own(kept: Distfs) -> None:
    target = kept.place / "fork"
    document = kept.json("snapshot", "fork", "monday", target)
    assert (document["total_files"], document["target"]) == (2, str(target))
    assert [line.split()[-1] for line in kept("ls", "--store", target).lines] == ["docs/a", "docs2/b"]
    assert "Made a store of 2 files" in kept("snapshot", "fork", "monday", kept.place / "second").text
    kept("snapshot", "fork", "monday", target, code=2)


def test_a_pull_brings_snapshots_on_request(kept: Distfs) -> None:
    there = kept.place / "there"
    kept("pull", kept.location, "--store", there)
    assert kept.json("snapshot", "list", "--store", there) == {"snapshots": []}
    kept("pull", kept.location, "--store", there, "--snapshots")
    assert kept.json("snapshot", "list", "--store", there) == kept.json("snapshot", "list")
    kept("snapshot", "drop", "monday", "--store", there)
    kept("snapshot", "create", "monday", "--store", there)
    assert kept.error("pull", kept.location, "--store", there, "--snapshots", code=4)["name"] == "monday"


@pytest.mark.parametrize("verb", ["create", "show", "diff", "restore", "drop", "fork"])
def test_a_name_that_can_be_none_and_one_that_is_none(kept: Distfs, verb: str) -> None:
    more = [kept.place / "fork"] if verb == "fork" else []
    assert kept.error("snapshot", verb, "a/b", *more, code=2)["kind"] == "InvalidInputError"
    if verb != "create":
        assert kept.error("snapshot", verb, "unknown", *more, code=3)["kind"] == "SnapshotNotFoundError"
    error = kept.error("snapshot", "create", "monday", code=4)
    assert error["kind"] == "SnapshotExistsError"
    assert error["actual"]["message"] == "before the move"


def test_a_name_or_message_cannot_send_commands_to_the_terminal(distfs: Distfs) -> None:
    distfs("init")
    distfs("snapshot", "create", "a\x1b[2J", "--message", "\x1b[2J\nsecond line")
    for words in (["list"], ["show", "a\x1b[2J"], ["prune", "--keep-last", "1"]):
        assert "\x1b" not in distfs("snapshot", *words).text
    assert len(distfs("snapshot", "list").lines) == 1


def test_the_audit_names_a_snapshot_that_is_not_whole(kept: Distfs) -> None:
    large = b"large" * 5_000
    kept.write("docs/large", large)
    kept("snapshot", "create", "tuesday")
    kept("rm", "docs/large")
    with kept.store() as store:
        name = store.hash_bytes(large)
    (kept.location / "blobs" / name[:2] / name).unlink()
    lines = kept("audit", code=5).lines
    assert "1 blob missing: a snapshot names it, its bytes are gone." in lines
    assert lines[-1] == "  tuesday" or "  tuesday" in lines
    assert "Snapshots that are no longer whole:" in kept("repair", code=5).lines
    kept("snapshot", "drop", "tuesday")
    kept("audit")


def test_all_but_the_changes_work_beside_a_store_that_may_not_be_written(kept: Distfs) -> None:
    with LocalCasStore(kept.location):
        for words in (
            ["list"],
            ["show", "monday"],
            ["diff", "monday"],
            ["prune", "--keep-last", "1", "--dry-run"],
        ):
            kept("snapshot", *words)
