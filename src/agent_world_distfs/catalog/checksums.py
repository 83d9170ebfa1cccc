"""Keyed checksums of rows, and the digest of the set of all entries.

A checksum is the first 16 bytes of BLAKE3 over what the row *means*, with a random key of the store, so that
a writer of paths cannot search for collisions. The digest of a set is the sum of its entries' checksums
modulo 2**128: it does not depend on order, and adding, changing or removing an entry costs one addition or
subtraction.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from blake3 import blake3

from agent_world_distfs.records import Snapshot

LENGTH = 16
_MODULUS = 1 << (8 * LENGTH)
_file_head = struct.Struct("<c32sqq").pack
_snapshot_head = struct.Struct("<c32sqqqq").pack
_setting_head = struct.Struct("<cq").pack
_blob_head = struct.Struct("<c32sq?").pack


class Checksums:
    """The checksums of one store."""

    def __init__(self, key: bytes) -> None:
        self.key = key

    def file(self, path: str, content_hash: bytes, size_bytes: int, updated_at_ms: int) -> bytes:
        """Of an entry of the index."""
        return self.encoded_file(path.encode(), content_hash, size_bytes, updated_at_ms)

    def encoded_file(
        self, raw_path: bytes, content_hash: bytes, size_bytes: int, updated_at_ms: int
    ) -> bytes:
        """The same by the path in UTF-8."""
        head = _file_head(b"f", content_hash, size_bytes, updated_at_ms)
        return blake3(head + raw_path, key=self.key).digest(LENGTH)

    def blob(self, content_hash: bytes, size_bytes: int, *, is_inline: bool) -> bytes:
        """Of a blob row; the bytes have their own hash."""
        return blake3(_blob_head(b"b", content_hash, size_bytes, is_inline), key=self.key).digest(LENGTH)

    def pin(self, content_hash: bytes) -> bytes:
        """Of a pin."""
        return blake3(b"p" + content_hash, key=self.key).digest(LENGTH)

    def snapshot(self, snapshot: Snapshot) -> bytes:
        """Of a snapshot."""
        name, raw = snapshot.name.encode(), bytes.fromhex(snapshot.manifest.content_hash)
        numbers = (snapshot.manifest.size_bytes, snapshot.created_at_ms, snapshot.total_files, len(name))
        head = _snapshot_head(b"s", raw, *numbers)
        return blake3(head + name + snapshot.message.encode(), key=self.key).digest(LENGTH)

    def setting(self, name: str, value: str) -> bytes:
        """Of a setting."""
        raw = name.encode()
        return blake3(_setting_head(b"t", len(raw)) + raw + value.encode(), key=self.key).digest(LENGTH)

    def commit(self, columns: bytes) -> bytes:
        """Of the state in a commit row."""
        return blake3(b"c" + columns, key=self.key).digest(LENGTH)

    def deed(self, columns: bytes) -> bytes:
        """Of what a commit did."""
        return blake3(b"d" + columns, key=self.key).digest(LENGTH)

    def part(self, sequence: int, part: int, changes: bytes) -> bytes:
        """Of a further part of the changes of a commit."""
        return blake3(struct.pack("<cqq", b"e", sequence, part) + changes, key=self.key).digest(LENGTH)


def sum_up(checksums: Iterable[bytes]) -> tuple[int, bytes]:
    """How many entries a set has, and its digest."""
    count = total = 0
    for checksum in checksums:
        count, total = count + 1, total + int.from_bytes(checksum, "little")
    return count, sum_as_digest(total)


def sum_as_digest(total: int) -> bytes:
    """The digest of a set whose checksums, as little-endian numbers, have this sum."""
    return (total % _MODULUS).to_bytes(LENGTH, "little")


def add_to_digest(digest: bytes, added: bytes) -> bytes:
    """The digest of a set with one more entry, or of the union of two disjoint sets."""
    return sum_as_digest(int.from_bytes(digest, "little") + int.from_bytes(added, "little"))


def take_from_digest(digest: bytes, removed: bytes) -> bytes:
    """The digest of a set without one of its entries."""
    return sum_as_digest(int.from_bytes(digest, "little") - int.from_bytes(removed, "little"))
