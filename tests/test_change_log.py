"""The change log of the catalog: what each transaction did, in its own commit."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from agent_world_distfs import CatalogError, FileMetadata, LocalCasStore
from agent_world_distfs.catalog.change_format import PART_BYTES, check_changes, decode_changes, encode_change
from agent_world_distfs.catalog.commits import KEPT_PARTS
from agent_world_distfs.protocols import CatalogWriter, PathChange
from behind import edit, log_of


def changes_of(store: LocalCasStore) -> list[list[PathChange]]:
    return [changes for *_, changes in log_of(store)]


def test_each_change_of_the_index_is_logged_with_both_sides(either_store: LocalCasStore) -> None:
    store = either_store
    first = store.write_file("a", b"1")
    second = store.write_file("a", b"2" * 20_000)
    moved = store.rename_file("a", "b")
    store.delete_file("b")
    assert changes_of(store) == [
        [PathChange("a", None, first)],
        [PathChange("a", first, second)],
        [PathChange("b", None, moved), PathChange("a", second, None)],
        [PathChange("b", moved, None)],
    ]


def test_what_does_not_touch_the_index_is_not_logged(store: LocalCasStore) -> None:
    store.pin(store.put_bytes(b"pinned"))
    store.delete_file("missing")
    store.prune_orphan_blobs()
    assert log_of(store) == []


def test_an_import_is_one_entry(store: LocalCasStore) -> None:
    store.write_file("a", b"1")
    ref = store.export_file_index_manifest(pin=True)
    store.write_file("b", b"2")
    store.import_file_index_manifest(ref)
    *_, (_, _, imported, changes) = log_of(store)
    assert imported is not None
    assert changes == []


def test_numbers_go_up_and_ids_belong_to_them(store: LocalCasStore) -> None:
    store.write_file("a", b"1")
    store.write_file("b", b"1")
    numbers = [sequence for sequence, *_ in log_of(store)]
    assert numbers == sorted(set(numbers))
    ids = store._catalog.read(lambda tx: [each.transaction_id for each in tx.iter_transactions(0, 99)])
    assert [int(each.partition("-")[0]) for each in ids] == numbers
    asked = [*ids, f"{numbers[0]}-0000000000000000", f"{numbers[-1] + 1}-0000000000000000"]
    answers = store._catalog.read(lambda tx: [tx.has_committed(each) for each in asked])
    assert answers == [True] * len(ids) + [False, False]


def test_a_large_transaction_is_logged_whole_and_in_order(store: LocalCasStore) -> None:
    total = PART_BYTES // 20  # more than two parts
    metas = [FileMetadata(f"{number:08}", store.hash_bytes(b"x"), 1, number) for number in range(total)]

    def change(tx: CatalogWriter) -> None:
        row = tx.add_blob(metas[0].content_hash, 1, b"x")
        assert row is not None
        for meta in metas:
            tx.set_file(meta.path, row, meta.updated_at_ms)

    store._catalog.write(change)
    ((_, _, _, changes),) = log_of(store)
    assert [change.after for change in changes] == metas


def test_large_transactions_push_out_older_changes_where_no_history_is_kept(store: LocalCasStore) -> None:
    content_hash, path = store.put_bytes(b"x"), "p" * 4_000

    def change(tx: CatalogWriter) -> None:
        row = tx.find_brief(content_hash)
        assert row is not None
        for _ in range(KEPT_PARTS * PART_BYTES * 2 // 3 // len(path)):  # two of them are more than is kept
            tx.set_file(path, row, 0)

    store._catalog.write(change)
    assert len(log_of(store)) == 1
    store._catalog.write(change)
    state = store._catalog.read(lambda tx: tx.log_state())
    assert state.floor == state.last - 1
    assert [sequence for sequence, *_ in log_of(store, state.floor)] == [state.last]


@pytest.mark.parametrize("column", ["actor", "at_ms", "changes"])
def test_a_log_that_was_changed_behind_our_back_is_damage(location: Path, column: str) -> None:
    with LocalCasStore(location) as store:
        store.write_file("a", b"1")
    value = "at_ms + 1" if column == "at_ms" else "'x'" if column == "actor" else "x'00'"
    edit(location, f"UPDATE commits SET {column} = {value} WHERE sequence = 1")
    with LocalCasStore(location) as store:
        with pytest.raises(CatalogError):
            log_of(store)
        assert not store.audit_file_index().is_sound()


def test_a_part_that_ends_within_a_change_is_none() -> None:
    before, after = (b"\xab" * 32, 1, 2), (b"\xcd" * 32, 3, 4)
    changes = [
        encode_change(*change) for change in (("a", before, after), ("é", None, after), ("b", before, None))
    ]
    ends = [len(b"".join(changes[:count])) for count in range(4)]
    part = b"".join(changes)
    for size in range(len(part) + 1):
        if size in ends:
            check_changes(part[:size])
        else:
            with pytest.raises((struct.error, ValueError)):
                check_changes(part[:size])


def test_a_change_comes_back_as_it_was_encoded() -> None:
    file, side = FileMetadata("ä/b", "ab" * 32, 7, -1), (b"\xab" * 32, 7, -1)
    for path, sides, change in (
        ("ä/b", (None, side), PathChange("ä/b", None, file)),
        ("ä/b", (side, None), PathChange("ä/b", file, None)),
        ("ä/b", (side, side), PathChange("ä/b", file, file)),
        ("x" * 4096, (None, None), PathChange("x" * 4096, None, None)),
    ):
        assert list(decode_changes(encode_change(path, *sides) * 2)) == [change, change]
