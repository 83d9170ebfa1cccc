"""Snapshots in backups, pulls and repairs: they travel whole, and what of them is lost is told by name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from agent_world_distfs import (
    FileIndexManifestRef,
    FileMetadata,
    IncompatibleStoreError,
    LocalCasStore,
    ManifestError,
    Snapshot,
    SnapshotExistsError,
    repair_store,
    restore_backup,
)
from agent_world_distfs.copying import catalogs
from agent_world_distfs.manifest_format import encode_manifest
from agent_world_distfs.protocols import CatalogWriter
from behind import blob_file
from calls import LARGE
from changed_since import FILES, fill
from test_named_meanwhile import run_once_after

PAGE = 4096


@pytest.fixture
def filled(either_store: LocalCasStore) -> LocalCasStore:
    fill(either_store)
    return either_store


def require_kept(store: LocalCasStore) -> None:
    assert {path: store.read_file_at(path, "kept") for path in FILES} == FILES
    store.prune_orphan_blobs()
    assert store.audit_file_index(verify=True).is_clean()
    assert {path: store.read_file_at(path, "kept") for path in FILES} == FILES


# --- backups ------------------------------------------------------------------------------------


def test_a_backup_has_the_snapshots_and_all_that_they_name(filled: LocalCasStore, tmp_path: Path) -> None:
    assert filled.backup(tmp_path / "backup").is_whole()
    restore_backup(tmp_path / "backup", tmp_path / "restored")
    for place in ("backup", "restored"):
        with LocalCasStore(tmp_path / place, create=False) as copy:
            assert copy.list_snapshots() == filled.list_snapshots()
            require_kept(copy)


def test_a_backup_in_which_a_snapshot_was_made_counts_as_changed(
    filled: LocalCasStore, tmp_path: Path
) -> None:
    filled.backup(tmp_path / "backup")
    with LocalCasStore(tmp_path / "backup") as copy:
        copy.snapshot("in the backup")
    with pytest.raises(IncompatibleStoreError):
        filled.backup(tmp_path / "backup")


def test_a_snapshot_dropped_and_collected_while_it_is_backed_up_is_not_in_the_backup_half(
    filled: LocalCasStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drop() -> None:
        with LocalCasStore(filled.location) as other:
            other.drop_snapshot("kept")
            other.prune_orphan_blobs()

    run_once_after(catalogs, "_write_copy", drop, monkeypatch)
    assert filled.backup(tmp_path / "backup").is_whole()
    with LocalCasStore(tmp_path / "backup") as copy:
        assert copy.list_snapshots() == []
        assert copy.audit_file_index(verify=True).is_sound()


def test_a_backup_tells_what_of_a_snapshot_is_lost(filled: LocalCasStore, tmp_path: Path) -> None:
    name = filled.hash_bytes(LARGE)
    blob_file(Path(filled.location), name).unlink()
    report = filled.backup(tmp_path / "backup")
    assert report.missing_blob_hashes == (name,)
    assert not report.is_whole()


# --- pulls --------------------------------------------------------------------------------------


@pytest.fixture
def peer(filled: LocalCasStore, tmp_path: Path) -> Iterator[LocalCasStore]:
    """Another, empty store of the same algorithm."""
    with LocalCasStore(tmp_path / "peer", hash_algorithm=filled.hash_algorithm) as peer:
        yield peer


def test_a_pull_brings_snapshots_on_request(filled: LocalCasStore, peer: LocalCasStore) -> None:
    peer.pull_index(filled)
    assert peer.list_snapshots() == []
    peer.pull_index(filled, snapshots=True)
    assert peer.list_snapshots() == filled.list_snapshots()
    assert peer.list_files() == filled.list_files()
    require_kept(peer)


def test_snapshots_are_pulled_without_the_index_and_only_the_new_ones(
    filled: LocalCasStore, peer: LocalCasStore
) -> None:
    kept = filled.find_snapshot("kept")
    assert peer.pull_snapshots(filled) == [kept]
    assert peer.list_files() == []
    assert peer.pull_snapshots(filled) == []
    second = filled.snapshot("second")
    assert peer.pull_snapshots(filled) == [second]
    peer.drop_snapshot("second")
    require_kept(peer)
    assert peer._catalog.read(lambda tx: tx.leases()) == frozenset()


def test_a_snapshot_of_another_state_under_the_same_name_is_a_conflict(
    filled: LocalCasStore, peer: LocalCasStore
) -> None:
    filled.snapshot("second")
    mine = peer.snapshot("second")
    with pytest.raises(SnapshotExistsError) as raised:
        peer.pull_index(filled, snapshots=True)
    assert raised.value.actual == mine
    assert peer.list_snapshots() == [mine]
    assert peer.list_files() == []


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["small", "large"])
@pytest.mark.parametrize("is_here", [False, True])
@pytest.mark.parametrize(("wrong_bytes", "wrong_files"), [(1, 0), (0, 1)])
def test_a_snapshot_that_says_something_untrue_is_not_pulled_since_it_could_not_be_restored(
    filled: LocalCasStore, peer: LocalCasStore, data: bytes, is_here: bool, wrong_bytes: int, wrong_files: int
) -> None:
    entry = FileMetadata("a", filled.put_bytes(data), len(data) + wrong_bytes, 1)
    manifest = b"".join(encode_manifest([entry], 1))
    ref = FileIndexManifestRef(filled.put_bytes(manifest), len(manifest))

    def lie(tx: CatalogWriter) -> None:
        row = tx.find_brief(ref.content_hash)
        assert row is not None
        tx.add_snapshot(Snapshot("lie", ref, 1, 1 + wrong_files, ""), [row])

    filled._catalog.write(lie)
    if is_here:
        peer.put_bytes(data)
    with pytest.raises(ManifestError) as raised:
        peer.pull_snapshots(filled)
    assert raised.value.location == filled.location
    assert "lie" not in [snapshot.name for snapshot in peer.list_snapshots()]
    assert peer._catalog.read(lambda tx: tx.leases()) == frozenset()


# --- repairs ------------------------------------------------------------------------------------


def test_lost_bytes_of_a_snapshot_are_fetched_or_told(filled: LocalCasStore, tmp_path: Path) -> None:
    filled.backup(tmp_path / "backup")
    name = filled.hash_bytes(LARGE)
    blob_file(Path(filled.location), name).unlink()
    report = filled.repair()
    assert (report.lost_blob_hashes, report.lost_snapshots, report.lost_paths) == ((name,), ("kept",), ())
    assert not report.is_whole()
    planned = filled.repair([tmp_path / "backup"], dry_run=True)
    assert planned.repaired_blob_hashes == (name,)
    assert filled.repair([tmp_path / "backup"]).is_whole()
    require_kept(filled)


def test_a_lost_manifest_is_fetched_or_told_by_name(store: LocalCasStore, tmp_path: Path) -> None:
    store.write_files((f"many/{number}", b"%d" % number) for number in range(100))
    made = store.snapshot("kept")
    store.write_file("many/1", b"changed")
    store.backup(tmp_path / "backup")
    blob_file(Path(store.location), made.manifest.content_hash).write_bytes(b"rotten")
    assert store.repair().lost_snapshots == ("kept",)
    assert store.audit_file_index().damaged_snapshots == ("kept",)
    assert store.repair([tmp_path / "backup"]).is_whole()
    assert store.read_file_at("many/1", "kept") == b"1"
    assert store.audit_file_index(verify=True).is_clean()


def blank(location: Path, first: int, last: int) -> None:
    with (location / "catalog.db").open("r+b") as file:
        file.seek(first * PAGE)
        file.write(bytes((last - first) * PAGE))


def test_snapshots_come_through_a_catalog_that_is_built_anew(filled: LocalCasStore) -> None:
    filled.snapshot("dropped")
    filled.drop_snapshot("dropped")
    second = filled.snapshot("second", "why")
    snapshots, location = filled.list_snapshots(), Path(filled.location)
    filled.close()
    blank(location, 0, 1)
    report = repair_store(location)
    assert report.is_whole()
    assert report.is_proven
    with LocalCasStore(location) as store:
        assert store.list_snapshots() == snapshots
        orphans = store.audit_file_index().orphan_blob_hashes
        assert set(report.adopted_blob_hashes) <= set(orphans)
        assert store.snapshot("third").manifest == second.manifest
        require_kept(store)


def test_a_catalog_whose_snapshots_are_lost_is_not_proven(filled: LocalCasStore) -> None:
    location = Path(filled.location)
    filled.close()
    page = _page_of(location, "snapshots")
    blank(location, page - 1, page)
    report = repair_store(location)
    assert not report.is_proven
    with LocalCasStore(location) as store:
        assert store.list_snapshots() == []
        assert store.has(store.hash_bytes(LARGE))
        assert store.hash_bytes(LARGE) in report.adopted_blob_hashes
        assert store.audit_file_index(verify=True).is_sound()


def test_lost_snapshots_come_back_from_a_backup_if_they_are_proven(
    filled: LocalCasStore, tmp_path: Path
) -> None:
    filled.backup(tmp_path / "backup")
    snapshots, location = filled.list_snapshots(), Path(filled.location)
    filled.close()
    page = _page_of(location, "snapshots")
    blank(location, page - 1, page)
    assert repair_store(location, [tmp_path / "backup"]).is_whole()
    with LocalCasStore(location) as store:
        assert store.list_snapshots() == snapshots
        require_kept(store)


def test_small_contents_that_only_a_snapshot_names_come_back_with_a_new_catalog(
    filled: LocalCasStore, tmp_path: Path
) -> None:
    """Their bytes, and that they were there, stood in rows that are lost; the manifest is left to tell."""
    filled.backup(tmp_path / "backup")
    location = Path(filled.location)
    filled.close()
    manifest = _manifest_of(tmp_path / "backup")
    page = _page_of(location, "blobs")
    blank(location, page - 1, page)
    report = repair_store(location, [tmp_path / "backup"])
    assert report.is_whole(), report
    with LocalCasStore(location) as store:
        assert store.get(manifest[0]) == manifest[1]
        require_kept(store)


def _manifest_of(location: Path) -> tuple[str, bytes]:
    with LocalCasStore(location, read_only=True) as store:
        name = store.find_snapshot("kept").manifest.content_hash
        return name, store.get(name)


def _page_of(location: Path, table: str) -> int:
    """The root page of a table of a closed store, on which a small one stands as a whole."""
    copy = shutil.copyfile(location / "catalog.db", location.parent / "look.db")
    connection = apsw.Connection(str(copy))
    ((page,),) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,))
    connection.close()
    return int(page)
