"""Pull: copies the blobs that a manifest names, and that are missing here, from another store.

What it copies is leased until the import has named it. If interrupted, it leaves whole blobs behind that the
next pull does not fetch again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import IO

from agent_world_distfs.engine.bulk import Bulk
from agent_world_distfs.engine.intake import INLINE_MAX_BYTES
from agent_world_distfs.engine.leases import Lease, lease_where_writable
from agent_world_distfs.engine.manifest_spool import spool_manifest
from agent_world_distfs.engine.manifests import entries_of, open_manifest
from agent_world_distfs.engine.other_stores import Bounded, damage_of, damage_of_bytes, open_at
from agent_world_distfs.engine.reading import find_stored
from agent_world_distfs.engine.replacing import Entries, blob_of, chunks, replace_index
from agent_world_distfs.engine.snapshots import require_free
from agent_world_distfs.errors import BlobNotFoundError, LeaseExpiredError, ManifestError, StorageFullError
from agent_world_distfs.hashing import as_bytes, hash_function, require_hash
from agent_world_distfs.manifest_format import decode_manifest
from agent_world_distfs.protocols import BlobFiles, BlobStore, Catalog, CatalogReader, CatalogWriter
from agent_world_distfs.records import (
    FileIndexManifestRef,
    FileMetadata,
    ManifestImportReport,
    Progress,
    Snapshot,
)

SNAPSHOT_ATTEMPTS = 10


def fetch_manifest(lease: Lease, source: BlobStore, ref: FileIndexManifestRef) -> None:
    """Ensure that a manifest is stored here, and keep it.

    Raises:
        BlobNotFoundError: the source does not have it either.
        BlobHashMismatchError: the source returned something else; it is not kept.
    """
    name = ref.content_hash
    if lease.keep([name]):
        with open_at(source, name) as stream, damage_of_bytes(source):
            lease.put_stream(Bounded(stream, name, ref.size_bytes), name)


def pull(
    catalog: Catalog,
    blobs: BlobFiles,
    source: BlobStore,
    ref: FileIndexManifestRef,
    progress: Progress | None,
    import_manifest: Callable[[], ManifestImportReport],
) -> ManifestImportReport:
    """Bring a manifest and what it names, then import it while all of it is kept."""
    with Lease(catalog, blobs) as lease:
        fetch_manifest(lease, source, ref)
        with open_manifest(catalog, blobs, ref) as manifest:  # before what it names, which may be much
            _fetch_entries(catalog, blobs, lease, source, partial(entries_of, manifest), progress)
        return import_manifest()


def pull_snapshots(
    catalog: Catalog,
    blobs: BlobFiles,
    source: BlobStore,
    snapshots: Sequence[Snapshot],
    progress: Progress | None,
) -> list[Snapshot]:
    """Bring those that are not here, each in a transaction; what they name is leased until then."""
    wanted = catalog.read(lambda tx: [each for each in snapshots if not _is_here(tx, each)])
    for snapshot in wanted:
        with Lease(catalog, blobs) as lease:
            fetch_manifest(lease, source, snapshot.manifest)
            with open_manifest(catalog, blobs, snapshot.manifest) as manifest:
                entries = partial(entries_of, manifest)
                _fetch_entries(catalog, blobs, lease, source, entries, progress)
                with damage_of_bytes(source):
                    _require_true(catalog, blobs, snapshot, entries)
            catalog.write(partial(_add_leased, blobs=blobs, lease=lease.name, snapshot=snapshot))
    return wanted


def _require_true(catalog: Catalog, blobs: BlobFiles, snapshot: Snapshot, entries: Entries) -> None:
    """What is said of sizes and numbers is right, as an import makes sure: or it could never be restored."""
    total = 0
    for chunk in chunks(entries()):
        total += len(chunk)
        catalog.read(lambda tx, chunk=chunk: [blob_of(tx, blobs, file) for file in chunk])  # type: ignore[misc]
    if total != snapshot.total_files:
        raise ManifestError(f"has {total} files, and the snapshot {snapshot.name!r} {snapshot.total_files}")


def _is_here(tx: CatalogReader, snapshot: Snapshot) -> bool:
    held = tx.find_snapshot(snapshot.name)
    if held is not None and held.manifest != snapshot.manifest:
        require_free(tx, snapshot.name)
    return held is not None


def _add_leased(tx: CatalogWriter, blobs: BlobFiles, lease: str, snapshot: Snapshot) -> None:
    manifest = find_stored(tx, blobs, snapshot.manifest.content_hash)
    if manifest is None or lease not in tx.leases():
        raise LeaseExpiredError  # somebody took this process for dead
    if not _is_here(tx, snapshot):
        tx.add_snapshot(snapshot, [manifest])


def _fetch_entries(
    catalog: Catalog,
    blobs: BlobFiles,
    lease: Lease,
    source: BlobStore,
    entries: Entries,
    progress: Progress | None,
) -> None:
    """Ensure that every blob that the entries name is stored here, and keep it; progress in files."""
    total = sum(1 for _ in entries())
    done = 0
    with Bulk(catalog, blobs) as bulk:
        fetch = _Fetch(source, bulk, hash_function(catalog.hash_algorithm))
        for chunk in chunks(entries()):
            sizes = {file.content_hash: file.size_bytes for file in chunk}
            for content_hash in lease.keep(sizes):
                fetch.bring(content_hash, sizes[content_hash])
                if bulk.is_full:
                    lease.put_bulk(bulk)
            lease.put_bulk(bulk)
            done += len(chunk)
            if progress is not None:
                progress(done, total)


class _Fetch:
    """Brings single blobs from a source."""

    def __init__(self, source: BlobStore, bulk: Bulk, hash_bytes: Callable[[bytes], str]) -> None:
        self._source = source
        self._bulk = bulk
        self._hash_bytes = hash_bytes

    def bring(self, content_hash: str, size_bytes: int) -> None:
        """Have a blob ready to be stored.

        Raises:
            BlobNotFoundError, BlobHashMismatchError, ManifestError: the source lacks it, or has another.
        """
        if size_bytes > INLINE_MAX_BYTES:
            with open_at(self._source, content_hash) as stream, damage_of_bytes(self._source):
                self._bulk.add_stream(Bounded(stream, content_hash, size_bytes), content_hash)
            return
        with damage_of(self._source):
            data = as_bytes(self._source.get(content_hash))
            require_hash(content_hash, self._hash_bytes(data))
            if len(data) != size_bytes:
                raise ManifestError(f"says {size_bytes} bytes of a blob that has {len(data)}")
        self._bulk.add_small(data, content_hash)


@contextmanager
def kept_index(catalog: Catalog, blobs: BlobFiles) -> Iterator[IO[bytes]]:
    """The manifest of one snapshot of a store's index, whose blobs stay there meanwhile.

    A store that cannot be written does not keep them: then a blob may turn out to be gone.

    Raises:
        BlobNotFoundError: a blob that the index names is lost.
    """
    with ExitStack() as stack:
        lease = lease_where_writable(catalog, blobs, stack)
        lost = ""
        for _ in range(SNAPSHOT_ATTEMPTS):
            with spool_manifest(catalog) as spool:
                gone = None if lease is None else _keep(lease, spool)
                if gone is None:
                    yield spool
                    return
            lost = gone.content_hash  # or overwritten and collected since the snapshot: take a newer one
        raise BlobNotFoundError(lost)


def _keep(lease: Lease, manifest: IO[bytes]) -> FileMetadata | None:
    """Keep the blobs of all entries; an entry whose blob is not stored any more, if there is one."""
    with suppress(StorageFullError):  # no lease can be written, but blobs out of a full disk can be read
        return lease.keep_entries(chunks(decode_manifest(manifest)))
    return None


def pull_entries(
    catalog: Catalog, blobs: BlobFiles, source: BlobStore, manifest: IO[bytes], progress: Progress | None
) -> ManifestImportReport:
    """Bring what a manifest names and make it the index; the manifest itself is only stored for a history."""

    def entries() -> Iterator[FileMetadata]:
        manifest.seek(0)
        return decode_manifest(manifest)

    state = catalog.digest_of(entries())
    with Lease(catalog, blobs) as lease:
        _fetch_entries(catalog, blobs, lease, source, entries, progress)
        manifest_hash = _keep_for_history(catalog, lease, manifest)
        return replace_index(catalog, blobs, entries, state, lambda _: None, manifest_hash)


def _keep_for_history(catalog: Catalog, lease: Lease, manifest: IO[bytes]) -> str | None:
    """A kept history names the manifest of each import, and so needs it stored."""
    if catalog.read(lambda tx: tx.log_state()).history_from is None:
        return None
    manifest.seek(0)
    return lease.put_stream(manifest).content_hash
