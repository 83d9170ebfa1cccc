"""Stores with a past."""

from __future__ import annotations

from agent_world_distfs import FileMetadata, LocalCasStore
from calls import LARGE


def states_of(store: LocalCasStore) -> list[tuple[int, list[FileMetadata]]]:
    """Makes changes of each kind; returns what the index was after each, by its seq."""
    states = []

    def note() -> None:
        states.append((store.last_seq(), store.list_files()))

    note()
    for number in range(3):
        store.write_file(f"small/{number}", b"%d" % number)
        note()
    store.write_file("large", LARGE)
    note()
    store.write_file("small/0", b"again")
    note()
    store.rename_file("large", "moved")
    note()
    store.delete_files(["small/1", "moved"])
    note()
    store.pin(store.put_bytes(b"pinned"))
    note()
    return states
