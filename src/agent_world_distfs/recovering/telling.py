"""What a new catalog tells of how it was made, until the repair that made it has come to its end.

A repair that stops after the new catalog has taken its name finds a whole one when it is run again. Then
nobody would say what was lost. So the new catalog brings that along, as a setting, which the last step of a
repair drops.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from typing import Any

from agent_world_distfs.catalog.salvage import Salvage
from agent_world_distfs.engine.full_disk import removing
from agent_world_distfs.errors import CatalogError
from agent_world_distfs.protocols import BlobFiles, Catalog
from agent_world_distfs.records import RepairReport

SETTING = "salvage"


def text_of(found: Salvage, adopted: list[str], refused: list[str], kept_as: str | None) -> str:
    """The setting: fields of a ``RepairReport``. ``adopted``: stored, and named by nothing any more."""
    return json.dumps(
        {
            "salvaged_from": kept_as,
            "salvaged_files": len(found.entries),
            "lost_files": found.lost_files,
            "missing_pins": found.lost_pins,
            "missing_snapshots": found.lost_snapshots,
            "is_index_proven": found.is_index_proven,
            "is_proven": found.is_proven,
            "doubtful_paths": sorted(found.doubtful_paths),
            "adopted_blob_hashes": sorted(adopted),
            "dropped_settings": sorted(found.damaged_settings),
            "refused_sources": refused,
            "is_history_lost": found.commit is not None and found.commit.history_from is not None,
        }
    )


def read_told(catalog: Catalog) -> dict[str, Any]:
    """The fields; none if the catalog has nothing to tell, or what it tells is damaged."""
    with contextlib.suppress(CatalogError, ValueError):
        told = json.loads(catalog.read(lambda tx: tx.setting(SETTING)) or "{}")
        names = {field.name for field in dataclasses.fields(RepairReport)}
        return {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in told.items()
            if name in names
        }
    return {}


def forget_told(catalog: Catalog, blobs: BlobFiles) -> None:
    """Drop the setting, once it has been told; on a full disk, too."""
    removing(catalog, blobs, lambda: catalog.write(lambda tx: tx.set_setting(SETTING, None)))
