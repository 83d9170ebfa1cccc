"""Which rows are right: those that a checksum or, of inline blobs, the content proves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent_world_distfs.catalog.checksums import Checksums
from agent_world_distfs.catalog.commits import Commit, Deed
from agent_world_distfs.catalog.failures import MALFORMED
from agent_world_distfs.catalog.pages import Record
from agent_world_distfs.catalog.salvage.found import STATE, Found
from agent_world_distfs.catalog.salvage.results import Blob, Hints, Salvage
from agent_world_distfs.catalog.snapshots import snapshot_of
from agent_world_distfs.records import HashAlgorithm, Snapshot

_KEY_BYTES = 32


def prove_blob(record: Record, checksums: Checksums) -> Blob | None:
    """Hash and size that a row says, if its checksum is right; what is stored is another matter."""
    _, raw, size_bytes, checksum, payload = record.values
    try:
        right = checksums.blob(raw, size_bytes, is_inline=payload is not None)  # type: ignore[arg-type]
    except MALFORMED:
        return None
    return (raw, size_bytes) if right == checksum else None  # type: ignore[return-value]


def prove_commit(record: Record, checksums: Checksums) -> Commit | None:
    """The state that a row says, if its checksum is right."""
    values: tuple[Any, ...] = record.values
    try:
        commit = Commit(record.rowid or 0, *values[1:STATE])
        return commit if commit.checksum(checksums) == values[STATE] else None
    except MALFORMED:
        return None


def prove_snapshot(record: Record, checksums: Checksums) -> Snapshot | None:
    """The snapshot that a row says, if its checksum is right."""
    try:
        snapshot = snapshot_of(record.values)
        return snapshot if checksums.snapshot(snapshot) == record.values[-1] else None
    except MALFORMED:
        return None


def prove_deed(record: Record, checksums: Checksums) -> Deed | None:
    """What a commit did, if the checksum is right and all of it is in this one row."""
    values: tuple[Any, ...] = record.values
    try:
        deed = Deed(*values[STATE + 1 : -1])
        is_right = deed.checksum(checksums, record.rowid or 0, further_parts=0) == values[-1]
        return deed if is_right else None
    except MALFORMED:
        return None


def take_blobs(result: Salvage, found: Found, hash_of: Callable[[HashAlgorithm, bytes], bytes]) -> None:
    """Rows that their checksum or, of inline ones, their content proves."""
    checksums = None if result.key is None else Checksums(result.key)
    for record in sorted(found.blobs, key=lambda record: record.is_free):  # those in use first
        raw, payload = record.values[1], record.values[4]
        assert isinstance(raw, bytes)
        blob = None if checksums is None else prove_blob(record, checksums)
        if isinstance(payload, bytes):
            algorithm = _algorithm_of(raw, payload, hash_of)
            if algorithm is not None:
                result.algorithm = result.algorithm or algorithm
                result.payloads.setdefault(raw, record.place)
                blob = raw, len(payload)
        if blob is not None:
            (result.former_blobs if record.is_free else result.blobs).setdefault(raw, blob[1])


def _algorithm_of(
    raw: bytes, payload: bytes, hash_of: Callable[[HashAlgorithm, bytes], bytes]
) -> HashAlgorithm | None:
    return next((each for each in HashAlgorithm if hash_of(each, payload) == raw), None)


# --- the key ------------------------------------------------------------------------------------


def find_key(found: Found, hints: Hints) -> bytes | None:
    """The key under which rows are right; one that a bit has flipped in is tried bit by bit."""
    whole = [key for key in [*found.keys, *hints.keys] if len(key) == _KEY_BYTES]
    for key in whole:
        if _fits(key, found):
            return key
    flipped = (_flip(key, bit) for key in found.keys if len(key) == _KEY_BYTES for bit in range(256))
    return next((key for key in flipped if _fits(key, found)), None)


def _flip(key: bytes, bit: int) -> bytes:
    return (int.from_bytes(key, "big") ^ 1 << bit).to_bytes(_KEY_BYTES, "big")


def _fits(key: bytes, found: Found) -> bool:
    checksums = Checksums(key)
    return any(prove_blob(record, checksums) is not None for record in found.blobs[:20]) or any(
        prove_commit(record, checksums) is not None for record in found.commits[:20]
    )
