"""A salvage: every page is read, then what was found is sorted out."""

from __future__ import annotations

from collections.abc import Callable

from agent_world_distfs.catalog.checksums import Checksums
from agent_world_distfs.catalog.pages import PageFile
from agent_world_distfs.catalog.salvage.believing import Rows
from agent_world_distfs.catalog.salvage.found import Found
from agent_world_distfs.catalog.salvage.proving import find_key, take_blobs
from agent_world_distfs.catalog.salvage.results import Hints, Salvage
from agent_world_distfs.records import HashAlgorithm


def salvage(pages: PageFile, hints: Hints, hash_of: Callable[[HashAlgorithm, bytes], bytes]) -> Salvage:
    """Read every page. The payloads are only looked up again; see ``payload_of``."""
    found = Found()
    for record in pages.records():
        found.sort_in(record)
    key = find_key(found, hints)
    result = Salvage(key, found.algorithm, schema=found.schema)
    result.highest_blob_id = max((record.rowid or 0 for record in found.blobs), default=0)
    take_blobs(result, found, hash_of)
    if key is not None:
        Rows(result, found, hints, Checksums(key)).take()
    return result


def payload_of(pages: PageFile, place: tuple[int, int]) -> bytes | None:
    """The bytes of an inline blob."""
    record = pages.record_at(place)
    payload = None if record is None or len(record.values) != 5 else record.values[4]
    return payload if isinstance(payload, bytes) else None
