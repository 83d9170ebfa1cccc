"""Looking after a store."""

from __future__ import annotations

from agent_world_distfs.operations import audit, collect
from agent_world_distfs.records import FileIndexAuditReport, Progress, PruneReport
from agent_world_distfs.store.base import StoreBase


class UpkeepMethods(StoreBase):
    """Audit and collection."""

    def audit_file_index(
        self, *, verify: bool = False, progress: Progress | None = None
    ) -> FileIndexAuditReport:
        """Compare index and bytes while others go on; with ``verify`` hash every byte (progress in bytes)."""
        return audit.audit(self._catalog, self._files, verify=verify, progress=progress)

    def prune_orphan_blobs(self, *, dry_run: bool = False, progress: Progress | None = None) -> PruneReport:
        """Take away the blobs that nothing names (progress in blobs); ``dry_run`` only says which."""
        if dry_run:
            return collect.plan_collection(self._catalog, self._files)
        return collect.collect(self._catalog, self._files, progress)
