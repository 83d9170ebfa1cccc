"""What a store of the original says at one moment."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from agent_world_distfs.engine.other_stores import damage_at
from agent_world_distfs.errors import CatalogError, CorruptError, IncompatibleStoreError, NotFoundError
from agent_world_distfs.hashing import is_content_hash
from agent_world_distfs.operations.original.directory import open_regular, opened_blobs
from agent_world_distfs.os_failures import translate_reading, translated
from agent_world_distfs.paths import is_path
from agent_world_distfs.records import FileMetadata

INDEX_NAME = "files_index.json"
PINS_NAME = "pins.json"
INDEX_VERSION = 1

_match_blob_name = re.compile(r"([0-9a-f]{64})\.blob", re.ASCII).fullmatch


@dataclass(frozen=True, slots=True)
class BlobFingerprint:
    """A blob as its directory shows it; written again, it shows another."""

    size_bytes: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class OriginalSnapshot:
    """Two that are equal show that the store held still.

    ``files``: ascending by the UTF-8 bytes of the path. ``pins``: ascending, unique. ``blobs``: what
    goes by the name of a blob, by its hash, whether or not it can be read.
    """

    files: tuple[FileMetadata, ...]
    pins: tuple[str, ...]
    blobs: Mapping[str, BlobFingerprint]


def read_snapshot(directory: str | os.PathLike[str]) -> OriginalSnapshot:
    """What the store in ``directory`` says now. Index and pins are read before the blobs are listed.

    Raises:
        NotFoundError: there is no such directory.
        IncompatibleStoreError: no store of the original, or one of a version that is not known.
        CatalogError: its index or its pins are not what they should be.
    """
    location = os.fspath(directory)
    with damage_at(os.fsdecode(location)), translated(location, translate_reading):
        try:
            index = _read_object(location, INDEX_NAME)
            pins = _read_object(location, PINS_NAME)
        except NotADirectoryError as error:
            raise IncompatibleStoreError(location, "not a directory") from error
        blobs = _list_blobs(location)
        if index is None and pins is None and not blobs:
            if not os.path.exists(location):
                raise NotFoundError(location, "no such directory")
            raise IncompatibleStoreError(location, "no store of the original: no index, no pins and no blobs")
        return OriginalSnapshot(_parse_files(index, location), _parse_pins(pins), blobs)


def _list_blobs(location: str) -> dict[str, BlobFingerprint]:
    found: dict[str, BlobFingerprint] = {}
    try:
        with opened_blobs(location) as blobs, os.scandir(blobs) as entries:
            for entry in entries:
                name = _match_blob_name(entry.name)
                if name is not None:
                    with suppress(FileNotFoundError):  # pruned beside us: not there is what it is
                        found[name[1]] = _fingerprint(entry.stat(follow_symlinks=False))
    except FileNotFoundError:
        return {}
    except CorruptError as error:
        raise IncompatibleStoreError(location, str(error)) from error
    return found


def _fingerprint(status: os.stat_result) -> BlobFingerprint:
    return BlobFingerprint(status.st_size, status.st_mtime_ns, status.st_ino)


def _read_object(location: str, name: str) -> dict[str, object] | None:
    """The JSON object in a file; None if there is no such file."""
    try:
        with os.fdopen(open_regular(os.path.join(location, name)), "rb") as file:
            raw = file.read()
    except FileNotFoundError:
        return None
    except CorruptError as error:
        raise CatalogError(str(error)) from error
    value = _parse_object(raw)
    if value is None:
        raise CatalogError(f"{name} is not one JSON object with each key once")
    return value


def _parse_object(raw: bytes) -> dict[str, object] | None:
    """The value; None if it is not an object: an error made here would carry the whole text."""
    try:
        value = json.loads(raw.decode(), object_pairs_hook=_as_unique)
    except (ValueError, RecursionError):
        return None
    return value if type(value) is dict else None


def _as_unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice")
    return found


def _parse_files(index: dict[str, object] | None, location: str) -> tuple[FileMetadata, ...]:
    if index is None:
        return ()
    files, version = index.get("files"), index.get("version")
    if index.keys() != {"files", "version"} or type(files) is not dict or type(version) is not int:
        raise CatalogError(f"{INDEX_NAME} is not an object of a version and files")
    if version != INDEX_VERSION:
        reason = f"{INDEX_NAME} has an unknown version, this reads version {INDEX_VERSION}"
        raise IncompatibleStoreError(location, reason)
    entries = []
    for number, (path, value) in enumerate(files.items(), 1):
        entry = _parse_entry(value)
        if entry is None or entry.path != path:
            raise CatalogError(f"entry {number} of {INDEX_NAME} is not a valid file under its own path")
        entries.append(entry)
    return tuple(sorted(entries, key=lambda entry: entry.path.encode()))


def _parse_entry(value: object) -> FileMetadata | None:
    """The file that a value of the index stands for; None unless it is exactly one."""
    if type(value) is not dict or value.keys() != {"path", "content_hash", "size_bytes", "updated_at_ms"}:
        return None
    path, content_hash = value["path"], value["content_hash"]
    size_bytes, updated_at_ms = value["size_bytes"], value["updated_at_ms"]
    is_valid = (
        type(path) is str
        and is_path(path)
        and type(content_hash) is str
        and is_content_hash(content_hash)
        and type(size_bytes) is int
        and 0 <= size_bytes < 1 << 63
        and type(updated_at_ms) is int
        and -(1 << 63) <= updated_at_ms < 1 << 63
    )
    return FileMetadata(path, content_hash, size_bytes, updated_at_ms) if is_valid else None


def _parse_pins(value: dict[str, object] | None) -> tuple[str, ...]:
    if value is None:
        return ()
    pins = value.get("pins")
    if value.keys() != {"pins"} or type(pins) is not list:
        raise CatalogError(f"{PINS_NAME} is not an object of pins")
    if not all(type(pin) is str and is_content_hash(pin) for pin in pins):
        raise CatalogError(f"{PINS_NAME} holds something that is no content hash")
    return tuple(sorted(set(pins)))
