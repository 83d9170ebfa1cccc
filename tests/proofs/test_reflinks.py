"""Clones, on a file system that can make them (root only)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from power import loop_disk

from agent_world_distfs import BlobHashMismatchError, LocalCasStore

LARGE = bytes(range(256)) * 4_000


def _extents(path: Path) -> str:
    """Where the blocks of a file are on the device; empty where there is no tool to ask."""
    try:
        done = subprocess.run(["filefrag", "-v", path], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        return ""
    return done.stdout


def test_on_xfs_large_files_are_clones_of_their_blobs(tmp_path: Path) -> None:
    with loop_disk("xfs", tmp_path) as disk, LocalCasStore(disk.place / "store") as store:
        store.write_files([("a", LARGE), ("b/a", LARGE), ("small", b"small")])
        report = store.checkout(disk.place / "out", link="reflink")
        assert (report.total_files, report.linked_files) == (3, 2)
        out, blob = disk.place / "out" / "a", next((disk.place / "store").glob("blobs/*/*"))
        assert not out.samefile(blob)
        assert "shared" in (_extents(out) or "shared")
        assert out.stat().st_mtime_ns == store.list_files()[0].updated_at_ms * 1_000_000
        out.write_bytes(b"changed")
        assert (disk.place / "out" / "b" / "a").read_bytes() == LARGE
        assert store.audit_file_index(verify=True).is_clean()
        blob.write_bytes(LARGE[::-1])
        with pytest.raises(BlobHashMismatchError):
            store.checkout(disk.place / "second", link="reflink")
        assert sorted(path.name for path in disk.place.iterdir()) == ["out", "store"]
