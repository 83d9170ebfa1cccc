"""A tree that has not changed is imported without reading it; what may have changed is read."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent_world_distfs import HashAlgorithm, LocalCasStore, TreeImportReport
from agent_world_distfs.blobs.directory import DirectoryBlobs
from agent_world_distfs.blobs.hints import MOST, Hints
from agent_world_distfs.operations.tree_in import carrying, regular, remembered
from trees import held, plant

LARGE = b"large" * 5_000
CONTENTS = {"a": b"a", "dir/large": LARGE, "dir/sub/b": b"b", "dir/empty": b""}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return plant(tmp_path / "tree", CONTENTS)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every file had been changed for the last time long before the import."""
    monkeypatch.setattr(remembered, "TICK_NS", -(10**15))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are opened."""
    names: list[str] = []
    genuine = regular.open_regular

    def opened(directory: int, name: bytes) -> Any:
        names.append(name.decode())
        return genuine(directory, name)

    monkeypatch.setattr(carrying, "open_regular", opened)
    return names


# --- what is not read -------------------------------------------------------------------------


@pytest.mark.usefixtures("settled")
def test_an_unchanged_tree_is_not_read(store: LocalCasStore, tree: Path, read: list[str]) -> None:
    first = store.import_tree(tree)
    assert (first.unread_files, len(read)) == (0, 4)
    times = store.list_files()
    second = store.import_tree(tree)
    assert second == TreeImportReport(4, first.total_bytes, added=0, changed=0, removed=0)
    assert (second.unread_files, len(read)) == (4, 4)
    assert store.list_files() == times


@pytest.mark.usefixtures("settled")
def test_another_process_and_another_prefix_profit_as_well(location: Path, tree: Path) -> None:
    with LocalCasStore(location) as store:
        store.import_tree(tree)
    with LocalCasStore(location) as store:
        report = store.import_tree(tree, "copy")
        assert (report.added, report.unread_files) == (4, 4)
        assert {path: data for path, data in held(store).items() if path.startswith("copy/")} == {
            f"copy/{path}": data for path, data in CONTENTS.items()
        }


@pytest.mark.usefixtures("settled")
def test_what_the_index_has_lost_comes_back_unread(store: LocalCasStore, tree: Path) -> None:
    store.import_tree(tree)
    store.write_file("a", b"overwritten")
    store.delete_file("dir/large")
    report = store.import_tree(tree)
    assert (report.added, report.changed, report.unread_files) == (1, 1, 4)
    assert held(store) == CONTENTS


@pytest.mark.usefixtures("settled")
def test_a_mirror_keeps_what_is_not_read(store: LocalCasStore, tree: Path) -> None:
    store.import_tree(tree)
    store.write_file("other", b"other")
    report = store.import_tree(tree, mirror=True)
    assert (report.removed, report.unread_files) == (1, 4)
    assert held(store) == CONTENTS


# --- what is read -----------------------------------------------------------------------------


def test_what_may_have_changed_within_a_tick_of_the_clock_is_read(
    store: LocalCasStore, tree: Path, read: list[str]
) -> None:
    for _ in range(2):  # the files are as new as that
        assert store.import_tree(tree).unread_files == 0
    assert len(read) == 8


@pytest.mark.usefixtures("settled")
def test_read_all_reads_all(store: LocalCasStore, tree: Path, read: list[str]) -> None:
    store.import_tree(tree)
    assert store.import_tree(tree, read_all=True).unread_files == 0
    assert len(read) == 8
    assert store.import_tree(tree).unread_files == 4, "it has forgotten what it has read"


@pytest.mark.usefixtures("settled")
def test_a_change_in_place_of_the_same_size_and_time_is_seen(store: LocalCasStore, tree: Path) -> None:
    store.import_tree(tree)
    before = (tree / "a").stat()
    (tree / "a").write_bytes(b"A")
    os.utime(tree / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    report = store.import_tree(tree)
    assert (report.changed, report.unread_files) == (1, 3)
    assert store.read_file("a") == b"A"


@pytest.mark.usefixtures("settled")
def test_a_file_in_the_place_of_another_is_seen(store: LocalCasStore, tree: Path) -> None:
    store.import_tree(tree)
    before = (tree / "a").stat()
    (tree / "new").write_bytes(b"A")
    os.utime(tree / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    (tree / "new").rename(tree / "a")
    assert store.import_tree(tree).changed == 1
    assert store.read_file("a") == b"A"


@pytest.mark.usefixtures("settled")
def test_files_that_change_places_are_seen(store: LocalCasStore, tree: Path) -> None:
    (tree / "b").write_bytes(b"b")
    store.import_tree(tree)
    for source, target in (("a", "c"), ("b", "a"), ("c", "b")):
        (tree / source).rename(tree / target)
    store.import_tree(tree)
    assert (store.read_file("a"), store.read_file("b")) == (b"b", b"a")


@pytest.mark.usefixtures("settled")
def test_what_is_no_file_any_more_is_left_out(store: LocalCasStore, tree: Path) -> None:
    store.import_tree(tree)
    (tree / "a").unlink()
    (tree / "a").symlink_to("dir/large")
    report = store.import_tree(tree, mirror=True)
    assert (report.skipped_paths, report.removed) == (("a",), 1)


@pytest.mark.usefixtures("settled")
def test_what_has_been_collected_is_read_again(store: LocalCasStore, tree: Path, read: list[str]) -> None:
    store.import_tree(tree)
    store.delete_files(["a", "dir/large"])
    store.prune_orphan_blobs()
    report = store.import_tree(tree)
    assert (report.added, report.unread_files) == (2, 2)
    assert read[4:] == ["a", "large"]
    assert held(store) == CONTENTS
    assert store.audit_file_index(verify=True).is_clean()


@pytest.mark.usefixtures("settled")
def test_what_has_been_collected_comes_back_beside_what_is_new(store: LocalCasStore, tree: Path) -> None:
    store.import_tree(tree)
    store.delete_files(["a", "dir/large"])
    store.prune_orphan_blobs()
    plant(tree, {"new": b"new", "large and new": LARGE + b"!"})
    report = store.import_tree(tree)
    assert (report.added, report.unread_files) == (4, 2)
    assert held(store) == {**CONTENTS, "new": b"new", "large and new": LARGE + b"!"}
    assert store.audit_file_index(verify=True).is_clean()


@pytest.mark.usefixtures("settled")
def test_what_has_been_collected_and_then_changed_is_as_it_is_now(
    store: LocalCasStore, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.import_tree(tree)
    store.delete_file("a")
    store.prune_orphan_blobs()
    genuine = regular.open_regular

    def opened(directory: int, name: bytes) -> Any:
        (tree / "a").write_bytes(b"changed since it was looked at")
        return genuine(directory, name)

    monkeypatch.setattr(carrying, "open_regular", opened)
    store.import_tree(tree)
    assert store.read_file("a") == b"changed since it was looked at"


@pytest.mark.usefixtures("settled")
def test_another_tree_in_the_same_place_is_read(store: LocalCasStore, tree: Path) -> None:
    store.import_tree(tree)
    shutil.move(tree, tree.with_name("moved"))
    shutil.copytree(tree.with_name("moved"), tree)
    assert store.import_tree(tree).unread_files == 0


def test_where_clocks_may_differ_nothing_is_remembered(
    store: LocalCasStore, tree: Path, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "filesystem_type", lambda _: "nfs4")
    store.import_tree(tree)
    assert store.import_tree(tree).unread_files == 0


@pytest.mark.parametrize(("ns", "is_trusted"), [(0, False), (1, True)])
def test_a_change_time_that_an_image_may_have_been_made_with_is_not_trusted(
    location: Path, tree: Path, ns: int, is_trusted: bool
) -> None:
    found = (tree / "a").stat()
    times = {"st_mtime_ns": 10**18, "st_ctime_ns": 10**18 + ns}
    status = os.stat_result(found, times)
    with closing(DirectoryBlobs(str(location))) as blobs:
        noted, recalled = (remembered.Memory(blobs, str(tree), HashAlgorithm.BLAKE3) for _ in range(2))
        noted.note(b"a", status, "a" * 64)
        noted.keep()
        recalled.load()
        assert recalled.recall(b"a", status) == ("a" * 64 if is_trusted else None)


# --- the memory itself ------------------------------------------------------------------------


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone", "a directory", "forbidden content"])
def test_a_memory_that_is_not_whole_is_none(
    store: LocalCasStore, location: Path, tree: Path, damage: str
) -> None:
    store.import_tree(tree)
    (memory,) = (location / "hints").iterdir()
    data = memory.read_bytes()
    if damage == "flip":
        for position in range(0, len(data), 7):
            memory.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
            assert store.import_tree(tree).unread_files == 0
            assert held(store) == CONTENTS
        return
    memory.unlink()
    if damage == "cut":
        memory.write_bytes(data[:-20])
    elif damage == "empty":
        memory.write_bytes(b"")
    elif damage == "a directory":
        memory.mkdir()
    elif damage == "forbidden content":
        memory.write_bytes(bytes(40))
    assert store.import_tree(tree).unread_files == 0
    assert held(store) == CONTENTS


@pytest.mark.usefixtures("settled")
def test_an_import_that_names_nothing_remembers_nothing(
    store: LocalCasStore, location: Path, tree: Path
) -> None:
    def stop(done: int, _: int | None) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.import_tree(tree, progress=stop)
    assert not (location / "hints").exists()


@pytest.mark.usefixtures("settled")
def test_where_no_memory_can_be_kept_the_import_is_done_all_the_same(
    store: LocalCasStore, location: Path, tree: Path
) -> None:
    (location / "hints").write_bytes(b"in the way")
    for _ in range(2):
        assert store.import_tree(tree).unread_files == 0
    assert held(store) == CONTENTS
    assert list(location.glob("tmp/*/*")) == []


def test_only_the_memories_that_were_written_last_are_kept(tmp_path: Path) -> None:
    hints = Hints(str(tmp_path))
    for number in range(MOST + 5):
        hints.write(f"tree-{number}", b"%d" % number, str(tmp_path / "new"))
        os.utime(tmp_path / "hints" / f"tree-{number}", ns=(number, number))
    hints.write("tree-0", b"again", str(tmp_path / "new"))
    kept = [number for number in range(MOST + 5) if hints.read(f"tree-{number}") is not None]
    assert kept == [0, *range(6, MOST + 5)]
