"""Entries of the index, of one snapshot, in a temporary file without a name."""

from __future__ import annotations

from typing import Any

from agent_world_distfs.engine.page_spool import PageSpool
from agent_world_distfs.os_failures import temporary_place, translated
from agent_world_distfs.protocols import Catalog
from agent_world_distfs.records import FileMetadata


class FileSpool(PageSpool[FileMetadata]):
    """The entries with a prefix, ascending by path."""

    def __init__(self, catalog: Catalog, prefix: str) -> None:
        super().__init__()
        try:
            with translated(temporary_place()):
                catalog.read(lambda tx: self.add_all(tx.iter_files(prefix)))
        except BaseException:
            self.close()
            raise

    def _packed(self, page: list[FileMetadata]) -> Any:
        return [(file.path, file.content_hash, file.size_bytes, file.updated_at_ms) for file in page]

    def _unpacked(self, packed: Any) -> list[FileMetadata]:
        return [FileMetadata(*row) for row in packed]
