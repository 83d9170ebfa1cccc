"""Conditional writes and deletes: each condition on each state of the path, by each way to change it."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent_world_distfs import (
    ABSENT,
    Absent,
    BlobNotFoundError,
    ConflictError,
    FileConflictError,
    FileMetadata,
    InvalidInputError,
    LocalCasStore,
    PathNotFoundError,
)

NOW = "agent_world_distfs.operations.files.now_ms"

SMALL, LARGE = b"new", b"new" * 10_000
OLD, OTHER = b"old", b"other"

Expected = str | Absent | None
Change = Callable[[LocalCasStore, bytes, Expected], FileMetadata | bool]
"""Makes the path ``target`` hold some bytes, or nothing, under a condition on it."""


def by_write(store: LocalCasStore, data: bytes, expected: Expected) -> FileMetadata:
    return store.write_file_if_match("target", expected, data)


def by_stream(store: LocalCasStore, data: bytes, expected: Expected) -> FileMetadata:
    return store.write_file_stream("target", io.BytesIO(data), expected_content_hash=expected)


def by_link(store: LocalCasStore, data: bytes, expected: Expected) -> FileMetadata:
    return store.link_file("target", store.put_bytes(data), expected_content_hash=expected)


def by_copy(store: LocalCasStore, data: bytes, expected: Expected) -> FileMetadata:
    store.write_file("source", data)
    return store.copy_file("source", "target", expected_content_hash=expected)


def by_rename(store: LocalCasStore, data: bytes, expected: Expected) -> FileMetadata:
    store.write_file("source", data)
    return store.rename_file("source", "target", expected_content_hash=expected)


WRITES: dict[str, Callable[[LocalCasStore, bytes, Expected], FileMetadata]] = {
    "write": by_write,
    "stream": by_stream,
    "link": by_link,
    "copy": by_copy,
    "rename": by_rename,
}

each_write = pytest.mark.parametrize("change", WRITES.values(), ids=WRITES.keys())
each_size = pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])


@dataclass(frozen=True)
class Row:
    """One row of the table: what is there, what is expected, and whether that is a conflict."""

    present: bytes | None
    expected: bytes | Absent | None
    is_conflict: bool


ROWS = {
    "no condition, nothing there": Row(None, None, is_conflict=False),
    "no condition, something there": Row(OLD, None, is_conflict=False),
    "absent expected, nothing there": Row(None, ABSENT, is_conflict=False),
    "absent expected, something there": Row(OLD, ABSENT, is_conflict=True),
    "a hash expected, nothing there": Row(None, OLD, is_conflict=True),
    "a hash expected, it is there": Row(OLD, OLD, is_conflict=False),
    "a hash expected, another is there": Row(OTHER, OLD, is_conflict=True),
    "the new hash expected, another is there": Row(OLD, SMALL, is_conflict=True),
}
each_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())


def prepare(store: LocalCasStore, row: Row) -> tuple[FileMetadata | None, Expected]:
    """Bring the path into the state of the row; what it holds, and what is expected."""
    held = None if row.present is None else store.write_file("target", row.present)
    expected = store.hash_bytes(row.expected) if isinstance(row.expected, bytes) else row.expected
    return held, expected


def check_refusal(raised: FileConflictError, expected: Expected, held: FileMetadata | None) -> None:
    assert isinstance(raised, ConflictError)
    assert (raised.path, raised.expected, raised.actual) == ("target", expected, held)
    assert raised.conflicts == (raised,)


# --- the table --------------------------------------------------------------------------------


@each_row
@each_write
@each_size
def test_a_write_happens_exactly_if_the_path_holds_what_is_expected(
    either_store: LocalCasStore, change: Change, data: bytes, row: Row
) -> None:
    store = either_store
    held, expected = prepare(store, row)
    if row.is_conflict:
        with pytest.raises(FileConflictError) as raised:
            change(store, data, expected)
        check_refusal(raised.value, expected, held)
        assert store.stat_file("target") == held
    else:
        written = change(store, data, expected)
        assert isinstance(written, FileMetadata)
        assert (written.path, written.content_hash) == ("target", store.hash_bytes(data))
        assert written.size_bytes == len(data)
        assert store.stat_file("target") == written
        assert store.read_file("target") == data
    assert store.audit_file_index(verify=True).is_sound()


@each_row
def test_a_delete_happens_exactly_if_the_path_holds_what_is_expected(
    either_store: LocalCasStore, row: Row
) -> None:
    store = either_store
    held, expected = prepare(store, row)
    if row.is_conflict:
        with pytest.raises(FileConflictError) as raised:
            store.delete_file_if_match("target", expected)
        check_refusal(raised.value, expected, held)
        assert store.stat_file("target") == held
    else:
        assert store.delete_file_if_match("target", expected) is (held is not None)
        assert store.stat_file("target") is None


def test_the_actual_value_is_none_where_there_is_no_file(store: LocalCasStore) -> None:
    with pytest.raises(FileConflictError) as raised:
        store.write_file_if_match("target", "a" * 64, b"x")
    assert raised.value.actual is None
    with pytest.raises(FileConflictError) as raised:
        store.delete_file_if_match("target", "a" * 64)
    assert raised.value.actual is None


def test_a_conflict_names_the_path_in_its_one_form(store: LocalCasStore) -> None:
    store.write_file("a/b", b"x")
    with pytest.raises(FileConflictError) as raised:
        store.write_file_if_match("./a//b", ABSENT, b"y")
    assert raised.value.path == "a/b"


def test_content_is_compared_and_not_history(store: LocalCasStore) -> None:
    first = store.write_file("a", b"A")
    store.write_file("a", b"B")
    store.write_file("a", b"A")
    store.write_file_if_match("a", first.content_hash, b"C")
    assert store.read_file("a") == b"C"


def test_the_trap_of_no_hash_for_no_file_is_refused_where_it_can_be_seen(store: LocalCasStore) -> None:
    store.write_file("a", b"A")
    for wrong in ("", "absent", "ABSENT", "none"):
        with pytest.raises(InvalidInputError):
            store.write_file_if_match("a", wrong, b"B")
    for wrong_type in (False, 0, b"", FileMetadata("a", "a" * 64, 1, 1)):
        with pytest.raises(TypeError):
            store.write_file_if_match("a", wrong_type, b"B")  # type: ignore[arg-type]
    assert store.read_file("a") == b"A"


# --- what a refused write leaves --------------------------------------------------------------


@each_size
def test_a_refused_write_leaves_no_blob_and_no_temporary_file(store: LocalCasStore, data: bytes) -> None:
    store.write_file("target", OLD)
    for change in (by_write, by_stream):
        with pytest.raises(FileConflictError):
            change(store, data, ABSENT)
    assert [file.path for file in store.list_files()] == ["target"]
    assert not list(Path(store.location).glob("tmp/*/*"))
    store.prune_orphan_blobs()
    assert not store.has(store.hash_bytes(data))
    assert store.audit_file_index(verify=True).is_clean()


def test_a_refused_rename_keeps_the_source(store: LocalCasStore) -> None:
    source, target = store.write_file("source", SMALL), store.write_file("target", OLD)
    with pytest.raises(FileConflictError):
        store.rename_file("source", "target", expected_content_hash=ABSENT)
    assert store.list_files() == [source, target]


# --- link, copy, rename -----------------------------------------------------------------------


def test_linking_what_is_not_stored_is_refused(store: LocalCasStore) -> None:
    held = store.write_file("target", OLD)
    for expected in (None, held.content_hash, ABSENT):
        with pytest.raises(BlobNotFoundError) as raised:
            store.link_file("target", store.hash_bytes(b"not stored"), expected_content_hash=expected)
        assert raised.value.content_hash == store.hash_bytes(b"not stored")
    assert store.stat_file("target") == held


def test_copying_and_renaming_what_is_not_there_is_refused(store: LocalCasStore) -> None:
    held = store.write_file("target", OLD)
    for change in (store.copy_file, store.rename_file):
        with pytest.raises(PathNotFoundError) as raised:
            change("source", "target")
        assert raised.value.path == "source"
    assert store.list_files() == [held]


def test_a_copy_keeps_its_source_and_a_rename_does_not(store: LocalCasStore) -> None:
    source = store.write_file("source", LARGE)
    copied = store.copy_file("source", "target")
    assert (copied.path, copied.content_hash) == ("target", source.content_hash)
    assert store.stat_file("source") == source
    renamed = store.rename_file("source", "target")
    assert store.list_files() == [renamed]
    assert store.read_file("target") == LARGE


@pytest.mark.parametrize("same", ["source", "./source", "source/"])
def test_a_file_renamed_or_copied_onto_itself_stays(
    store: LocalCasStore, monkeypatch: pytest.MonkeyPatch, same: str
) -> None:
    first = store.write_file("source", SMALL)
    monkeypatch.setattr(NOW, lambda: first.updated_at_ms + 5)
    for change in (store.copy_file, store.rename_file):
        again = change("source", same)
        assert store.list_files() == [again]
        assert (again.path, again.content_hash) == ("source", first.content_hash)
        assert again.updated_at_ms == first.updated_at_ms + 5
        with pytest.raises(FileConflictError):
            change("source", same, expected_content_hash=ABSENT)
    assert store.read_file("source") == SMALL


def test_deleting_many_is_one_change(store: LocalCasStore) -> None:
    for path in "abcd":
        store.write_file(path, b"x")
    assert store.delete_files(["a", "./b", "not there", "a"]) == 2
    assert [file.path for file in store.list_files()] == ["c", "d"]
    assert store.delete_files([]) == 0
    assert store.delete_files(path for path in "cd") == 2
    with pytest.raises(TypeError):
        store.delete_files("ab")
    with pytest.raises(TypeError):
        store.delete_files(b"ab")  # type: ignore[arg-type]


def test_nothing_is_deleted_if_one_of_the_paths_is_none(store: LocalCasStore) -> None:
    kept = store.write_file("a", b"x")
    with pytest.raises(InvalidInputError):
        store.delete_files(["a", ".."])
    assert store.list_files() == [kept]


# --- times ------------------------------------------------------------------------------------


@each_write
def test_a_write_of_the_bytes_that_are_there_is_a_write(
    store: LocalCasStore, monkeypatch: pytest.MonkeyPatch, change: Change
) -> None:
    first = store.write_file("target", SMALL)
    monkeypatch.setattr(NOW, lambda: first.updated_at_ms + 1000)
    again = change(store, SMALL, first.content_hash)
    assert isinstance(again, FileMetadata)
    assert again.content_hash == first.content_hash
    assert again.updated_at_ms == first.updated_at_ms + 1000


@each_write
def test_the_time_of_a_path_never_goes_back_with_the_clock(
    store: LocalCasStore, monkeypatch: pytest.MonkeyPatch, change: Change
) -> None:
    monkeypatch.setattr(NOW, lambda: 2_000_000_000_000)
    store.write_file("target", OLD)
    for earlier in (1_999_999_999_999, 1_000, 0, -5):
        monkeypatch.setattr(NOW, lambda earlier=earlier: earlier)
        changed = change(store, SMALL, None)
        assert isinstance(changed, FileMetadata)
        assert changed.updated_at_ms == 2_000_000_000_000
        assert store.stat_file("target") == changed
    monkeypatch.setattr(NOW, lambda: 2_000_000_000_001)
    later = change(store, SMALL, None)
    assert isinstance(later, FileMetadata)
    assert later.updated_at_ms == 2_000_000_000_001


def test_a_time_is_in_milliseconds_of_now(store: LocalCasStore) -> None:
    before = time.time_ns() // 1_000_000
    written = store.write_file("a", b"")
    assert before <= written.updated_at_ms <= time.time_ns() // 1_000_000


# --- one snapshot -----------------------------------------------------------------------------


@each_size
def test_what_is_read_with_its_metadata_is_what_to_expect_when_writing(
    either_store: LocalCasStore, data: bytes
) -> None:
    either_store.write_file("a", data)
    metadata, content = either_store.read_file_with_metadata("a")
    assert (metadata, content) == (either_store.stat_file("a"), data)
    either_store.write_file_if_match("a", metadata.content_hash, content + b"!")
    assert either_store.read_file("a") == data + b"!"
