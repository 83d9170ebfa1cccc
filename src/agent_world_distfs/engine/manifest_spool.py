"""One snapshot of the index as a manifest on its way, not stored anywhere."""

from __future__ import annotations

from collections.abc import Iterable
from tempfile import SpooledTemporaryFile
from typing import IO, NamedTuple

from agent_world_distfs.manifest_format import encode_manifest
from agent_world_distfs.os_failures import temporary_place, translated
from agent_world_distfs.protocols import Catalog, CatalogReader, IndexState

SPOOL_BYTES = 1 << 20
"""Up to this size it is held in memory, else in a temporary file."""


class Look(NamedTuple):
    """One state of the index: its manifest, at its start; what tells it from others; its number."""

    manifest: IO[bytes]
    state: IndexState
    seq: int


def spool_manifest(catalog: Catalog) -> IO[bytes]:
    """The manifest, at its start; the caller closes it. The snapshot is not in use any more."""
    return look_at_index(catalog).manifest


def look_at_index(catalog: Catalog) -> Look:
    """The same, and which state it is of."""
    spool = _new_spool()

    def write(tx: CatalogReader) -> Look:
        for chunk in encode_manifest(tx.iter_files(), tx.count_files()):
            spool.write(chunk)
        return Look(spool, tx.index_state(), tx.log_state().last)

    try:
        with translated(temporary_place()):
            look = catalog.read(write)
            spool.seek(0)
    except BaseException:
        spool.close()
        raise
    return look


def spool_chunks(chunks: Iterable[bytes]) -> IO[bytes]:
    """Pieces as a file, at its start; the caller closes it."""
    spool = _new_spool()
    try:
        for chunk in chunks:
            with translated(temporary_place()):
                spool.write(chunk)
        spool.seek(0)
    except BaseException:
        spool.close()
        raise
    return spool


def _new_spool() -> IO[bytes]:
    spool: IO[bytes] = SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115  # the caller closes it
    return spool
