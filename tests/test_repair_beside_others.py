"""Repair beside others: what is whole by then is not set aside, and what is not lost is not called lost."""

from __future__ import annotations

import io
import os
from pathlib import Path

from agent_world_distfs import LocalCasStore
from agent_world_distfs.local import catalog_of
from agent_world_distfs.operations.repair.examining import examine
from behind import blob_file
from meanwhile import Meanwhile, spoil

LARGE = b"large" * 5_000


def quarantined(location: str) -> list[bytes]:
    return [file.read_bytes() for file in Path(location).glob("quarantine/*")]


def assert_alive(store: LocalCasStore) -> None:
    assert store.read_file("live") == LARGE
    assert store.audit_file_index(verify=True).is_sound()


def test_what_is_healed_while_sources_are_asked_is_neither_lost_nor_set_aside(store: LocalCasStore) -> None:
    """Here under the number of the damaged file, as if that had been removed and its number used again."""
    file = blob_file(store.location, store.write_file("live", LARGE).content_hash)
    spoil(file)
    report = store.repair([Meanwhile(store, lambda: file.write_bytes(LARGE))])
    assert (report.lost_blob_hashes, report.quarantined, quarantined(store.location)) == ((), (), [])
    assert report.is_whole()
    assert_alive(store)


def test_a_dry_run_does_not_call_it_lost_either(store: LocalCasStore) -> None:
    spoil(blob_file(store.location, store.write_file("live", LARGE).content_hash))
    meanwhile = Meanwhile(store, lambda: store.put_stream(io.BytesIO(LARGE)))
    assert store.repair([meanwhile], dry_run=True).is_whole()


def test_a_damaged_file_is_told_from_the_one_that_replaces_it_as_long_as_it_is_open(
    store: LocalCasStore,
) -> None:
    name = store.write_file("live", LARGE).content_hash
    file = blob_file(store.location, name)
    spoil(file)
    row = catalog_of(store).read(lambda tx: tx.find_blob(name))
    assert row is not None
    bad = examine(catalog_of(store), store._blobs, row)
    assert bad is not None
    with bad:
        assert not isinstance(bad.damaged, bytes | None)
        assert os.path.samestat(os.fstat(bad.damaged.fileno()), file.stat())
        store.put_stream(io.BytesIO(LARGE))
        assert os.fstat(bad.damaged.fileno()).st_nlink == 0
        assert store._blobs.keep_aside(name, bad.label, bad.damaged) is None
    assert quarantined(store.location) == []
    assert_alive(store)
