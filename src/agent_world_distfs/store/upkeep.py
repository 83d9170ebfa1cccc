"""Upkeep of a store."""

from __future__ import annotations

from agent_world_distfs.clock import is_time_to_wait
from agent_world_distfs.engine.scrubbing import Budget
from agent_world_distfs.errors import InvalidInputError
from agent_world_distfs.operations import audit, collect, usage
from agent_world_distfs.paths import check_prefix
from agent_world_distfs.records import FileIndexAuditReport, Progress, PruneReport, UsageReport
from agent_world_distfs.store.base import StoreBase


class UpkeepMethods(StoreBase):
    """Audit and collection."""

    def audit_file_index(
        self,
        *,
        verify: bool = False,
        max_bytes: int | None = None,
        max_seconds: float | None = None,
        progress: Progress | None = None,
    ) -> FileIndexAuditReport:
        """Compare index and bytes while others work; ``verify`` hashes every byte (progress in bytes).

        With ``max_bytes`` or ``max_seconds`` it verifies a portion: it continues where the last such audit
        ended, round after round, so that what was verified longest ago comes next. The blob that exceeds the
        budget is the last. The store remembers how far it got, so it must not be read-only.

        Raises:
            InvalidInputError: a budget without ``verify``, or one that is not positive.
        """
        budget = Budget(max_bytes, max_seconds)
        _check_budget(budget, verify=verify)
        return audit.audit(self._catalog, self._blobs, budget if verify else None, progress)

    def prune_orphan_blobs(self, *, dry_run: bool = False, progress: Progress | None = None) -> PruneReport:
        """Remove the blobs that nothing names (progress in blobs); ``dry_run`` only reports which."""
        if dry_run:
            return collect.plan_collection(self._catalog, self._blobs)
        return collect.collect(self._catalog, self._blobs, progress)

    def usage(self, prefix: str = "") -> UsageReport:
        """How many bytes are stored, and what names them: files below a string prefix, pins, the history."""
        return usage.usage(self._catalog, self._blobs, check_prefix(prefix))


def _check_budget(budget: Budget, *, verify: bool) -> None:
    for limit in (budget.max_bytes, budget.max_seconds):
        if isinstance(limit, bool) or not isinstance(limit, int | float | None):
            raise TypeError(f"a budget is a number or None, not {type(limit).__name__}")
        if limit is not None and not (limit > 0 and is_time_to_wait(limit)):
            raise InvalidInputError(f"not a budget: {limit}")
    if budget.is_limited and not verify:
        raise InvalidInputError("a budget is for verifying: verify=True")
