"""The steps of the tour, in their order."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from agent_world_distfs import (
    ConflictError,
    CorruptError,
    FileIndexManifestRef,
    FileMetadata,
    LocalCasStore,
    NotFoundError,
    Progress,
)
from agent_world_distfs.faces.tour.breaking import break_copy
from agent_world_distfs.faces.tour.comparing import compare
from agent_world_distfs.faces.tour.disk import Disk
from agent_world_distfs.faces.tour.facts import (
    Audited,
    Compared,
    Deduplicated,
    Exported,
    Facts,
    PromiseBrokenError,
    Pruned,
    Pulled,
    SharedBlob,
    Step,
    StepReport,
    Stored,
    TourReport,
)
from agent_world_distfs.faces.tour.race import race
from agent_world_distfs.faces.tour.storing import store_tree

WORLD, COPY, BROKEN = "world", "copy", "broken"
"""The stores of the tour, below its workshop."""

PREFIX = "files/"
"""Where the directory is in the index; the tour's own files are beside it."""

STORE = Step("store", "Every file goes in, and is only read.")
DEDUPLICATE = Step("deduplicate", "The same bytes are stored once, whatever they are called.")
RACE = Step("race", "No update is lost when processes write the same file.")
BREAK = Step("break a copy", "Broken bytes are refused and named; the same bytes heal them.")
AUDIT = Step("audit", "Index and bytes agree: every name is looked up, every byte is hashed.", "bytes")
PRUNE = Step("prune", "Only what nothing names goes away, and exactly what the audit said.", "blobs")
EXPORT = Step("export", "The whole index gets one name, and the same index the same name.")
PULL = Step("pull", "Another store becomes the same, each blob verified on its way.")
COMPARE = Step("compare", "What the second store gives is what the disk has, byte for byte.")
STEPS = (STORE, DEDUPLICATE, RACE, BREAK, AUDIT, PRUNE, EXPORT, PULL, COMPARE)

F = TypeVar("F", bound=Facts)


class Guide(Protocol):
    """Gives the tour words."""

    def during(self, step: Step) -> AbstractContextManager[Progress | None]:
        """Entered when a step begins, left when it ends; gives what to tell its progress."""
        ...

    def after(self, report: StepReport) -> None:
        """Called with each step that was taken."""
        ...


def run_tour(directory: str, *, workshop: str, guide: Guide) -> TourReport:
    """Take the steps on ``directory``, which is only read, with stores made in ``workshop``.

    A finding that breaks a promise is part of the report, and the tour goes on; an error that breaks
    one is too, and ends it. Other errors (a full disk, say) are raised.
    """
    began_ns = time.time_ns()
    began_s = time.monotonic()
    journal = _Journal(guide)
    try:
        with (
            LocalCasStore(os.path.join(workshop, WORLD)) as world,
            LocalCasStore(os.path.join(workshop, COPY)) as copy,
        ):
            stored = journal.take(STORE, lambda progress: store_tree(world, PREFIX, directory, progress))
            journal.take(DEDUPLICATE, lambda progress: look_at_blobs(world))
            journal.take(RACE, lambda progress: race(world))
            journal.take(BREAK, lambda progress: break_copy(world, PREFIX, os.path.join(workshop, BROKEN)))
            audited = journal.take(AUDIT, lambda progress: audit(world, progress))
            journal.take(PRUNE, lambda progress: prune(world, audited, progress))
            exported = journal.take(EXPORT, lambda progress: export(world, audited))
            journal.take(PULL, lambda progress: pull(copy, world, exported.ref, progress))
            journal.take(
                COMPARE, lambda progress: compare_with_disk(copy, directory, stored, began_ns, progress)
            )
    except _CutShortError:
        pass  # the journal says by what
    return TourReport(directory, tuple(journal.steps), time.monotonic() - began_s)


class _CutShortError(Exception):
    """An error broke a promise, and left nothing to go on with."""


@dataclass
class _Journal:
    """Takes the steps and keeps what they found out."""

    guide: Guide
    steps: list[StepReport] = field(default_factory=list)

    def take(self, step: Step, work: Callable[[Progress | None], F]) -> F:
        began_s = time.monotonic()
        facts, error = None, None
        with self.guide.during(step) as progress:
            try:
                facts = work(progress)
            except (CorruptError, ConflictError, NotFoundError, PromiseBrokenError) as caught:
                error = caught
        broken = (str(error),) if facts is None else tuple(facts.broken())
        report = StepReport(step.name, step.promise, broken, time.monotonic() - began_s, facts)
        self.steps.append(report)
        self.guide.after(report)
        if facts is None:
            raise _CutShortError from error
        return facts


# --- the steps that are a call or two ------------------------------------------------------------


def look_at_blobs(store: LocalCasStore) -> Deduplicated:
    """Count files and the blobs they name."""
    firsts: dict[str, FileMetadata] = {}
    counts: dict[str, int] = {}
    total_bytes = 0
    for file in store.iter_files(prefix=PREFIX):
        total_bytes += file.size_bytes
        firsts.setdefault(file.content_hash, file)
        counts[file.content_hash] = counts.get(file.content_hash, 0) + 1
    shared = [
        SharedBlob(content_hash, firsts[content_hash].size_bytes, count, firsts[content_hash].path)
        for content_hash, count in counts.items()
        if count > 1
    ]
    return Deduplicated(
        sum(counts.values()),
        total_bytes,
        len(firsts),
        sum(file.size_bytes for file in firsts.values()),
        max(
            shared,
            key=lambda blob: (blob.size_bytes * (blob.total_paths - 1), blob.total_paths),
            default=None,
        ),
    )


def audit(store: LocalCasStore, progress: Progress | None) -> Audited:
    """Hash every byte; progress in bytes."""
    hashed_bytes = 0

    def count(done: int, total: int | None) -> None:
        nonlocal hashed_bytes
        hashed_bytes = done
        if progress is not None:
            progress(done, total)

    report = store.audit_file_index(verify=True, progress=count)
    return Audited(report, hashed_bytes)


def prune(store: LocalCasStore, audited: Audited, progress: Progress | None) -> Pruned:
    """Take the orphans that the audit named; progress in blobs."""
    planned = store.prune_orphan_blobs(dry_run=True)
    pruned = store.prune_orphan_blobs(progress=progress)
    report = audited.report
    return Pruned(
        report.orphan_blob_hashes, planned, pruned, report.total_indexed_files, store.audit_file_index()
    )


def export(store: LocalCasStore, audited: Audited) -> Exported:
    """Write the index down, twice; pinned, so that no prune takes it."""
    ref = store.export_file_index_manifest(pin=True)
    return Exported(
        ref,
        store.export_file_index_manifest(pin=True),
        len(store.read_file_index_manifest(ref).files),
        audited.report.total_indexed_files,
    )


def pull(
    store: LocalCasStore, source: LocalCasStore, ref: FileIndexManifestRef, progress: Progress | None
) -> Pulled:
    """Make the store's index the one that ``ref`` names in the source; progress in files."""
    report = store.pull_manifest(source, ref, progress=progress)
    return Pulled(report.total_files, report.added, store.export_file_index_manifest(), ref)


def compare_with_disk(
    store: LocalCasStore, directory: str, stored: Stored, since_ns: int, progress: Progress | None
) -> Compared:
    """Compare the store with the directory; progress in files."""
    skipped = frozenset(stored.skipped_paths)
    with Disk(directory) as disk:
        return compare(store, PREFIX, disk, skipped=skipped, since_ns=since_ns, progress=progress)
