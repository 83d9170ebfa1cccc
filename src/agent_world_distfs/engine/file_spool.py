"""Entries of the index, of one snapshot, in a temporary file without a name.

Copied out at once, so that a slow consumer does not keep the snapshot, and with it the whole log,
in use; and in bounded memory.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from itertools import islice
from tempfile import SpooledTemporaryFile, gettempdir
from types import TracebackType
from typing import Self

from agent_world_distfs.errors import ForkedStoreError
from agent_world_distfs.os_failures import translated
from agent_world_distfs.protocols import Catalog, CatalogReader
from agent_world_distfs.records import FileMetadata

PAGE = 1_000
SPOOL_BYTES = 1 << 20
"""Up to this size it is held in memory."""


class FileSpool:
    """The entries with a prefix, ascending by path, to be gone through as often as needed, once at a time."""

    def __init__(self, catalog: Catalog, prefix: str) -> None:
        self.total_files = 0
        self._pages = 0
        self._pid = os.getpid()
        self._file = SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115  # closed by __exit__
        try:
            with translated(gettempdir()):
                catalog.read(lambda tx: self._fill(tx, prefix))
        except BaseException:
            self._file.close()
            raise

    def _fill(self, tx: CatalogReader, prefix: str) -> None:
        entries = tx.iter_files(prefix)
        while page := list(islice(entries, PAGE)):
            pickle.dump(page, self._file, protocol=pickle.HIGHEST_PROTOCOL)
            self.total_files += len(page)
            self._pages += 1

    def pages(self) -> Iterator[list[FileMetadata]]:
        """The entries in lists of some hundreds.

        Raises:
            ForkedStoreError: in a forked child, which shares the file's position with its parent.
        """
        self._file.seek(0)
        for _ in range(self._pages):
            if self._pid != os.getpid():
                raise ForkedStoreError
            yield pickle.load(self._file)  # noqa: S301  # written above, to a file without a name

    def __iter__(self) -> Iterator[FileMetadata]:
        for page in self.pages():
            yield from page

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
