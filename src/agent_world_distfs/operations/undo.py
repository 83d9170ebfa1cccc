"""Undo: a transaction that restores what another changed, where nobody has changed it since.

What to restore is found in the change log, outside the lock; under it each path is compared with what the
transaction left there. A path that already holds what it should is left alone: undoing twice, or again after
an unknown outcome, does no harm.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from agent_world_distfs.clock import now_ms
from agent_world_distfs.engine.changes import iter_changes, require_kept
from agent_world_distfs.engine.past import content_of, differences
from agent_world_distfs.engine.reading import find_stored
from agent_world_distfs.errors import (
    BlobMissingError,
    FileConflictError,
    HistoryExpiredError,
    HistoryNotKeptError,
    NotFoundError,
    TransactionConflictError,
)
from agent_world_distfs.protocols import BlobFiles, Catalog, CatalogWriter
from agent_world_distfs.records import ABSENT, Change, FileDifference, FileMetadata, UndoReport


@dataclass(slots=True)
class _Step:
    """``left``: the content that a path was left with; ``target``: what it is to hold again."""

    path: str
    left: str | None
    target: FileMetadata | None


class _Plan:
    """What is to be restored: for each path what was there first, where nobody came between.

    ``between``: what was left at those paths where somebody did.
    """

    def __init__(self, since: int) -> None:
        self.since = since
        """The state that all that is taken back came after."""
        self.steps: dict[str, _Step] = {}
        self.between: dict[str, str | None] = {}

    def add(self, change: Change | FileDifference) -> None:
        """Take back one more change, later than those before."""
        before = content_of(change.before)
        step = self.steps.setdefault(change.path, _Step(change.path, before, change.before))
        if before != step.left:
            if before == content_of(step.target):
                self.between.pop(step.path, None)  # they have restored it themselves: it begins anew
            else:
                self.between.setdefault(step.path, step.left)
        step.left = content_of(change.after)

    def conflict(self, step: _Step, actual: FileMetadata | None) -> FileConflictError | None:
        """The conflict at a path that holds ``actual`` now; None: it can be restored."""
        left = self.between.get(step.path, step.left)
        if step.path not in self.between and left == content_of(actual):
            return None
        return FileConflictError(step.path, ABSENT if left is None else left, actual)


def undo_transaction(
    catalog: Catalog, blobs: BlobFiles, transaction_id: str, actor: str, message: str
) -> UndoReport:
    """Restore what the paths held that one transaction changed."""
    seq = _find(catalog, transaction_id)
    plan = _Plan(seq - 1)
    for difference in differences(catalog, blobs, seq - 1, seq):
        plan.add(difference)
    return catalog.write(partial(_restore, blobs=blobs, plan=plan, actor=actor, message=message))


def _find(catalog: Catalog, transaction_id: str) -> int:
    seq = int(transaction_id.partition("-")[0])
    state, has_committed = catalog.read(lambda tx: (tx.log_state(), tx.has_committed(transaction_id)))
    if state.history_from is None:
        raise HistoryNotKeptError
    if has_committed is None:
        raise HistoryExpiredError(seq, state.kept_after)
    if not has_committed or seq == 0:
        raise NotFoundError(transaction_id, "no such transaction")
    require_kept(state, seq - 1)
    return seq


def undo_session(catalog: Catalog, blobs: BlobFiles, session_id: str, actor: str, message: str) -> UndoReport:
    """The same for all that the transactions of a session changed, as far back as the history is kept."""
    state = catalog.read(lambda tx: tx.log_state())
    if state.history_from is None:
        raise HistoryNotKeptError
    plan: _Plan | None = None
    for change in iter_changes(
        catalog, state.kept_after, state.last, lambda each: each.session_id == session_id
    ):
        plan = plan or _Plan(change.seq - 1)
        made: Iterable[Change | FileDifference] = [change]
        if change.is_import:
            made = differences(catalog, blobs, change.seq - 1, change.seq)
        for each in made:
            plan.add(each)
    if plan is None:
        raise NotFoundError(session_id, "no transaction of this session is known")
    return catalog.write(partial(_restore, blobs=blobs, plan=plan, actor=actor, message=message))


def _restore(tx: CatalogWriter, blobs: BlobFiles, plan: _Plan, actor: str, message: str) -> UndoReport:
    now = {path: tx.stat_file(path) for path in plan.steps}
    steps = [step for path, step in plan.steps.items() if content_of(now[path]) != content_of(step.target)]
    found = (plan.conflict(step, now[step.path]) for step in steps)
    if conflicts := tuple(each for each in found if each is not None):
        raise TransactionConflictError(conflicts)
    for step in steps:
        _restore_path(tx, blobs, step, plan.since)
    tx.describe(actor=actor, message=message)
    paths = tuple(sorted((step.path for step in steps), key=str.encode))
    return UndoReport(tx.transaction_id, tx.sequence, paths) if paths else UndoReport(None, None, ())


def _restore_path(tx: CatalogWriter, blobs: BlobFiles, step: _Step, since: int) -> None:
    if step.target is None:
        tx.remove_file(step.path)
        return
    blob = find_stored(tx, blobs, step.target.content_hash)
    if blob is None:
        require_kept(tx.log_state(), since)  # expired meanwhile?
        raise BlobMissingError(step.target.content_hash, step.path)
    tx.set_file(step.path, blob, now_ms())
