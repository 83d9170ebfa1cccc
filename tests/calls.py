"""Every method of a store as a call, for promises that hold for all of them."""

from __future__ import annotations

import io
from collections.abc import Callable

from agent_world_distfs import FileIndexManifestRef, LocalCasStore, Retry

SMALL, LARGE = b"small", b"large" * 10_000
"""Bytes that live in the catalog, and bytes that live in a file."""

SHORTLY = Retry(deadline_s=5)
"""Where an outcome cannot be settled, it is asked for until then."""

Call = Callable[[LocalCasStore], object]


def fill(store: LocalCasStore) -> FileIndexManifestRef:
    """Files, pins, orphans, a manifest: something for each call to work on."""
    store.write_file("small", SMALL)
    store.write_file("large", LARGE)
    store.write_file("gone", b"overwritten")
    store.write_file("gone", LARGE + b"overwritten")
    store.delete_file("gone")
    store.pin(store.put_bytes(b"pinned"))
    return store.export_file_index_manifest(pin=True)


def manifest_of(store: LocalCasStore) -> FileIndexManifestRef:
    """The manifest that ``fill`` left."""
    for content_hash in store.list_pins():
        if (size := len(store.get(content_hash))) > 20:
            return FileIndexManifestRef(content_hash, size)
    raise AssertionError("there is no manifest")


def change_in_a_transaction(store: LocalCasStore) -> None:
    """Read one file, write another, large, and rename a third."""
    with store.transaction() as tx:
        tx.write_file("new", tx.read_file("small") + LARGE)
        tx.rename_file("large", "moved")


def write_in_a_session(store: LocalCasStore) -> None:
    """Read a file and write it back."""
    session = store.session()
    session.write_file("small", session.read_file("small") + b"!")


def put_under_a_lease(store: LocalCasStore) -> None:
    """Store bytes that nothing names."""
    with store.lease() as lease:
        lease.put_bytes(LARGE + b"leased")


WRITES: dict[str, Call] = {
    "put": lambda store: store.put(store.hash_bytes(b"new"), b"new"),
    "put, large": lambda store: store.put(store.hash_bytes(LARGE + b"new"), LARGE + b"new"),
    "put_bytes": lambda store: store.put_bytes(b"new"),
    "put_bytes, large": lambda store: store.put_bytes(LARGE + b"new"),
    "put_stream": lambda store: store.put_stream(io.BytesIO(b"new")),
    "put_stream, large": lambda store: store.put_stream(io.BytesIO(LARGE + b"new")),
    "put_stream, large, again": lambda store: store.put_stream(io.BytesIO(LARGE)),
    "write_file": lambda store: store.write_file("new", b"new"),
    "write_file, large": lambda store: store.write_file("new", LARGE + b"new"),
    "write_file, large, again": lambda store: store.write_file("new", LARGE),
    "write_file_if_match": lambda store: store.write_file_if_match("small", store.hash_bytes(SMALL), b"new"),
    "write_file_stream": lambda store: store.write_file_stream("new", io.BytesIO(LARGE + b"new")),
    "write_files": lambda store: store.write_files(
        [("new", b"new"), ("newer", LARGE), ("newest", LARGE + b"new")]
    ),
    "write_files, many large": lambda store: store.write_files(
        (str(n), io.BytesIO(LARGE + b"%d" % n)) for n in range(20)
    ),
    "link_file": lambda store: store.link_file("new", store.hash_bytes(SMALL)),
    "copy_file": lambda store: store.copy_file("small", "new"),
    "rename_file": lambda store: store.rename_file("small", "new"),
    "delete_file": lambda store: store.delete_file("small"),
    "delete_file_if_match": lambda store: store.delete_file_if_match("small", store.hash_bytes(SMALL)),
    "delete_files": lambda store: store.delete_files(["small", "large"]),
    "transaction": change_in_a_transaction,
    "run_transaction": lambda store: store.run_transaction(
        lambda tx: tx.write_file("new", b"new"), retry=SHORTLY
    ),
    "update_file": lambda store: store.update_file(
        "small", lambda content: (content or b"") + b"!", retry=SHORTLY
    ),
    "session": write_in_a_session,
    "lease": put_under_a_lease,
    "pin": lambda store: store.pin(store.hash_bytes(SMALL)),
    "unpin": lambda store: store.unpin(store.hash_bytes(b"pinned")),
    "prune_orphan_blobs": lambda store: store.prune_orphan_blobs(),
}
"""Calls that change something in a store that ``fill`` filled, and need nothing but the store."""

EXCHANGES: dict[str, Callable[[LocalCasStore, FileIndexManifestRef], object]] = {
    "export": lambda store, _: store.export_file_index_manifest(),
    "import": lambda store, ref: store.import_file_index_manifest(ref),
    "pull": lambda store, ref: store.pull_manifest(store, ref),
}
"""The same for calls that want the manifest."""

READS: dict[str, Call] = {
    "get": lambda store: store.get(store.hash_bytes(SMALL)),
    "get, large": lambda store: store.get(store.hash_bytes(LARGE)),
    "get_verified": lambda store: store.get_verified(store.hash_bytes(SMALL)),
    "has": lambda store: store.has(store.hash_bytes(LARGE)),
    "open_blob": lambda store: store.open_blob(store.hash_bytes(LARGE)).close(),
    "open_file": lambda store: store.open_file("large").close(),
    "read_file": lambda store: store.read_file("large"),
    "read_file_with_metadata": lambda store: store.read_file_with_metadata("small"),
    "stat_file": lambda store: store.stat_file("small"),
    "list_files": lambda store: store.list_files(),
    "iter_files": lambda store: list(store.iter_files()),
    "list_pins": lambda store: store.list_pins(),
    "is_pinned": lambda store: store.is_pinned(store.hash_bytes(SMALL)),
    "audit": lambda store: store.audit_file_index(verify=True),
    "prune, only planned": lambda store: store.prune_orphan_blobs(dry_run=True),
    "read manifest": lambda store: store.read_file_index_manifest(manifest_of(store)),
    "import, only tried": lambda store: store.import_file_index_manifest(manifest_of(store), dry_run=True),
}
"""Calls that change nothing."""
