"""Repair of a store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial

from agent_world_distfs.engine.directories import as_host_path
from agent_world_distfs.engine.other_stores import open_at
from agent_world_distfs.errors import InvalidInputError, NotFoundError
from agent_world_distfs.operations import original, repair
from agent_world_distfs.operations.repair.sources import Source
from agent_world_distfs.os_failures import translate_reading, translated
from agent_world_distfs.protocols import BlobStore
from agent_world_distfs.records import Progress, RepairReport
from agent_world_distfs.store.base import StoreBase

RepairSource = str | os.PathLike[str] | BlobStore
"""Where good bytes may come from: an open store, or the directory of a store, of files, of an original."""


def list_sources(sources: Iterable[RepairSource]) -> list[RepairSource]:
    """The sources, in order.

    Raises:
        TypeError: it is one source: the letters of its name would be taken for sources, or its bytes.
    """
    if isinstance(sources, str | bytes | os.PathLike) or not isinstance(sources, Iterable):
        raise TypeError("sources is an iterable of sources, not one source")
    return list(sources)


class RecoveryMethods(StoreBase):
    """Repair."""

    def repair(
        self,
        sources: Iterable[RepairSource] = (),
        *,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> RepairReport:
        """Hash every byte, and fetch what is missing or wrong from the first source that has it.

        A source is an open store or a directory: another store or a backup, a store of the original, or plain
        files. No source is trusted; one that fails is named, and the next is asked. Damaged bytes are kept in
        ``quarantine/``. What no source has is listed by path; storing the same content again heals it. Safe
        to run beside others and to interrupt. ``dry_run`` reads the same and reports what would be done.
        Progress in bytes.

        Raises:
            NotFoundError: there is no such source.
            InvalidInputError: a source uses another hash algorithm, or is this store.
        """
        with self._opened_sources(sources) as opened:
            return repair.repair(self._catalog, self._blobs, opened, dry_run=dry_run, progress=progress)

    def _open_beside(self, location: str) -> AbstractContextManager[BlobStore]:
        """Another store of this kind, to read."""
        raise NotImplementedError

    @contextmanager
    def _opened_sources(self, sources: Iterable[RepairSource]) -> Iterator[list[Source]]:
        """The sources, each opened according to its kind; those opened here are closed at the end."""
        chosen = list_sources(sources)
        with ExitStack() as stack:
            yield [self._open_source(source, stack) for source in chosen]

    def _open_source(self, source: RepairSource, stack: ExitStack) -> Source:
        if not isinstance(source, str | os.PathLike):
            return self._blob_source(str(getattr(source, "location", type(source).__name__)), source)
        location = as_host_path(source)
        names = _names_in(location)
        if "catalog.db" in names:
            if os.path.realpath(location) == os.path.realpath(self.location):
                raise InvalidInputError(f"{location} is the store that is to be repaired")
            return self._blob_source(location, stack.enter_context(self._open_beside(location)))
        if {"files_index.json", "pins.json"} & names:
            return repair.OpenedSource(location, partial(original.open_original_blob, location))
        return repair.TreeSource(location, self.hash_algorithm)

    def _blob_source(self, name: str, store: BlobStore) -> Source:
        self._require_algorithm(store)
        return repair.OpenedSource(name, partial(open_at, store))


def _names_in(location: str) -> set[str]:
    if not os.path.isdir(location):
        raise NotFoundError(location, "no such directory")
    with translated(location, translate_reading):
        return set(os.listdir(location))
