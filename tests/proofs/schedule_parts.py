"""What a process does under a forced schedule, and what must hold for what it said afterwards."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import NamedTuple

from schedule_runs import Act

from agent_world_distfs import ABSENT, FileIndexManifestRef, LocalCasStore

KEPT, OLD, NEW, OTHER = (name * 3_000 for name in (b"kept", b"old.", b"new.", b"other"))
ORPHAN, LISTED, STRAY = (name * 3_000 for name in (b"orphan", b"listed", b"stray"))
SMALL_ORPHAN, SMALL_NEW = b"small orphan", b"small new"
LARGE = (KEPT, OLD, NEW, OTHER, ORPHAN, LISTED, STRAY)

Check = Callable[[LocalCasStore, str, Sequence[str]], None]
"""Given the store afterwards, what this one said, and what all said."""


class Part(NamedTuple):
    """What one process does, and what must hold for what it said."""

    act: Act
    check: Check


def expect(store: LocalCasStore, path: str, *wanted: bytes | None) -> None:
    """The path must hold one of these; None: nothing."""
    found = held(store, path)
    assert found in wanted, (
        f"{path} holds {found and found[:12]!r}, not {[data and data[:12] for data in wanted]}"
    )


def held(store: LocalCasStore, path: str) -> bytes | None:
    return None if store.stat_file(path) is None else store.read_file(path)


def puts(path: str, data: bytes, *, stream: bool = False) -> Part:
    def act(store: LocalCasStore) -> None:
        if stream:
            store.write_file_stream(path, io.BytesIO(data))
        else:
            store.write_file(path, data)

    def check(store: LocalCasStore, said: str, _: Sequence[str]) -> None:
        assert said == "ok", said
        expect(store, path, data)

    return Part(act, check)


def _names(act: Act, path: str, data: bytes, refusal: str = "") -> Part:
    """Something that makes ``path`` hold bytes that are stored, or is refused because they are not."""

    def check(store: LocalCasStore, said: str, _: Sequence[str]) -> None:
        assert said in ("ok", refusal), said
        expect(store, path, None if said == refusal else data)

    return Part(act, check)


def nothing(_: LocalCasStore, said: str, __: Sequence[str]) -> None:
    assert said == "ok", said


def swaps(data: bytes | None, expected: bytes | None = OLD, path: str = "old/large") -> Part:
    """A conditional write, or deletion, of which exactly one of all in the scenario succeeds."""

    def act(store: LocalCasStore) -> str:
        condition = ABSENT if expected is None else store.hash_bytes(expected)
        if data is None:
            store.delete_file_if_match(path, condition)
        else:
            store.write_file_if_match(path, condition, data)
        return "won"

    def check(store: LocalCasStore, said: str, everybody: Sequence[str]) -> None:
        assert everybody.count("won") == 1, everybody
        assert said in ("won", "FileConflictError"), said
        if said == "won":
            expect(store, path, data)

    return Part(act, check)


def _prune(store: LocalCasStore) -> None:
    store.prune_orphan_blobs()


def _pin(store: LocalCasStore) -> None:
    store.pin(store.hash_bytes(ORPHAN))


def _check_pin(store: LocalCasStore, said: str, _: Sequence[str]) -> None:
    pinned = store.is_pinned(store.hash_bytes(ORPHAN))
    assert (said, pinned) in (("ok", True), ("BlobNotFoundError", False)), said
    if pinned:
        assert store.get(store.hash_bytes(ORPHAN)) == ORPHAN


def _link(store: LocalCasStore) -> None:
    store.link_file("new", store.hash_bytes(ORPHAN))


def _copy(store: LocalCasStore) -> None:
    store.copy_file("old/large", "new")


def _rename(store: LocalCasStore) -> None:
    store.rename_file("old/large", "new")


def _delete(store: LocalCasStore) -> None:
    store.delete_file("old/large")


def _check_delete(store: LocalCasStore, said: str, _: Sequence[str]) -> None:
    assert said == "ok", said
    expect(store, "old/large", None)


def _export(store: LocalCasStore) -> str:
    ref = store.export_file_index_manifest(pin=True)
    return f"{ref.content_hash}:{ref.size_bytes}"


def _check_export(store: LocalCasStore, said: str, _: Sequence[str]) -> None:
    manifest = store.read_file_index_manifest(FileIndexManifestRef.parse(said))
    assert any(file.path == "kept/large" for file in manifest.files)


def _import(store: LocalCasStore) -> None:
    pinned = [FileIndexManifestRef(pin, len(store.get(pin))) for pin in store.list_pins()]
    store.import_file_index_manifest(pinned[0])


def _overwrite_and_prune(store: LocalCasStore) -> None:
    store.write_file("old/large", NEW)
    store.prune_orphan_blobs()


def _read(store: LocalCasStore) -> str:
    return "old" if store.read_file("old/large") == OLD else "new"


def _open_and_read(store: LocalCasStore) -> str:
    with store.open_file("old/large") as reader:
        head = reader.read(5)
        return "old" if head + reader.read() == OLD else "new"


def _check_read(_: LocalCasStore, said: str, __: Sequence[str]) -> None:
    assert said in ("old", "new"), said


def _link_old(store: LocalCasStore) -> None:
    store.link_file("new", store.hash_bytes(OLD))


def _delete_and_prune(store: LocalCasStore) -> None:
    store.delete_file("old/large")
    store.prune_orphan_blobs()


def _check_copy_of_either(store: LocalCasStore, said: str, _: Sequence[str]) -> None:
    assert said == "ok", said
    expect(store, "new", OLD, NEW)


def _open(store: LocalCasStore) -> None:
    LocalCasStore(store.location, create=False)


PRUNE = Part(_prune, nothing)
OPEN = Part(_open, nothing)
DELETE_AND_PRUNE = Part(_delete_and_prune, _check_delete)
LINK_OLD = _names(_link_old, "new", OLD, "BlobNotFoundError")
COPY_OLD = _names(_copy, "new", OLD, "PathNotFoundError")
COPY_EITHER = Part(_copy, _check_copy_of_either)
OVERWRITE_AND_PRUNE = Part(_overwrite_and_prune, nothing)
PIN, LINK = Part(_pin, _check_pin), _names(_link, "new", ORPHAN, "BlobNotFoundError")
COPY, RENAME = _names(_copy, "new", OLD), _names(_rename, "new", OLD)
DELETE, EXPORT = Part(_delete, _check_delete), Part(_export, _check_export)
IMPORT = _names(_import, "listed", LISTED, "BlobNotFoundError")
READ, OPEN_AND_READ = Part(_read, _check_read), Part(_open_and_read, _check_read)
SWAP_TO_ORPHAN = swaps(ORPHAN)
