"""The public API over any catalog and any blob storage. Thin: checks its arguments and delegates.

A module for each subject: ``blobs``, ``files``, ``upkeep``, ``exchange`` (which needs blobs), ``trees``,
``history``, ``snapshots``, ``agents``, ``recovery``.
"""

from __future__ import annotations

from typing import Self

from agent_world_distfs.store.agents import AgentMethods
from agent_world_distfs.store.exchange import ExchangeMethods
from agent_world_distfs.store.files import FileMethods
from agent_world_distfs.store.history import HistoryMethods
from agent_world_distfs.store.recovery import RecoveryMethods
from agent_world_distfs.store.snapshots import SnapshotMethods
from agent_world_distfs.store.trees import TreeMethods
from agent_world_distfs.store.upkeep import UpkeepMethods


class CasStore(
    FileMethods,
    UpkeepMethods,
    RecoveryMethods,
    ExchangeMethods,
    TreeMethods,
    HistoryMethods,
    SnapshotMethods,
    AgentMethods,
):
    """Content-addressed bytes with a mutable index of paths over them.

    Safe to use from any number of threads and processes. Writes are atomic and, once they return,
    durable as far as the store's durability says. Paths are normalized (``./a//b`` is ``a/b``).

    Conditions: ``expected_content_hash`` is a content hash that the path must hold, ABSENT if there must be
    no file, or None for no condition. Beware of ``meta and meta.content_hash``: it is None, no condition,
    where there was no file; write ``meta.content_hash if meta else ABSENT``. Conditions compare content: a
    change that was changed back is not noticed.

    Every method may raise StoreClosedError, ForkedStoreError, StorageError, CatalogError and, where the
    directory was moved, removed or replaced meanwhile, IncompatibleStoreError; those that write may also
    raise StoreBusyError and OutcomeUnknownError.
    """

    def close(self) -> None:
        """Release all resources. Idempotent. Open readers stay readable."""
        self._catalog.close()
        self._blobs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.location!r})"
