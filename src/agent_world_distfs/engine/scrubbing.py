"""Verifying a store in portions: each continues so that what was verified longest ago comes next.

Blobs are verified in the order of their ids, which are never reused, round after round. The progress of the
round is one setting of the store, written once at the end of a portion: a portion that dies is done again.
Two at the same time verify the same bytes twice, which is harmless.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

from agent_world_distfs.clock import now_ms
from agent_world_distfs.errors import CatalogError
from agent_world_distfs.protocols import BlobRow, Catalog

WINDOW = 500
"""Blob rows read with their bytes in one snapshot."""

SETTING = "scrub"


@dataclass(frozen=True, slots=True)
class Budget:
    """What one portion may cost; None: no limit. The blob that exceeds it is the last."""

    max_bytes: int | None = None
    max_seconds: float | None = None

    @property
    def is_limited(self) -> bool:
        return self.max_bytes is not None or self.max_seconds is not None


@dataclass(slots=True)
class Rounds:
    """How far verification has come: ``after`` is the last blob of this round, begun at ``began_ms``.

    ``verified_since_ms``: when the last whole round began: every byte of then was verified since. None:
    there was none.
    """

    after: int = 0
    began_ms: int = 0
    verified_since_ms: int | None = None

    def begin(self) -> None:
        """A new round, from the first blob."""
        self.after, self.began_ms = 0, now_ms()

    def complete(self) -> None:
        """This round has ended."""
        self.verified_since_ms = self.began_ms
        self.begin()


def read_rounds(catalog: Catalog) -> Rounds:
    """Where the last portion ended. An unreadable setting is ignored: all starts over."""
    rounds = Rounds()
    rounds.begin()
    with contextlib.suppress(ValueError, CatalogError):
        match json.loads(catalog.read(lambda tx: tx.setting(SETTING)) or ""):
            case [int() as after, int() as began_ms, int() | None as since_ms]:
                rounds = Rounds(after, began_ms, since_ms)
    return rounds


def write_rounds(catalog: Catalog, rounds: Rounds) -> None:
    """Remember it."""
    text = json.dumps([rounds.after, rounds.began_ms, rounds.verified_since_ms])
    catalog.write(lambda tx: tx.set_setting(SETTING, text))


class Portion:
    """The blobs of one portion, in order; each is done when the next is asked for."""

    def __init__(self, catalog: Catalog, budget: Budget, rounds: Rounds) -> None:
        self._catalog, self._budget, self._rounds = catalog, budget, rounds
        self._end_s = None if budget.max_seconds is None else time.monotonic() + budget.max_seconds
        self.total_bytes, self._last = catalog.read(lambda tx: (tx.total_bytes(), tx.last_blob_id()))
        if budget.max_bytes is not None:
            self.total_bytes = min(self.total_bytes, budget.max_bytes)
        self.done_bytes = 0
        self.is_all = False

    def __iter__(self) -> Iterator[BlobRow]:
        rounds, first = self._rounds, self._rounds.after
        for row in self._rows(first, self._last):
            yield row
            if self._is_spent(row):
                return
        rounds.complete()
        for row in self._rows(0, min(first, self._last)):
            yield row
            if self._is_spent(row):
                return
        self.is_all = True

    def _rows(self, after: int, up_to: int) -> Iterator[BlobRow]:
        for start in range(after, up_to, WINDOW):
            yield from self._window(start, min(start + WINDOW, up_to))

    def _window(self, after: int, up_to: int) -> list[BlobRow]:
        return self._catalog.read(lambda tx: tx.list_payloads(after, up_to))

    def _is_spent(self, row: BlobRow) -> bool:
        self._rounds.after = row.blob_id
        self.done_bytes += row.size_bytes
        is_time_up = self._end_s is not None and time.monotonic() >= self._end_s
        return is_time_up or (
            self._budget.max_bytes is not None and self.done_bytes >= self._budget.max_bytes
        )
