"""Where the damaged catalog is, and what is left of it.

What stands under its name is read first, however damaged: a head that is wrong makes it no other file. Only
if that yields nothing may it have been exchanged with the file of a large blob, which then has the catalog
under its name. What users store may be a database, too, or the catalog of another store; neither is ever
taken for this one: a catalog that stands in the place of a blob has a row for that very blob, and no bytes
that somebody stored can name their own hash.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import apsw

from agent_world_distfs.blobs.directory import DirectoryBlobs
from agent_world_distfs.catalog.connections import as_uri, connect
from agent_world_distfs.catalog.failures import translate
from agent_world_distfs.catalog.pages import PageFile
from agent_world_distfs.catalog.salvage import Hints, Salvage, salvage
from agent_world_distfs.catalog.schema import empty_wal
from agent_world_distfs.errors import CatalogError, StorageFullError, StorageIOError
from agent_world_distfs.hashing import CHUNK_BYTES, hash_function
from agent_world_distfs.os_failures import translate_reading, translated
from agent_world_distfs.records import HashAlgorithm
from agent_world_distfs.recovering.exchanging import Remains, has_bytes

_MAGIC = b"SQLite format 3\0"


@contextmanager
def opened_remains(
    remains: Remains, blobs: DirectoryBlobs, present: dict[str, int], hints: Hints, own: str
) -> Iterator[tuple[PageFile, Salvage]]:
    """The pages of the damaged catalog and what they hold; ``own`` is a directory for a copy of it."""
    with ExitStack() as stack:

        def read(path: str) -> tuple[PageFile, Salvage]:
            pages = PageFile(path)
            stack.callback(pages.close)
            return pages, salvage(pages, hints, hash_raw)

        under_its_name = read(_with_wal(remains, own))
        if not _yields_something(under_its_name[1]):
            for name in present:
                path = blobs.path_of(name)
                if _is_database(blobs, name) and _belongs_there(name, (misplaced := read(path))[1]):
                    yield misplaced
                    return
        yield under_its_name


def _yields_something(found: Salvage) -> bool:
    """Whether anything in it is proven: a row by the key that fits it, or a blob by its content."""
    return found.key is not None or bool(found.blobs) or bool(found.former_blobs)


def _belongs_there(name: str, found: Salvage) -> bool:
    """Whether it is the catalog that has a row for the blob ``name``, in whose place it is."""
    return bytes.fromhex(name) in found.blobs


def _is_database(blobs: DirectoryBlobs, name: str) -> bool:
    """Whether the file of a blob begins like one; what the disk does not give back does not."""
    try:
        with blobs.open(name) as file, translated(blobs.path_of(name)):
            return file.read(len(_MAGIC)) == _MAGIC
    except StorageIOError:
        return False


def _with_wal(remains: Remains, own: str) -> str:
    """The catalog with what its WAL adds, as a copy in ``own``, so that the original stays as it is."""
    copy = os.path.join(own, "catalog.db")
    if not os.path.isfile(remains.catalog):
        open(copy, "wb").close()
        return copy
    if not has_bytes(remains.wal):
        return remains.catalog  # nobody has it open, so it may be read without SQLite
    _copy(remains.catalog, copy)
    _copy(remains.wal, copy + "-wal")
    try:
        with contextlib.closing(connect(as_uri(copy), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
            empty_wal(connection)
    except apsw.Error as error:
        failure = translate(error, copy, 0)
        if not isinstance(failure, CatalogError):  # of the place of the copy: the WAL must not count as empty
            raise failure from error
    return copy


def _copy(source: str, target: str) -> None:
    """Copy a file; what is full is the disk of the copy, though the system's error may name the source."""
    try:
        with open(source, "rb") as original, open(target, "xb") as copy:
            shutil.copyfileobj(original, copy, CHUNK_BYTES)
    except OSError as error:
        failure = translate_reading(error, source)
        if isinstance(failure, StorageFullError):
            raise StorageFullError(os.path.dirname(target), failure.reason) from error
        raise


def hash_raw(algorithm: HashAlgorithm, data: bytes) -> bytes:
    """The hash as catalogs have it."""
    return bytes.fromhex(hash_function(algorithm)(data))
