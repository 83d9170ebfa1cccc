"""Listings of the index, each of one snapshot."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from itertools import islice
from tempfile import SpooledTemporaryFile, gettempdir
from typing import IO

from agent_world_distfs.os_failures import translated
from agent_world_distfs.protocols import Catalog, CatalogReader
from agent_world_distfs.records import FileMetadata

PAGE = 1_000
SPOOL_BYTES = 1 << 20


def iter_index(catalog: Catalog, prefix: str) -> Iterator[FileMetadata]:
    """The entries with a prefix, in bounded memory.

    They are copied to a temporary file at once, so that a slow consumer does not keep the snapshot,
    and with it the whole log, in use.
    """
    with SpooledTemporaryFile(SPOOL_BYTES) as spool:
        with translated(gettempdir()):
            pages = catalog.read(lambda tx: _spool(tx, prefix, spool))
        spool.seek(0)
        for _ in range(pages):
            yield from pickle.load(spool)  # noqa: S301  # written above, to a file without a name


def _spool(tx: CatalogReader, prefix: str, spool: IO[bytes]) -> int:
    entries, pages = tx.iter_files(prefix), 0
    while page := list(islice(entries, PAGE)):
        pickle.dump(page, spool, protocol=pickle.HIGHEST_PROTOCOL)
        pages += 1
    return pages
