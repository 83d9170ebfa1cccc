"""What a store should do, as two dictionaries and a set: the plainest thing that has the same methods.

Whatever is called on a store is called on the model too, and the answers are compared. What a model
cannot know is left open and learned from the store: the time of a write (``LATER``), and after a
crash which of two states holds (see ``settle``). The manifest is made by an independent encoder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from copy import copy
from typing import BinaryIO, Self

import cbor2
from blake3 import blake3

from agent_world_distfs import (
    ABSENT,
    Absent,
    BlobHashMismatchError,
    BlobNotFoundError,
    BlobStat,
    FileConflictError,
    FileIndexAuditReport,
    FileIndexManifest,
    FileIndexManifestRef,
    FileMetadata,
    HashAlgorithm,
    IndexConflictError,
    ManifestImportReport,
    PathNotFoundError,
    PruneReport,
)

LATER = -1
"""The time of a file that was just written: the store is asked for it."""

Expected = str | Absent | None


class EitherError(Exception):
    """The store may refuse for either of several reasons, whichever it meets first."""

    def __init__(self, *kinds: type[Exception]) -> None:
        super().__init__(*kinds)
        self.kinds = kinds


class Model:
    """``strays``: blobs that are a file only: stored, but not to be had by their hash.

    ``in_doubt``: what a refused write may have left as such. Bytes come before names, so large ones
    are stored before a condition can be checked; the next prune takes them.
    """

    def __init__(self, algorithm: HashAlgorithm) -> None:
        self.hash_algorithm = algorithm
        self.files: dict[str, FileMetadata] = {}
        self.blobs: dict[str, bytes] = {}
        self.pins: set[str] = set()
        self.strays: set[str] = set()
        self.in_doubt: dict[str, bytes] = {}
        self.floors: dict[str, int] = {}

    def copy(self) -> Self:
        """Another model of the same state."""
        other = copy(self)
        other.files, other.blobs, other.floors = dict(self.files), dict(self.blobs), dict(self.floors)
        other.pins, other.strays, other.in_doubt = set(self.pins), set(self.strays), dict(self.in_doubt)
        return other

    def live(self) -> set[str]:
        """The blobs that a path or a pin names."""
        return {file.content_hash for file in self.files.values()} | self.pins

    def orphans(self) -> tuple[str, ...]:
        """The blobs that nothing names, ascending."""
        return tuple(sorted(self.blobs.keys() - self.live()))

    # --- blobs ---------------------------------------------------------------------------------

    def hash_bytes(self, data: bytes) -> str:
        if self.hash_algorithm is HashAlgorithm.BLAKE3:
            return blake3(data).hexdigest()
        return hashlib.sha256(data).hexdigest()

    def put_bytes(self, data: bytes) -> str:
        content_hash = self.hash_bytes(data)
        self.blobs[content_hash] = data
        self.strays.discard(content_hash)
        return content_hash

    def put(self, content_hash: str, data: bytes) -> None:
        self.put_stream_of(data, content_hash)

    def put_stream_of(self, data: bytes, expected: str | None) -> BlobStat:
        if expected not in (None, self.hash_bytes(data)):
            raise BlobHashMismatchError(str(expected), self.hash_bytes(data))
        return BlobStat(self.put_bytes(data), len(data))

    def put_stream(self, reader: BinaryIO, *, expected_content_hash: str | None = None) -> BlobStat:
        return self.put_stream_of(reader.read(), expected_content_hash)

    def get(self, content_hash: str) -> bytes:
        if not self.has(content_hash):
            raise BlobNotFoundError(content_hash)
        return self.blobs[content_hash]

    def has(self, content_hash: str) -> bool:
        return content_hash in self.blobs and content_hash not in self.strays

    # --- files ---------------------------------------------------------------------------------

    def _check(self, path: str, expected: Expected) -> None:
        held = self.files.get(path)
        if expected is None or (expected is ABSENT and held is None):
            return
        if expected is ABSENT or held is None or held.content_hash != expected:
            assert expected is not None
            raise FileConflictError(path, expected, held)

    def _name(self, path: str, content_hash: str) -> FileMetadata:
        held = self.files.get(path)
        self.floors[path] = 0 if held is None else held.updated_at_ms
        self.files[path] = FileMetadata(path, content_hash, len(self.blobs[content_hash]), LATER)
        return self.files[path]

    def write_file(self, path: str, data: bytes) -> FileMetadata:
        return self.write_file_if_match(path, None, data)

    def write_file_if_match(self, path: str, expected: Expected, data: bytes) -> FileMetadata:
        path = normal(path)
        try:
            self._check(path, expected)
        except FileConflictError:
            self.in_doubt[self.hash_bytes(data)] = data
            raise
        return self._name(path, self.put_bytes(data))

    def write_file_stream(
        self, path: str, reader: BinaryIO, *, expected_content_hash: Expected = None
    ) -> FileMetadata:
        return self.write_file_if_match(path, expected_content_hash, reader.read())

    def link_file(
        self, path: str, content_hash: str, *, expected_content_hash: Expected = None
    ) -> FileMetadata:
        self.get(content_hash)
        self._check(normal(path), expected_content_hash)
        return self._name(normal(path), content_hash)

    def copy_file(self, source: str, target: str, *, expected_content_hash: Expected = None) -> FileMetadata:
        if normal(source) not in self.files:
            raise PathNotFoundError(normal(source))
        content_hash = self.files[normal(source)].content_hash
        return self.link_file(target, content_hash, expected_content_hash=expected_content_hash)

    def rename_file(
        self, source: str, target: str, *, expected_content_hash: Expected = None
    ) -> FileMetadata:
        renamed = self.copy_file(source, target, expected_content_hash=expected_content_hash)
        if normal(source) != normal(target):
            del self.files[normal(source)]
        return renamed

    def delete_file(self, path: str) -> bool:
        return self.files.pop(normal(path), None) is not None

    def delete_file_if_match(self, path: str, expected: Expected) -> bool:
        self._check(normal(path), expected)
        return self.delete_file(path)

    def delete_files(self, paths: Iterable[str]) -> int:
        return sum(self.delete_file(path) for path in paths)

    def stat_file(self, path: str) -> FileMetadata | None:
        return self.files.get(normal(path))

    def read_file(self, path: str) -> bytes:
        return self.read_file_with_metadata(path)[1]

    def read_file_with_metadata(self, path: str) -> tuple[FileMetadata, bytes]:
        if normal(path) not in self.files:
            raise PathNotFoundError(normal(path))
        file = self.files[normal(path)]
        return file, self.blobs[file.content_hash]

    def list_files(
        self, *, prefix: str = "", start_after: str = "", limit: int | None = None
    ) -> list[FileMetadata]:
        found = sorted(self.files.values(), key=lambda file: file.path.encode())
        behind = start_after.encode()
        return [f for f in found if f.path.startswith(prefix) and f.path.encode() > behind][:limit]

    def iter_files(self, *, prefix: str = "") -> list[FileMetadata]:
        return self.list_files(prefix=prefix)

    # --- pins and upkeep -----------------------------------------------------------------------

    def pin(self, content_hash: str) -> None:
        self.get(content_hash)
        self.pins.add(content_hash)

    def unpin(self, content_hash: str) -> bool:
        is_pinned = content_hash in self.pins
        self.pins.discard(content_hash)
        return is_pinned

    def list_pins(self) -> list[str]:
        return sorted(self.pins)

    def is_pinned(self, content_hash: str) -> bool:
        return content_hash in self.pins

    def audit_file_index(self, *, verify: bool = False) -> FileIndexAuditReport:
        recorded = sum(len(data) for name, data in self.blobs.items() if name not in self.strays)
        return FileIndexAuditReport(
            len(self.files),
            len(self.pins),
            (),
            (),
            self.orphans(),
            is_verified=verify,
            verified_bytes=recorded if verify else 0,
        )

    def prune_orphan_blobs(self, *, dry_run: bool = False) -> PruneReport:
        taken = self.orphans()
        report = PruneReport(len(taken), sum(len(self.blobs[name]) for name in taken), taken)
        if not dry_run:
            self.strays.clear()
            for name in taken:
                del self.blobs[name]
        return report

    # --- manifests -----------------------------------------------------------------------------

    def export_file_index_manifest(self, *, pin: bool = False) -> FileIndexManifestRef:
        files = [
            {field: getattr(file, field) for field in FileMetadata.__slots__} for file in self.list_files()
        ]
        tagged = cbor2.CBORTag(55799, {"version": 1, "files": files})
        data = cbor2.dumps(tagged, canonical=True)
        content_hash = self.put_bytes(data)
        if pin:
            self.pins.add(content_hash)
        return FileIndexManifestRef(content_hash, len(data))

    def read_file_index_manifest(self, ref: FileIndexManifestRef) -> FileIndexManifest:
        manifest = cbor2.loads(self.get(ref.content_hash))
        manifest = getattr(manifest, "value", manifest)
        return FileIndexManifest(1, tuple(FileMetadata(**file) for file in manifest["files"]))

    def import_file_index_manifest(
        self,
        ref: FileIndexManifestRef,
        *,
        dry_run: bool = False,
        expected_current: FileIndexManifestRef | None = None,
    ) -> ManifestImportReport:
        files = {file.path: file for file in self.read_file_index_manifest(ref).files}
        failures: list[type[Exception]] = []
        if expected_current is not None:
            current = self.read_file_index_manifest(expected_current).files
            failures += [IndexConflictError] * (list(current) != self.list_files())
        failures += [BlobNotFoundError] * any(not self.has(file.content_hash) for file in files.values())
        if failures:
            raise EitherError(*failures)
        kept = files.keys() & self.files.keys()
        report = ManifestImportReport(
            len(files),
            len(files) - len(kept),
            sum(files[path] != self.files[path] for path in kept),
            len(self.files) - len(kept),
        )
        if not dry_run:
            self.files = files
        return report


def normal(path: str) -> str:
    """The one form of a path; the model is given no path that has none."""
    return "/".join(part for part in path.split("/") if part not in ("", "."))
