"""A store with a snapshot, and changes of each kind since."""

from __future__ import annotations

from agent_world_distfs import LocalCasStore, Snapshot
from calls import LARGE

FILES = {"docs/a": b"a", "docs/large": LARGE, "docs2/b": b"b", "docs": b"no directory", "top": b"t" * 9_000}


def contents(store: LocalCasStore) -> dict[str, bytes]:
    return {file.path: store.read_file(file.path) for file in store.list_files()}


def fill(store: LocalCasStore) -> Snapshot:
    """Files, a snapshot of them, and changes of each kind since; what has become an orphan is pruned."""
    for path, data in FILES.items():
        store.write_file(path, data)
    kept = store.snapshot("kept", "before the changes")
    store.write_file("docs/a", b"changed")
    store.write_file("docs/new", b"new")
    store.delete_files(["docs/large", "top"])
    store.write_file("docs2/b", b"changed, too")
    store.prune_orphan_blobs()
    return kept
