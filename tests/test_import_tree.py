"""A real directory into the index: what comes in, what is left out, and what a mirror removes."""

from __future__ import annotations

import os
import resource
import socket
from pathlib import Path

import pytest

from agent_world_distfs import FileMetadata, InvalidInputError, LocalCasStore, TreeImportReport
from agent_world_distfs.operations.tree_in import carrying
from children import Start
from trees import CONTENTS, DEPTH, LARGE, held, plant

pytestmark = pytest.mark.usefixtures("no_descriptor_is_left_open")


def times(store: LocalCasStore) -> dict[str, int]:
    return {file.path: file.updated_at_ms for file in store.list_files()}


def sequence(store: LocalCasStore) -> int:
    return store._catalog.read(lambda tx: tx.log_state().last)


# --- what comes in ----------------------------------------------------------------------------


def test_the_index_holds_what_the_directory_holds(either_store: LocalCasStore, tree: Path) -> None:
    report = either_store.import_tree(tree)
    total_bytes = sum(map(len, CONTENTS.values()))
    assert report == TreeImportReport(len(CONTENTS), total_bytes, added=len(CONTENTS), changed=0, removed=0)
    assert held(either_store) == CONTENTS
    assert either_store.audit_file_index(verify=True).is_clean()


def test_it_is_laid_over_a_directory_of_the_index(store: LocalCasStore, tmp_path: Path) -> None:
    mine = {"docs/mine": b"m", "docs2/a": b"2", "a": b"1", "docs": b"a file of the same name"}
    for path, data in mine.items():
        store.write_file(path, data)
    tree = plant(tmp_path / "tree", {"a": b"new", "b/c": b"c"})
    for prefix in ("docs", "docs/", "./docs//"):
        store.import_tree(str(tree), prefix)
        assert held(store) == {**mine, "docs/a": b"new", "docs/b/c": b"c"}


def test_what_is_the_same_keeps_its_time_and_is_not_counted(
    store: LocalCasStore, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.import_tree(tree)
    before = times(store)
    (tree / "a.txt").write_bytes(b"changed")
    (tree / "docs" / "new").write_bytes(b"new")
    later = max(before.values()) + 1000
    monkeypatch.setattr(carrying, "now_ms", lambda: later)
    report = store.import_tree(tree)
    assert (report.total_files, report.added, report.changed, report.removed) == (len(CONTENTS) + 1, 1, 1, 0)
    assert times(store) == {**before, "a.txt": later, "docs/new": later}
    assert store.import_tree(tree) == TreeImportReport(report.total_files, report.total_bytes, 0, 0, 0)


def test_times_do_not_go_back_with_the_clock(
    store: LocalCasStore, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write_file("a.txt", b"other")
    before = times(store)["a.txt"]
    monkeypatch.setattr(carrying, "now_ms", lambda: before - 10_000)
    store.import_tree(tree)
    assert times(store)["a.txt"] == before
    assert times(store)["empty"] == before - 10_000


def test_an_empty_directory_adds_nothing(store: LocalCasStore, tmp_path: Path) -> None:
    store.write_file("a", b"a")
    (tmp_path / "empty" / "also").mkdir(parents=True)
    assert store.import_tree(tmp_path / "empty") == TreeImportReport(0, 0, 0, 0, 0)
    assert held(store) == {"a": b"a"}


def test_equal_files_are_stored_once(store: LocalCasStore, location: Path, tmp_path: Path) -> None:
    store.import_tree(plant(tmp_path / "tree", {"a": LARGE, "b/c": LARGE}))
    assert len([path for path in (location / "blobs").rglob("*") if path.is_file()]) == 1


def test_a_large_file_that_is_stored_already_is_not_written_again(
    store: LocalCasStore, location: Path, tmp_path: Path
) -> None:
    tree = plant(tmp_path / "tree", {"a": LARGE})
    store.import_tree(tree)
    (blob,) = [path for path in (location / "blobs").rglob("*") if path.is_file()]
    before = blob.stat().st_ino
    store.import_tree(tree)
    assert blob.stat().st_ino == before


@pytest.mark.parametrize("path", ["docs/sub/large.bin", "elsewhere/large.bin"])
def test_a_rotten_copy_in_the_store_is_healed(
    store: LocalCasStore, location: Path, tree: Path, path: str
) -> None:
    content_hash = store.write_file(path, LARGE).content_hash
    blob = location / "blobs" / content_hash[:2] / content_hash
    blob.write_bytes(b"\0" * len(LARGE))
    store.import_tree(tree)
    assert store.read_file("docs/sub/large.bin") == LARGE


def test_a_deep_directory_needs_few_descriptors(store: LocalCasStore, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    here = os.open(tree, os.O_RDONLY)
    for _ in range(DEPTH):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    store.import_tree(plant(tmp_path / "warm", {"a": b"a"}))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/dev/fd"))) + 16, before[1]))
    try:
        store.import_tree(tree, mirror=True)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert held(store) == {"d/" * DEPTH + "f": b""}


def test_a_tree_of_a_few_files_is_one_commit(store: LocalCasStore, tree: Path) -> None:
    store.write_file("before", b"")
    before = sequence(store)
    store.import_tree(tree)
    assert sequence(store) == before + 1


@pytest.mark.parametrize("most", [0, len(CONTENTS) - 1, len(CONTENTS)])
def test_a_tree_of_more_files_is_named_by_one_commit_all_the_same(
    store: LocalCasStore, tree: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(carrying, "AT_ONCE_FILES", most)
    monkeypatch.setattr(carrying, "FULL_BLOBS", 2)
    seen = []
    store.import_tree(tree, progress=lambda done, total: seen.append((done, total, len(store.list_files()))))
    assert seen[-1] == (len(CONTENTS), len(CONTENTS), 0)
    assert {in_index for _, _, in_index in seen} == {0}
    assert held(store) == CONTENTS
    assert store.audit_file_index(verify=True).is_clean()


def test_a_file_that_is_in_the_index_with_other_content_is_changed_not_added(
    store: LocalCasStore, tree: Path
) -> None:
    store.write_file("a.txt", b"other")
    report = store.import_tree(tree)
    assert (report.added, report.changed) == (len(CONTENTS) - 1, 1)
    assert held(store) == CONTENTS


def test_progress_counts_files(store: LocalCasStore, tree: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    store.import_tree(tree, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen, key=lambda step: step[0])
    assert seen[-1] == (len(CONTENTS), len(CONTENTS))
    assert {total for _, total in seen} == {len(CONTENTS)}


# --- what does not ----------------------------------------------------------------------------


def test_what_is_no_regular_file_is_left_out_and_listed(store: LocalCasStore, tmp_path: Path) -> None:
    secret = plant(tmp_path / "outside", {"secret": b"secret"})
    tree = plant(tmp_path / "tree", {"file": b"f", "dir/file": b"g"})
    (tree / "to-a-file").symlink_to(secret / "secret")
    (tree / "to-a-directory").symlink_to(secret)
    (tree / "to-nothing").symlink_to("nothing")
    (tree / "within").symlink_to("file")
    os.mkfifo(tree / "dir" / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree / "socket"))
    expected = ["to-a-file", "to-a-directory", "to-nothing", "within", "dir/fifo", "socket"]
    if os.geteuid() == 0:
        os.mknod(tree / "device", 0o600 | 0o020000, os.makedev(1, 3))
        expected.append("device")
    report = store.import_tree(tree, "x")
    assert report.skipped_paths == tuple(sorted(f"x/{name}" for name in expected))
    assert report.skipped_reasons == ("not a regular file",) * len(expected)
    assert held(store) == {"x/file": b"f", "x/dir/file": b"g"}


def test_names_that_are_no_text_are_left_out_and_shown_with_escapes(
    store: LocalCasStore, tmp_path: Path
) -> None:
    tree = plant(tmp_path / "tree", {"é": b"kept"})
    for name in (b"\xff", b"a\xe9b", "\ud800".encode("utf-8", "surrogatepass")):
        (tree / os.fsdecode(name)).write_bytes(b"")
    (tree / os.fsdecode(b"dir\xff")).mkdir()
    (tree / os.fsdecode(b"dir\xff") / "below").write_bytes(b"")
    report = store.import_tree(tree)
    assert report.skipped_paths == (r"\xed\xa0\x80", r"\xff", r"a\xe9b", r"dir\xff")
    assert report.skipped_reasons == ("the name is not UTF-8",) * 4
    assert held(store) == {"é": b"kept"}


def test_a_path_that_is_too_long_with_its_prefix_is_left_out(store: LocalCasStore, tmp_path: Path) -> None:
    prefix = "p" * 4090
    tree = plant(tmp_path / "tree", {"short": b"", "longer": b"", "dir/sub/file": b""})
    report = store.import_tree(tree, prefix)
    assert report.skipped_paths == (f"{prefix}/dir/sub", f"{prefix}/longer")
    assert all("4096" in why or "4,096" in why for why in report.skipped_reasons)
    assert list(held(store)) == [f"{prefix}/short"]


def test_a_store_within_the_directory_is_left_out(
    store: LocalCasStore, other_store: LocalCasStore, tmp_path: Path
) -> None:
    # Reading the files of a store that this process has open would drop its locks.
    tree = plant(tmp_path / "tree", {"file": b"f"})
    (tmp_path / "other").rename(tree / "world")
    report = store.import_tree(tree)
    assert (report.skipped_paths, report.skipped_reasons) == (("world",), ("a store",))
    assert held(store) == {"file": b"f"}
    with pytest.raises(InvalidInputError, match="is a store"):
        store.import_tree(tree / "world")


@pytest.mark.parametrize("place", [".", "blobs", "../", "../..", "link", "../aside"])
def test_the_store_itself_is_refused_above_and_below(
    store: LocalCasStore, location: Path, tmp_path: Path, place: str
) -> None:
    (location / "link").symlink_to(location)
    (tmp_path / "aside").symlink_to(location / "blobs")
    with pytest.raises(InvalidInputError, match="store"):
        store.import_tree(location / place)
    assert store.list_files() == []


# --- mirrors ----------------------------------------------------------------------------------


def test_a_mirror_also_removes_what_the_directory_does_not_have(store: LocalCasStore, tmp_path: Path) -> None:
    for path in ("docs/old", "docs/a", "docs/sub/old", "docs2/kept", "docs", "kept"):
        store.write_file(path, b"old")
    tree = plant(tmp_path / "tree", {"a": b"new", "b": b"new"})
    report = store.import_tree(tree, "docs", mirror=True)
    assert report == TreeImportReport(2, 6, added=1, changed=1, removed=2)
    new, old = b"new", b"old"
    assert held(store) == {"docs": old, "docs/a": new, "docs/b": new, "docs2/kept": old, "kept": old}


def test_a_mirror_of_the_top_is_the_directory(store: LocalCasStore, tree: Path, tmp_path: Path) -> None:
    store.write_file("other", b"")
    assert store.import_tree(tree, mirror=True).removed == 1
    assert held(store) == CONTENTS
    (tree / "a.txt").unlink()
    (tree / "a.txt").symlink_to("empty")
    report = store.import_tree(tree, mirror=True)
    assert (report.removed, report.skipped_paths) == (1, ("a.txt",))
    (tmp_path / "empty").mkdir()
    assert store.import_tree(tmp_path / "empty", mirror=True).removed == len(CONTENTS) - 1
    assert store.list_files() == []


OBSERVE = """
with LocalCasStore(location, create=False) as store:
    say("ready")
    seen = set()
    while not (len(sys.argv) > 2 and os.path.exists(sys.argv[2])):
        seen.add(" ".join(file.path for file in store.list_files()))
    for listing in sorted(seen):
        say(listing)
"""


def test_nobody_sees_half_of_a_mirror(
    store: LocalCasStore, location: Path, tmp_path: Path, start: Start
) -> None:
    odd = plant(tmp_path / "odd", {f"odd-{number}": LARGE for number in range(20)} | {"both": b"odd"})
    even = plant(tmp_path / "even", {f"even-{number}": b"e" for number in range(30)} | {"both": b"even"})
    whole = {" ".join(sorted(path.name for path in tree.iterdir())) for tree in (odd, even)}
    store.import_tree(odd, mirror=True)
    observer = start(OBSERVE, location, tmp_path / "enough")
    assert observer.hear() == "ready"
    for tree in (even, odd) * 10:
        store.import_tree(tree, mirror=True)
    (tmp_path / "enough").touch()
    assert set(observer.hear_all()) == whole


def test_the_report_and_the_metadata_agree(either_store: LocalCasStore, tree: Path) -> None:
    report = either_store.import_tree(tree)
    files: list[FileMetadata] = either_store.list_files()
    assert report.total_bytes == sum(file.size_bytes for file in files)
    assert [file.content_hash for file in files] == [
        either_store.hash_bytes(CONTENTS[file.path]) for file in files
    ]
