"""Stores that have moved can be read and not changed; an upgrade wants a store that nobody has open."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_world_distfs import (
    IncompatibleStoreError,
    LocalCasStore,
    NotFoundError,
    StoreMovedError,
    UnavailableError,
    upgrade_store,
)
from agent_world_distfs.catalog.schema import APPLICATION_ID
from behind import seal
from calls import READS, WRITES, Call, fill
from children import Start

# --- moved ------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", WRITES.values(), ids=WRITES.keys())
def test_a_store_that_has_moved_says_where_to_and_is_not_changed(location: Path, call: Call) -> None:
    with LocalCasStore(location) as store:
        fill(store)
        seal(location, "postgresql://elsewhere/world")  # while it is open
        before = store.list_files(), store.list_pins(), store.audit_file_index().orphan_blob_hashes
        with pytest.raises(StoreMovedError) as raised:
            call(store)
        assert raised.value.location == "postgresql://elsewhere/world"
        assert isinstance(raised.value, IncompatibleStoreError)
        after = store.list_files(), store.list_pins()
        assert after == before[:2]


@pytest.mark.parametrize("call", READS.values(), ids=READS.keys())
def test_a_store_that_has_moved_can_still_be_read(location: Path, call: Call) -> None:
    with LocalCasStore(location) as store:
        fill(store)
        expected = call(store)
    seal(location, "/elsewhere")
    with LocalCasStore(location) as store:
        assert call(store) == expected


def test_a_store_that_has_moved_opens_although_a_dead_process_left_a_lease(
    location: Path, start: Start
) -> None:
    child = start(
        """
        from agent_world_distfs.engine.leases import Lease
        store = LocalCasStore(location)
        lease = Lease(store._catalog, store._blobs)
        import io
        lease.put_stream(io.BytesIO(b"leased"))
        say("leased")
        hear()
        """,
        location,
    )
    child.hear()
    child.kill()
    seal(location, "/elsewhere")
    with LocalCasStore(location) as store:
        assert store.list_files() == []
        with pytest.raises(StoreMovedError):
            store.write_file("a", b"x")


# --- upgrading --------------------------------------------------------------------------------


def test_a_store_of_this_format_needs_no_upgrade(location: Path) -> None:
    report = upgrade_store(location)
    assert report.format_before == report.format_after == 1
    with LocalCasStore(location) as store:
        store.write_file("a", b"x")


def test_a_store_that_somebody_has_open_is_not_upgraded(location: Path, start: Start) -> None:
    with LocalCasStore(location), pytest.raises(UnavailableError, match="open"):
        upgrade_store(location)
    child = start("store = LocalCasStore(location)\nsay('open')\nhear()", location)
    child.hear()
    with pytest.raises(UnavailableError, match="open"):
        upgrade_store(location)
    child.kill()
    upgrade_store(location)


def test_where_there_is_no_store_nothing_is_upgraded(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        upgrade_store(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()


def test_the_catalog_says_what_it_is(location: Path) -> None:
    header = (location / "catalog.db").read_bytes()[:100]
    assert int.from_bytes(header[68:72]) == APPLICATION_ID
    assert int.from_bytes(header[60:64]) == 1
