"""Records of one snapshot, in a temporary file without a name.

Copied out at once, in bounded memory, so that a slow consumer does not keep the snapshot, and with it the
whole WAL, in use.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Iterator
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import Any, Generic, Self, TypeVar, cast

from agent_world_distfs.errors import ForkedStoreError

T = TypeVar("T")

PAGE = 1_000
SPOOL_BYTES = 1 << 20
"""Up to this size it is held in memory."""


class PageSpool(Generic[T]):
    """Records, to be gone through as often as needed, once at a time."""

    def __init__(self) -> None:
        self.total = 0
        self._pages = 0
        self._pid = os.getpid()
        self._file = SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115  # closed by close

    def add_all(self, records: Iterable[T]) -> None:
        """Put records behind those that are there."""
        source = iter(records)
        while page := list(islice(source, PAGE)):
            pickle.dump(self._packed(page), self._file, protocol=pickle.HIGHEST_PROTOCOL)
            self.total += len(page)
            self._pages += 1

    def pages(self) -> Iterator[list[T]]:
        """The records in lists of some hundreds.

        Raises:
            ForkedStoreError: in a forked child, which shares the file's position with its parent.
        """
        self._file.seek(0)
        for _ in range(self._pages):
            if self._pid != os.getpid():
                raise ForkedStoreError
            packed = pickle.load(self._file)  # noqa: S301  # written above, to a file without a name
            self._file.flush()  # no read-ahead: a child that closes its copy would move the shared position
            yield self._unpacked(packed)

    def _packed(self, page: list[T]) -> Any:
        """What is pickled for a page: what is cheap to pickle, in a spool of many records."""
        return page

    def _unpacked(self, packed: Any) -> list[T]:
        """The page again."""
        return cast("list[T]", packed)

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            yield from page

    def close(self) -> None:
        """Give the room back."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
