"""A backup beside writers and collections: what they take away is no loss, and never a hole in the copy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agent_world_distfs import LocalCasStore, UnavailableError
from agent_world_distfs.copying import catalogs
from behind import blob_file
from trees import LARGE, held, write_all

FILES = {f"{number}": LARGE + bytes([number]) for number in range(6)}
OTHERS = {path: data + b"overwritten" for path, data in FILES.items()}


def once(work: Callable[[], object]) -> Callable[[int, int | None], None]:
    """Progress that does something after the first blob."""
    left = [work]

    def progress(_: int, __: int | None) -> None:
        while left:
            left.pop()()

    return progress


@pytest.fixture
def reader(store: LocalCasStore) -> LocalCasStore:
    write_all(store, FILES)
    return LocalCasStore(store.location, read_only=True)


def test_what_is_collected_while_nothing_can_be_kept_makes_no_backup_with_holes(
    store: LocalCasStore, reader: LocalCasStore, tmp_path: Path
) -> None:
    def overwrite() -> None:
        write_all(store, OTHERS)
        assert store.prune_orphan_blobs().pruned_blobs == len(FILES)

    with reader, pytest.raises(UnavailableError, match="collected"):
        reader.backup(tmp_path / "backup", progress=once(overwrite))
    assert not (tmp_path / "backup" / "catalog.db").exists()
    with LocalCasStore(store.location, read_only=True) as again:
        assert again.backup(tmp_path / "backup").is_whole()
    with LocalCasStore(tmp_path / "backup", create=False) as copy:
        assert held(copy) == OTHERS
        assert copy.audit_file_index(verify=True).is_clean()


def test_a_snapshot_that_is_dropped_while_nothing_can_be_kept_is_not_copied_in_part(
    store: LocalCasStore, tmp_path: Path
) -> None:
    write_all(store, FILES)
    store.write_files((f"many/{number}", b"x") for number in range(200))  # or the manifest would be inline
    last = max(map(store.hash_bytes, FILES.values()))
    while (manifest := store.snapshot("kept").manifest.content_hash) > last:  # it is to be copied first
        store.drop_snapshot("kept")
        store.write_file("small", b"")
    write_all(store, OTHERS)

    def drop(_: int, __: int | None) -> None:
        if blob_file(tmp_path / "backup", manifest).exists() and store.list_snapshots():
            store.drop_snapshot("kept")
            store.prune_orphan_blobs()

    with LocalCasStore(store.location, read_only=True) as reader, pytest.raises(UnavailableError):
        reader.backup(tmp_path / "backup", progress=drop)
    assert blob_file(tmp_path / "backup", manifest).exists()
    assert not (tmp_path / "backup" / "catalog.db").exists()


def test_orphans_that_are_collected_meanwhile_are_not_needed(store: LocalCasStore, tmp_path: Path) -> None:
    write_all(store, FILES)
    write_all(store, OTHERS)
    with LocalCasStore(store.location, read_only=True) as reader:
        assert reader.backup(tmp_path / "backup", progress=once(store.prune_orphan_blobs)).is_whole()
    with LocalCasStore(tmp_path / "backup", create=False) as copy:
        assert held(copy) == OTHERS


def test_what_is_lost_where_nothing_can_be_kept_is_named(
    store: LocalCasStore, reader: LocalCasStore, tmp_path: Path
) -> None:
    lost = store.hash_bytes(FILES["3"])
    blob_file(store.location, lost).unlink()
    with reader:
        assert reader.backup(tmp_path / "backup").missing_blob_hashes == (lost,)
    with LocalCasStore(tmp_path / "backup", create=False) as copy:
        assert copy.audit_file_index().missing_file_blob_hashes == (lost,)


def test_what_is_collected_again_and_again_before_it_can_be_kept_makes_no_backup_with_holes(
    store: LocalCasStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_all(store, FILES)
    copy_one, times = catalogs._write_copy, [0]

    def copy_and_overwrite(*arguments: object) -> None:
        copy_one(*arguments)  # type: ignore[arg-type]
        times[0] += 1
        store.write_file("0", LARGE + b"again" * times[0])
        store.prune_orphan_blobs()

    monkeypatch.setattr(catalogs, "_write_copy", copy_and_overwrite)
    with pytest.raises(UnavailableError, match="collected"):
        store.backup(tmp_path / "backup")
    assert times[0] > 1
    assert not (tmp_path / "backup" / "catalog.db").exists()


def test_what_is_stored_again_while_a_backup_runs_is_not_told_to_be_missing(
    store: LocalCasStore, tmp_path: Path
) -> None:
    contents = {store.hash_bytes(data): data for data in (bytes([number]) * 20_000 for number in range(4))}
    for data in contents.values():
        store.write_file(store.hash_bytes(data), data)
    last = max(contents)
    blob_file(store.location, last).unlink()
    report = store.backup(tmp_path / "backup", progress=once(lambda: store.put_bytes(contents[last])))
    assert report.is_whole()
    with LocalCasStore(tmp_path / "backup") as copy:
        assert copy.audit_file_index(verify=True).is_sound()
