"""What is stored and not named: what an audit reports as orphans is exactly what a prune would take.

What is named is found by reading all that names: paths, pins, leases, staged rows. There is no count
and no index from a blob to its names, which each write would have to keep, and which could be wrong.

What a history that is kept remembers is no orphan either (``kept``): it is taken out of what nothing
names, by its hash, after each look.

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
was gone by then is in the log, which is read later than that: it is found there, or has expired.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent_world_distfs.engine.kept import kept_hashes
from agent_world_distfs.engine.leases import dead_leases
from agent_world_distfs.errors import CatalogError
from agent_world_distfs.protocols import BlobBrief, BlobFiles, Catalog, CatalogReader, Doubted, StoredForm

SHARDS = tuple(f"{number:02x}" for number in range(256))


@dataclass(frozen=True, slots=True)
class Orphan:
    """``row``: the row that nothing names, None for a stray file. ``identity``: of the stray file."""

    content_hash: str
    size_bytes: int
    row: BlobBrief | None
    identity: int = 0


def find_orphans(catalog: Catalog, files: BlobFiles) -> list[Orphan]:
    """All orphans of one moment, each checked twice; ascending by hash."""
    return find_unnamed(catalog, files)[0]


def find_unnamed(catalog: Catalog, files: BlobFiles) -> tuple[list[Orphan], list[Orphan]]:
    """The same, and apart from them what nothing but a history that is kept names."""
    dead = dead_leases(catalog, files)
    rows = catalog.read(lambda tx: tx.list_unnamed_blobs(dead))
    found = [Orphan(row.content_hash, row.size_bytes, row) for row in rows]
    for shard in SHARDS:
        found.extend(find_strays(catalog, files, shard, files.list_shard(shard)))
    found, kept = _without_kept(catalog, files, found)
    if not found:
        return [], _by_hash(kept)
    orphans, kept_now = _without_kept(catalog, files, _confirmed(catalog, found, dead))
    return _by_hash(orphans), _by_hash(kept + kept_now)


def _by_hash(found: list[Orphan]) -> list[Orphan]:
    return sorted(found, key=lambda orphan: orphan.content_hash)


def _without_kept(
    catalog: Catalog, files: BlobFiles, found: list[Orphan]
) -> tuple[list[Orphan], list[Orphan]]:
    if not found:
        return [], []
    left = {orphan.content_hash for orphan in found}
    for content_hash in kept_hashes(catalog, files):
        left.discard(content_hash)
    kept = [orphan for orphan in found if orphan.content_hash not in left]
    return [orphan for orphan in found if orphan.content_hash in left], kept


def _confirmed(catalog: Catalog, found: list[Orphan], dead: frozenset[str]) -> list[Orphan]:
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


def find_strays(catalog: Catalog, files: BlobFiles, shard: str, forms: dict[str, StoredForm]) -> list[Orphan]:
    """The stray files among ``forms``, which is what the shard held a moment ago."""
    rows = catalog.read(lambda tx: {row.content_hash for row in tx.list_shard(shard)})
    candidates = [name for name in forms if name not in rows and forms[name].is_regular]
    if not candidates:
        return []
    in_flight = files.in_flight()  # before the rows: what is named in between has a row by then
    strays = []
    for name in candidates:
        form = files.stat(name)
        if form is None or form.identity != forms[name].identity:
            continue  # a live writer has been there since
        if is_stray(_row(catalog, name), form, in_flight):
            strays.append(Orphan(name, form.size_bytes, None, form.identity))
    return strays


def _row(catalog: Catalog, content_hash: str) -> BlobBrief | None:
    return catalog.read(lambda tx: tx.find_brief(content_hash))


def is_stray(row: BlobBrief | None, form: StoredForm, in_flight: frozenset[int]) -> bool:
    """Whether a file stands for nothing."""
    return row is None and form.is_regular and form.identity not in in_flight


def still_stray(tx: CatalogReader, files: BlobFiles, orphan: Orphan, in_flight: frozenset[int]) -> bool:
    """Under the write lock: whether the very file that was found is still a stray one."""
    form = files.stat(orphan.content_hash)
    if form is None or form.identity != orphan.identity:
        return False
    return is_stray(tx.find_brief(orphan.content_hash), form, in_flight)
