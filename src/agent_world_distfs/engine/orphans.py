"""What is stored and not named: what an audit reports as orphans is exactly what a prune would take.

What is named is found by reading all that names: paths, pins, leases, staged rows. There is no count
and no index from a blob to its names, which each write would have to keep, and which could be wrong.

What a history that is kept remembers, or a snapshot is of, is no orphan either (``retained``): it is taken
out of what nothing names, by its hash, after each look.

There are two kinds of orphans: a blob row that nothing names, and a stray file, that is one without a row,
which a crash between publishing and committing leaves. What a living process is just bringing in is
neither: its bytes have a second, temporary name.

A listing or a read that fails stops the search with its error; nothing is concluded from a part. Nor
is anything from a damaged catalog: what is found is looked for again in all rows, whose checksums and
whose sum must be right. A flipped bit may hide a name; it costs no blob.

Whoever removes orphans has a recording lease from before the search on. What is named while the search
goes on, or after it, is then kept by that lease, and the removal, under the write lock, spares it.
So does what the history remembers, without any record of its own. It remembers what was an entry of
the index at some time since it began, and manifests, whose naming is recorded like any other. An entry
at or after the time of the first look was found there, or named since, and so recorded. An entry that
was gone by then is in the change log, which is read later than that: it is found there, or has expired.
Of snapshots the same holds, for the reasons that ``operations.snapshots`` gives.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from agent_world_distfs.engine.leases import dead_leases
from agent_world_distfs.engine.retained import history_hashes, snapshot_hashes
from agent_world_distfs.errors import CatalogError
from agent_world_distfs.protocols import BlobBrief, BlobFiles, Catalog, CatalogReader, Doubted, StoredForm

SHARDS = tuple(f"{number:02x}" for number in range(256))


@dataclass(frozen=True, slots=True)
class UnnamedBlob:
    """Stored and named by nothing: an orphan, or kept all the same.

    ``row``: the row that nothing names, None for a stray file. ``identity``: of the stray file.
    """

    content_hash: str
    size_bytes: int
    row: BlobBrief | None
    identity: int = 0


class Unnamed(NamedTuple):
    """What no path, pin or lease names, each ascending by hash.

    ``in_history``: what a history remembers; ``in_snapshots``: what nothing but snapshots keeps.
    ``is_proven``: all rows of the catalog were looked at, and are right, which is done if there are orphans.
    """

    orphans: list[UnnamedBlob]
    in_history: list[UnnamedBlob]
    in_snapshots: list[UnnamedBlob]
    is_proven: bool


def find_orphans(catalog: Catalog, blobs: BlobFiles) -> list[UnnamedBlob]:
    """All orphans of one moment, each checked twice; ascending by hash."""
    return find_unnamed(catalog, blobs).orphans


def find_unnamed(catalog: Catalog, blobs: BlobFiles) -> Unnamed:
    """The same, and apart from them what is kept without a name."""
    dead = dead_leases(catalog, blobs)
    rows = catalog.read(lambda tx: tx.list_unnamed_blobs(dead))
    found = [UnnamedBlob(row.content_hash, row.size_bytes, row) for row in rows]
    for shard in SHARDS:
        found.extend(find_strays(catalog, blobs, shard, blobs.list_shard(shard)))
    first = _sorted_out(catalog, blobs, found)
    if not first.orphans:
        return first
    second = _sorted_out(catalog, blobs, _confirmed(catalog, first.orphans, dead))
    return Unnamed(
        orphans=second.orphans,
        in_history=_by_hash([*first.in_history, *second.in_history]),
        in_snapshots=_by_hash([*first.in_snapshots, *second.in_snapshots]),
        is_proven=True,
    )


def _by_hash(found: Iterable[UnnamedBlob]) -> list[UnnamedBlob]:
    return sorted(found, key=lambda blob: blob.content_hash)


def _sorted_out(catalog: Catalog, blobs: BlobFiles, found: list[UnnamedBlob]) -> Unnamed:
    left = {blob.content_hash for blob in found}
    in_history = _taken_out(left, history_hashes(catalog, blobs))
    in_snapshots = _taken_out(left, snapshot_hashes(catalog, blobs))
    return Unnamed(
        orphans=_by_hash(blob for blob in found if blob.content_hash in left),
        in_history=_by_hash(blob for blob in found if blob.content_hash in in_history),
        in_snapshots=_by_hash(blob for blob in found if blob.content_hash in in_snapshots),
        is_proven=False,
    )


def _taken_out(left: set[str], names: Iterable[str]) -> set[str]:
    taken: set[str] = set()
    if left:
        for name in names:
            if name in left:
                left.discard(name)
                taken.add(name)
                if not left:
                    break
    return taken


def _confirmed(catalog: Catalog, found: list[UnnamedBlob], dead: frozenset[str]) -> list[UnnamedBlob]:
    doubted = Doubted(
        {orphan.row.blob_id for orphan in found if orphan.row is not None},
        {orphan.content_hash for orphan in found if orphan.row is None},
    )

    def look_again(tx: CatalogReader) -> str | None:
        doubted.unnamed.intersection_update(row.blob_id for row in tx.list_unnamed_blobs(dead))
        return next(tx.find_damage(doubted), None)

    damage = catalog.read(look_again)
    if damage is not None:
        raise CatalogError(f"what is named cannot be told: {damage}")
    return [
        orphan
        for orphan in found
        if (
            orphan.content_hash in doubted.rowless
            if orphan.row is None
            else orphan.row.blob_id in doubted.unnamed
        )
    ]


def find_strays(
    catalog: Catalog, blobs: BlobFiles, shard: str, forms: dict[str, StoredForm]
) -> list[UnnamedBlob]:
    """The stray files among ``forms``, which is what the shard held a moment ago."""
    rows = catalog.read(lambda tx: {row.content_hash for row in tx.list_shard(shard)})
    candidates = [name for name in forms if name not in rows and forms[name].is_regular]
    if not candidates:
        return []
    in_flight = blobs.in_flight()  # before the rows: what is named in between has a row by then
    strays = []
    for name in candidates:
        form = blobs.stat(name)
        if form is None or form.identity != forms[name].identity:
            continue  # a live writer has been there since
        if is_stray(_row(catalog, name), form, in_flight):
            strays.append(UnnamedBlob(name, form.size_bytes, None, form.identity))
    return strays


def _row(catalog: Catalog, content_hash: str) -> BlobBrief | None:
    return catalog.read(lambda tx: tx.find_brief(content_hash))


def is_stray(row: BlobBrief | None, form: StoredForm, in_flight: frozenset[int]) -> bool:
    """Whether a file stands for nothing."""
    return row is None and form.is_regular and form.identity not in in_flight


def still_stray(tx: CatalogReader, blobs: BlobFiles, orphan: UnnamedBlob, in_flight: frozenset[int]) -> bool:
    """Under the write lock: whether the very file that was found is still a stray one."""
    form = blobs.stat(orphan.content_hash)
    if form is None or form.identity != orphan.identity:
        return False
    return is_stray(tx.find_brief(orphan.content_hash), form, in_flight)
