"""Damaged pages on which a search for one row ends at another: no other row is changed in its place.

SQLite takes the row that a search ends at for the one that was sought if it met that one on its way.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations
from pathlib import Path

import pytest

from agent_world_distfs import CatalogError, LocalCasStore, SnapshotNotFoundError
from behind import look
from test_audit_damage import edit_root

FILES = {f"file {number}": b"content %d" % number for number in range(16)}
INDEX = "sqlite_autoindex_blobs_1"

Rows = set[tuple[object, ...]]


@pytest.fixture
def filled(location: Path) -> Path:
    with LocalCasStore(location) as store:
        for path, data in FILES.items():
            store.pin(store.write_file(path, data).content_hash)
    return location


def hashes_in(location: Path) -> dict[str, bytes]:
    with LocalCasStore(location, read_only=True) as store:
        return {store.hash_bytes(data): data for data in FILES.values()}


def damaged(location: Path, name: str, damages: list[Callable[[bytearray], None]]) -> Iterator[Path]:
    """One copy after the other, each with another damage in the root page of a table or index."""
    for damage in damages:
        place = shutil.copytree(location, location.with_name("damaged"))
        edit_root(place, name, damage)
        yield place
        shutil.rmtree(place)


def is_refused(place: Path, call: Callable[[LocalCasStore], object]) -> bool:
    with LocalCasStore(place) as store:
        try:
            call(store)
        except CatalogError:
            return True
    return False


def flipped(raw: bytes) -> Callable[[bytearray], None]:
    def flip(page: bytearray) -> None:
        page[page.index(raw)] ^= 0x80

    return flip


def exchanged(one: int, other: int) -> Callable[[bytearray], None]:
    def exchange(page: bytearray) -> None:
        a, b = slice(8 + 2 * one, 10 + 2 * one), slice(8 + 2 * other, 10 + 2 * other)
        page[a], page[b] = page[b], page[a]

    return exchange


def each_flipped(location: Path) -> list[Callable[[bytearray], None]]:
    """A bit in each second entry of the index of hashes."""
    return [flipped(bytes.fromhex(name)) for name in sorted(hashes_in(location))[::2]]


EXCHANGED = [exchanged(*two) for two in combinations(range(5), 2)]


# --- blobs and pins -----------------------------------------------------------------------------


def contents(location: Path) -> Rows:
    """Read from the first row to the last, without a search for any."""
    return set(look(location, "SELECT content_hash, payload FROM blobs NOT INDEXED"))


def pinned(location: Path) -> Rows:
    return set(look(location, "SELECT blob_id FROM pins"))


def test_content_that_is_stored_again_replaces_no_other_that_would_seem_to_be_damaged(filled: Path) -> None:
    good, refused = contents(filled), 0
    for data in FILES.values():
        for place in damaged(filled, INDEX, each_flipped(filled)):
            refused += is_refused(place, partial(LocalCasStore.put_bytes, data=data))
            assert contents(place) >= good
    assert refused


def test_unpinning_removes_no_other_pin(filled: Path) -> None:
    ids = {row[0]: row[1:] for row in look(filled, "SELECT lower(hex(content_hash)), blob_id FROM blobs")}
    good, refused = pinned(filled), 0
    for name in hashes_in(filled):
        for place in damaged(filled, INDEX, each_flipped(filled)):
            refused += is_refused(place, partial(LocalCasStore.unpin, content_hash=name))
            assert pinned(place) >= good - {ids[name]}
    assert refused


def test_a_hash_that_leads_to_the_row_of_another_blob_is_refused_by_all_that_name_it(filled: Path) -> None:
    one, other = list(hashes_in(filled))[2:4]

    def exchange_ids(page: bytearray) -> None:
        """In the two entries of the index, where the id follows the hash."""
        a, b = (page.index(bytes.fromhex(name)) + 32 for name in (one, other))
        page[a], page[b] = page[b], page[a]

    good = contents(filled)
    calls: list[Callable[[LocalCasStore], object]] = [
        lambda store: store.put_bytes(FILES["file 2"]),
        lambda store: store.write_file("new", FILES["file 2"]),
        lambda store: store.link_file("new", one),
        lambda store: store.pin(one),
        lambda store: store.unpin(one),
        lambda store: store.is_pinned(one),
        lambda store: store.get(one),
        lambda store: store.has(one),
    ]
    for place in damaged(filled, INDEX, [exchange_ids]):
        assert [is_refused(place, call) for call in calls] == [True] * len(calls)
        assert contents(place) == good
        assert len(pinned(place)) == len(FILES)


# --- entries and snapshots ----------------------------------------------------------------------


def entries(location: Path) -> Rows:
    return set(look(location, "SELECT path, blob_id FROM files"))


def snapshots(location: Path) -> Rows:
    return set(look(location, "SELECT name, manifest_hash FROM snapshots"))


@pytest.mark.parametrize(
    "call",
    [LocalCasStore.delete_file, partial(LocalCasStore.write_file, data=b"new")],
    ids=["delete", "write"],
)
def test_an_entry_out_of_order_does_not_go_in_the_place_of_another(
    filled: Path, call: Callable[..., object]
) -> None:
    good, refused = entries(filled), 0
    for path in sorted(FILES)[:5]:
        for place in damaged(filled, "files", EXCHANGED):
            refused += is_refused(place, partial(call, path=path))
            assert {row for row in good if row[0] != path} <= entries(place)
    assert refused


def test_a_snapshot_out_of_order_is_not_dropped_or_read_in_the_place_of_another(filled: Path) -> None:
    with LocalCasStore(filled) as store:
        for path in FILES:
            store.snapshot(path)
    good, refused = snapshots(filled), 0
    for name in sorted(FILES)[:5]:
        for place in damaged(filled, "snapshots", EXCHANGED):
            with LocalCasStore(place) as store:
                try:
                    assert store.find_snapshot(name).name == name
                    store.drop_snapshot(name)
                except CatalogError:
                    refused += 1
                except SnapshotNotFoundError:
                    pass
            assert {row for row in good if row[0] != name} <= snapshots(place)
    assert refused
