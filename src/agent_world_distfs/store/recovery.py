"""Repair of a store."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial

from agent_world_distfs.engine.directories import STORE_NAMES, as_host_path, require_other
from agent_world_distfs.engine.other_stores import open_at
from agent_world_distfs.errors import (
    CorruptError,
    IncompatibleStoreError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
    WorldError,
)
from agent_world_distfs.operations import original, repair
from agent_world_distfs.operations.repair.sources import Source
from agent_world_distfs.os_failures import translate_reading, translated
from agent_world_distfs.protocols import BlobStore
from agent_world_distfs.records import Progress, RepairReport
from agent_world_distfs.store.base import StoreBase

RepairSource = str | os.PathLike[str] | BlobStore
"""Where good bytes may come from: an open store, or the directory of a store, of files, of an original."""

_NOT_OPENED = (CorruptError, IncompatibleStoreError, UnavailableError)
"""Of a store that cannot be opened because of these, the large blobs are files all the same."""


def check_sources(sources: Iterable[RepairSource], location: str) -> list[RepairSource]:
    """The sources for the store at ``location``, in order.

    Raises:
        TypeError: it is one source: the letters of its name would be taken for sources, or its bytes.
        NotFoundError: there is no such source.
        InvalidInputError: one is the store itself.
    """
    if isinstance(sources, str | bytes | os.PathLike) or not isinstance(sources, Iterable):
        raise TypeError("sources is an iterable of sources, not one source")
    chosen = list(sources)
    for source in chosen:
        if isinstance(source, str | os.PathLike) and not os.path.isdir(as_host_path(source)):
            raise NotFoundError(as_host_path(source), "no such directory")
        require_other(name_of(source), location)
    return chosen


def name_of(source: RepairSource) -> str:
    """What a report calls it."""
    if isinstance(source, str | os.PathLike):
        return as_host_path(source)
    return str(getattr(source, "location", type(source).__name__))


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
        with self._opened_sources(sources) as (opened, refused):
            report = repair.repair(self._catalog, self._blobs, opened, dry_run=dry_run, progress=progress)
        return dataclasses.replace(report, refused_sources=tuple(sorted(refused)))

    def _open_beside(self, location: str) -> AbstractContextManager[BlobStore]:
        """Another store of this kind, to read."""
        raise NotImplementedError

    @contextmanager
    def _opened_sources(self, sources: Iterable[RepairSource]) -> Iterator[tuple[list[Source], list[str]]]:
        """The sources, each opened according to its kind, and which cannot be opened, and why.

        Those opened here are closed at the end.
        """
        opened: list[Source] = []
        refused: list[str] = []
        with ExitStack() as stack:
            for source in check_sources(sources, self.location):
                try:
                    opened.append(self._open_source(source, stack))
                except (NotFoundError, InvalidInputError):
                    raise
                except WorldError as error:
                    refused.append(f"{name_of(source)}: {error}")
                    if isinstance(error, _NOT_OPENED) and isinstance(source, str | os.PathLike):
                        opened.append(repair.TreeSource(as_host_path(source), self.hash_algorithm))
            yield opened, refused

    def _open_source(self, source: RepairSource, stack: ExitStack) -> Source:
        if not isinstance(source, str | os.PathLike):
            return self._blob_source(name_of(source), source)
        location = as_host_path(source)
        names = names_in(location)
        if is_store(names):
            return self._blob_source(location, stack.enter_context(self._open_beside(location)))
        if "blobs" in names and {"files_index.json", "pins.json"} & names:
            return repair.OpenedSource(location, partial(original.open_original_blob, location))
        return repair.TreeSource(location, self.hash_algorithm)

    def _blob_source(self, name: str, store: BlobStore) -> Source:
        self._require_algorithm(store)
        return repair.OpenedSource(name, partial(open_at, store))


def is_store(names: set[str]) -> bool:
    """Whether a directory with these names in it is one: ``catalog.db`` alone may be anything of a user's."""
    return "catalog.db" in names and not names.isdisjoint(STORE_NAMES - {"catalog.db"})


def names_in(location: str) -> set[str]:
    """The names in a directory of the caller's."""
    with translated(location, translate_reading):
        return set(os.listdir(location))
