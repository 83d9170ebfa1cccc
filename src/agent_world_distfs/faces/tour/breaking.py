"""Breaking a copy on purpose, to see it refused, named, and healed."""

from __future__ import annotations

import os

from agent_world_distfs import BlobHashMismatchError, FileMetadata, LocalCasStore
from agent_world_distfs.faces.tour.facts import Broken

LARGEST_COPY_BYTES = 16 << 20
OWN_BYTES = b"The tour found no file of a middle size here, so it breaks this text. " * 1_000


def break_copy(source: LocalCasStore, prefix: str, location: str) -> Broken:
    """Break a copy of a file of ``source`` in a store of its own at ``location``, and heal it."""
    chosen = choose_file(source, prefix)
    path = chosen.path if chosen else "text"
    data = source.read_file(path) if chosen else OWN_BYTES
    with LocalCasStore(location) as store:
        stored = store.write_file(path, data)
        flipped_at = flip_bit(blob_path(location, stored.content_hash))
        bytes_hash_to = _refused_as(store, path)
        corrupt = store.audit_file_index(verify=True).corrupt_blob_hashes
        store.write_file(path, data)
        return Broken(
            chosen.path if chosen else None,
            stored.content_hash,
            stored.size_bytes,
            flipped_at,
            bytes_hash_to,
            corrupt,
            is_healed=_refused_as(store, path) is None and store.read_file(path) == data,
            is_sound_again=store.audit_file_index(verify=True).is_sound(),
        )


def choose_file(store: LocalCasStore, prefix: str) -> FileMetadata | None:
    """The largest file that is stored as a file of its own and is no burden to copy; None if none is."""
    fitting = (file for file in store.iter_files(prefix=prefix) if file.size_bytes <= LARGEST_COPY_BYTES)
    largest = max(fitting, key=lambda file: file.size_bytes, default=None)
    if largest is None or not os.path.isfile(blob_path(store.location, largest.content_hash)):
        return None  # small content has no file
    return largest


def blob_path(location: str, content_hash: str) -> str:
    """Where a large blob's file is: it holds exactly the blob's bytes."""
    return os.path.join(location, "blobs", content_hash[:2], content_hash)


def flip_bit(path: str) -> int:
    """Turn round one bit in the middle of a file; returns at which byte."""
    with open(path, "r+b") as file:
        middle = os.fstat(file.fileno()).st_size // 2
        file.seek(middle)
        byte = file.read(1)[0]
        file.seek(middle)
        file.write(bytes([byte ^ 1]))
    return middle


def _refused_as(store: LocalCasStore, path: str) -> str | None:
    try:
        store.read_file(path)
    except BlobHashMismatchError as refusal:
        return refusal.actual
    return None
