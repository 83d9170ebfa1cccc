"""An import over an index that is damaged is how the damage goes: it stands, and says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_world_distfs import CatalogError, FileIndexManifestRef, LocalCasStore
from behind import edit
from test_audit_damage import edit_root

DAMAGES = {
    "an entry that names no blob": "UPDATE files SET blob_id = 999 WHERE path = 'b'",
    "an entry lost": "DELETE FROM files WHERE path = 'b'",
    "an entry invented": "INSERT INTO files SELECT generation, 'c', blob_id, 5, checksum FROM files LIMIT 1",
    "text that is not UTF-8": "UPDATE files SET path = CAST(x'ff62' AS TEXT) WHERE path = 'b'",
    "what can be no path": "UPDATE files SET path = 'b//b' WHERE path = 'b'",
}


def filled(location: Path, *, is_kept: bool) -> FileIndexManifestRef:
    with LocalCasStore(location) as store:
        store.set_setting("keep_history", is_kept)
        for path in "abcd":
            store.write_file(path, path.encode())
        ref = store.export_file_index_manifest(pin=True)
        store.delete_files(["c", "d"])
        store.write_file("b", b"changed")
    return ref


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize("is_kept", [False, True])
def test_an_import_over_a_damaged_index_replaces_it_without_an_error(
    location: Path, damage: str, is_kept: bool
) -> None:
    ref = filled(location, is_kept=is_kept)
    edit(location, damage)
    with LocalCasStore(location) as store:
        assert store.audit_file_index().index_damage
        assert store.import_file_index_manifest(ref).total_files == 4
        assert {file.path: store.read_file(file.path) for file in store.iter_files()} == {
            path: path.encode() for path in "abcd"
        }
        assert store.audit_file_index(verify=True).is_sound()
        store.prune_orphan_blobs()
        assert store.export_file_index_manifest() == ref


def test_what_is_out_of_order_at_the_end_of_a_page_ends_a_listing_of_pages_or_an_import(
    location: Path,
) -> None:
    """Or the entry after the last one of a page would be one of that page, for ever."""
    ref = filled(location, is_kept=False)
    with LocalCasStore(location) as store:
        store.import_file_index_manifest(ref)

    def exchange_last_two(page: bytearray) -> None:
        page[12:14], page[14:16] = page[14:16], page[12:14]

    edit_root(location, "files", exchange_last_two)
    with LocalCasStore(location) as store:
        with pytest.raises(CatalogError):
            store.usage()
        assert store.import_file_index_manifest(ref).total_files == 4
        assert store.audit_file_index().is_sound()
