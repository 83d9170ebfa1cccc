"""Entries of an index from page to page, each page in its own snapshot: the WAL can be truncated."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from agent_world_distfs.errors import CatalogError
from agent_world_distfs.protocols import Catalog
from agent_world_distfs.records import FileMetadata

PAGE = 1_000


def iter_index(catalog: Catalog) -> Iterator[FileMetadata]:
    """The entries of the index, ascending; beside writers its parts are of slightly different moments."""

    def page_after(path: str) -> list[FileMetadata]:
        return catalog.read(lambda tx: list(tx.iter_files("", path, PAGE)))

    return from_page_to_page(page_after)


def from_page_to_page(page_after: Callable[[str], list[FileMetadata]]) -> Iterator[FileMetadata]:
    """All entries, where ``page_after`` gives the next ones after a path, ascending, and none at the end.

    Raises:
        CatalogError: they are out of order, and there would be no end.
    """
    last = ""
    while page := page_after(last):
        if page[-1].path <= last:
            raise CatalogError("the entries are out of order: after each there is another")
        yield from page
        last = page[-1].path
