"""Stores whose catalog is lost in part, and what a repair has to bring back of them."""

from __future__ import annotations

from pathlib import Path

from agent_world_distfs import LocalCasStore, RepairReport

PAGE = 4096
FILES = {f"dir/{number:03}": b"%d" % number * (number + 1) for number in range(200)}
FILES |= {f"large/{number}": bytes([number]) * (9_000 + number) for number in range(5)}


def fill(location: Path) -> None:
    """A store that a catalog can be lost of: entries that were others before, one deleted, one pin."""
    with LocalCasStore(location) as store:
        for path, data in FILES.items():
            store.write_file(path, b"before " + data)
            store.write_file(path, data)
        store.delete_file("dir/007")
        store.pin(store.put_bytes(b"pinned"))
        store.prune_orphan_blobs()


def expected() -> dict[str, bytes]:
    return {path: data for path, data in FILES.items() if path != "dir/007"}


def contents(location: Path) -> dict[str, bytes]:
    with LocalCasStore(location) as store:
        assert store.audit_file_index(verify=True).is_sound()
        return {file.path: store.read_file(file.path) for file in store.iter_files()}


def assert_restored(location: Path, report: RepairReport) -> None:
    assert report.is_whole()
    assert contents(location) == expected()
    with LocalCasStore(location) as store:
        assert store.list_pins() == [store.hash_bytes(b"pinned")]
        store.write_file("next", b"next")
        assert report.salvaged_from is not None
        assert (location / report.salvaged_from).exists()


def blank(location: Path, first: int, last: int) -> None:
    with (location / "catalog.db").open("r+b") as file:
        file.seek(first * PAGE)
        file.write(bytes((last - first) * PAGE))
