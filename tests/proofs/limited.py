"""What both proofs of limits need: a store with something for each call, and how a call ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from agent_world_distfs import LocalCasStore, WorldError
from calls import EXCHANGES, READS, WRITES, Call, fill, manifest_of

CALLS: dict[str, Call] = WRITES | READS
CALLS |= {
    name: lambda store, call=call: call(store, manifest_of(store))  # type: ignore[misc]
    for name, call in EXCHANGES.items()
}


def make_filled(location: Path) -> Path:
    """Make a store with something for each call to work on."""
    with LocalCasStore(location) as store:
        store.write_file("kept/small", b"kept")
        store.write_file("kept/large", b"kept" * 5_000)
        fill(store)  # with a manifest that has those, too
    return location


def expect_usable(store: LocalCasStore) -> None:
    """The limit is gone: everything works, and nothing was lost."""
    store.write_file("next/small", b"next")
    store.write_file("next/large", b"next" * 5_000)
    assert store.read_file("next/large") == b"next" * 5_000
    assert store.read_file("kept/small") == b"kept"
    assert store.read_file("kept/large") == b"kept" * 5_000
    store.prune_orphan_blobs()
    assert store.audit_file_index(verify=True).is_clean()


def outcome(call: Callable[[], object]) -> str:
    """How a call ended: well, or by one of our errors. Anything else comes through."""
    try:
        call()
    except WorldError as error:
        return type(error).__name__
    return "ok"
