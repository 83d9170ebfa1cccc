"""What the steps of the tour found out. Each record says itself which of its findings break a promise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from agent_world_distfs import FileIndexAuditReport, FileIndexManifestRef, PruneReport


class PromiseBrokenError(Exception):
    """A step found something that leaves it nothing to go on with; the text says what."""


class Facts(Protocol):
    """What one step found out."""

    def broken(self) -> Iterator[str]:
        """A sentence for each finding that breaks the promise of the step; none if it held."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """One step before it is taken. ``unit``: what its progress counts."""

    name: str
    promise: str
    unit: str = "files"


@dataclass(frozen=True, slots=True)
class StepReport:
    """One step after it was taken. ``facts`` is None if an error cut it short."""

    name: str
    promise: str
    broken: tuple[str, ...]
    took_s: float
    facts: Facts | None

    def has_held(self) -> bool:
        """Nothing was found that breaks the promise."""
        return not self.broken


@dataclass(frozen=True, slots=True)
class TourReport:
    """The whole tour. A step that an error cut short is the last one."""

    directory: str
    steps: tuple[StepReport, ...]
    took_s: float

    def has_held(self) -> bool:
        """Every promise that was shown did hold."""
        return all(step.has_held() for step in self.steps)


# --- in the order of the steps ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stored:
    """What the index says after the import, and what the import says that it read and left out.

    ``refused_because``: why the import in one step refused the directory, so that it was stored file by
    file; None if it did not. ``skipped_paths``: below the directory.
    """

    total_files: int
    total_bytes: int
    read_files: int
    read_bytes: int
    skipped_paths: tuple[str, ...]
    refused_because: str | None = None

    def broken(self) -> Iterator[str]:
        if (self.total_files, self.total_bytes) != (self.read_files, self.read_bytes):
            yield (
                f"the import read {self.read_files} files with {self.read_bytes} bytes, "
                f"but the index has {self.total_files} with {self.total_bytes}"
            )


@dataclass(frozen=True, slots=True)
class SharedBlob:
    """One blob that several paths name; ``path`` is the first of them."""

    content_hash: str
    size_bytes: int
    total_paths: int
    path: str


@dataclass(frozen=True, slots=True)
class Deduplicated:
    """Files of the index against the blobs they name. ``most_shared`` saves most; None if no two share."""

    total_files: int
    total_bytes: int
    distinct_blobs: int
    distinct_bytes: int
    most_shared: SharedBlob | None

    @property
    def saved_bytes(self) -> int:
        """What the files take that the blobs do not."""
        return self.total_bytes - self.distinct_bytes

    def broken(self) -> Iterator[str]:
        if self.distinct_blobs > self.total_files or self.saved_bytes < 0:
            yield f"{self.total_files} files name {self.distinct_blobs} blobs of {self.distinct_bytes} bytes"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A write that was refused; the contents are read back from the store."""

    process_id: int
    expected: str
    expected_content: str
    actual: str
    actual_content: str
    waited_s: float


@dataclass(frozen=True, slots=True)
class Contender:
    """One process of the race. ``acknowledged``: writes that returned. ``refused``: conflicts it met."""

    process_id: int
    acknowledged: int
    refused: int


@dataclass(frozen=True, slots=True)
class Raced:
    """Two processes, one counter. ``refusal``: of the write that both based on the same start."""

    path: str
    times_each: int
    contenders: tuple[Contender, ...]
    refusal: Refusal | None
    final_count: int

    @property
    def acknowledged(self) -> int:
        """Writes that returned, in all processes."""
        return sum(contender.acknowledged for contender in self.contenders)

    @property
    def refused(self) -> int:
        """Conflicts, in all processes."""
        return sum(contender.refused for contender in self.contenders)

    def broken(self) -> Iterator[str]:
        if self.refusal is None:
            yield "both processes wrote on top of the same version, and none was refused"
        if self.acknowledged != self.times_each * len(self.contenders):
            yield f"{self.acknowledged} writes were acknowledged, not {self.times_each} for each process"
        if self.final_count != self.acknowledged:
            yield f"{self.acknowledged} writes were acknowledged, but the counter says {self.final_count}"


@dataclass(frozen=True, slots=True)
class Broken:
    """A copy that was broken on purpose, and healed.

    ``path`` is None if the bytes are none of the directory. ``bytes_hash_to``: what the refusal says of
    the broken bytes; None if they were not refused.
    """

    path: str | None
    content_hash: str
    size_bytes: int
    flipped_at: int
    bytes_hash_to: str | None
    corrupt_blob_hashes: tuple[str, ...]
    is_healed: bool
    is_sound_again: bool

    def broken(self) -> Iterator[str]:
        if self.bytes_hash_to is None:
            yield "the broken bytes were handed out as good"
        if self.corrupt_blob_hashes != (self.content_hash,):
            yield f"the audit names {len(self.corrupt_blob_hashes)} corrupt blobs, not the broken one alone"
        if not self.is_healed:
            yield "the bytes were written again and do not read back"
        if not self.is_sound_again:
            yield "the bytes were written again and the audit is still not sound"


@dataclass(frozen=True, slots=True)
class Audited:
    """The verifying audit of the whole store. ``hashed_bytes``: of all blobs, orphans too."""

    report: FileIndexAuditReport
    hashed_bytes: int

    def broken(self) -> Iterator[str]:
        if not self.report.is_sound():
            yield "the audit of an undamaged store is not sound"


@dataclass(frozen=True, slots=True)
class Pruned:
    """A prune between two audits: ``orphans_before`` by the first; ``after`` is the second."""

    orphans_before: tuple[str, ...]
    planned: PruneReport
    pruned: PruneReport
    files_before: int
    after: FileIndexAuditReport

    def broken(self) -> Iterator[str]:
        if self.orphans_before != self.pruned.pruned_blob_hashes:
            yield (
                f"the audit named {len(self.orphans_before)} orphans, "
                f"and the prune took {self.pruned.pruned_blobs}, not the same"
            )
        if self.planned != self.pruned:
            yield "the prune took something else than its dry run said"
        if not self.after.is_clean():
            yield "the audit after the prune is not clean"
        if self.after.total_indexed_files != self.files_before:
            yield f"there were {self.files_before} files before and {self.after.total_indexed_files} after"


@dataclass(frozen=True, slots=True)
class Exported:
    """The manifest, and the same index exported a second time. ``total_files``: read from the manifest."""

    ref: FileIndexManifestRef
    second_ref: FileIndexManifestRef
    total_files: int
    indexed_files: int

    def broken(self) -> Iterator[str]:
        if self.ref != self.second_ref:
            yield f"the same index gave {self.ref} and then {self.second_ref}"
        if self.total_files != self.indexed_files:
            yield f"the index has {self.indexed_files} files, its manifest {self.total_files}"


@dataclass(frozen=True, slots=True)
class Pulled:
    """What the second store has after the pull; ``ref`` is its own export, ``expected_ref`` the first's."""

    total_files: int
    added: int
    ref: FileIndexManifestRef
    expected_ref: FileIndexManifestRef

    def broken(self) -> Iterator[str]:
        if self.ref != self.expected_ref:
            yield f"the second store exports {self.ref}, the first {self.expected_ref}"


@dataclass(frozen=True, slots=True)
class Compared:
    """The second store against the directory, as it is on the disk now; paths below the directory.

    A difference counts as one that came about meanwhile (``changed_paths``, ``new_paths``) only if the
    disk says that the file was touched since the tour began. ``gone_paths``: stored, and no longer there.
    """

    total_files: int
    identical_files: int
    identical_bytes: int
    changed_paths: tuple[str, ...]
    gone_paths: tuple[str, ...]
    new_paths: tuple[str, ...]
    different_paths: tuple[str, ...]
    unstored_paths: tuple[str, ...]

    def broken(self) -> Iterator[str]:
        if self.different_paths:
            yield f"differ, although nobody touched them: {_named(self.different_paths)}"
        if self.unstored_paths:
            yield f"never stored, and not said so: {_named(self.unstored_paths)}"


def _named(paths: tuple[str, ...], at_most: int = 3) -> str:
    named = ", ".join(map(repr, paths[:at_most]))
    return named if len(paths) <= at_most else f"{named} and {len(paths) - at_most} more"
