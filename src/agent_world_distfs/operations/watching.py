"""Following changes as they are committed, by any process.

No daemon and no notification: a waiting watch asks the catalog whether anything was committed since it last
looked (``Catalog.mark``, some microseconds), at first every millisecond, then less and less often, eventually
every 20 ms. Between two polls nothing is held: no snapshot, no lock, no connection. Then the change log is
read from where the last look ended; so nothing is seen twice, or missed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Self

from agent_world_distfs.engine.changes import Window, concerns
from agent_world_distfs.engine.past import known_last
from agent_world_distfs.protocols import Catalog
from agent_world_distfs.records import Change

FIRST_WAIT_S = 0.001
LONGEST_WAIT_S = 0.02


class Watch:
    """An iterator over changes that waits for the next one. For one thread; ``close`` is for any.

    ``seq``: where another watch can continue, with ``since=watch.seq``: after the changes returned so far. Of
    a transaction that was handed out in part it begins again with the first change.

    An exception while it reads or waits, such as an interrupt, loses nothing: the same watch can go on.
    """

    def __init__(self, catalog: Catalog, since: int | None, prefix: str, timeout_s: float | None) -> None:
        self.seq = catalog.read(lambda tx: tx.log_state()).last if since is None else since
        known_last(catalog, self.seq)
        self._catalog = catalog
        self._prefix = prefix
        self._timeout_s = timeout_s
        self._is_over = threading.Event()
        self._handed = (0, 0)
        """Seq and ordinal of the change that was returned last."""
        self._mark: object = None
        self._window: Window | None = None
        self._rest: Iterator[Change] = iter(())
        self._next: Change | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change:
        if self._is_over.is_set():
            self._drop()
            raise StopIteration
        change: Change | None = None
        try:
            change = self._next or self._wait_for_change()
            if change is not None:
                self._note_handed(change)
                return change
        except BaseException:
            self._begin_again(change)
            raise
        self._drop()
        raise StopIteration

    def _note_handed(self, change: Change) -> None:
        self._handed = change.seq, change.ordinal
        self._next = next(self._rest, None)
        if self._next is not None:
            self.seq = change.seq if self._next.seq != change.seq else change.seq - 1
        elif self._window is not None:
            self.seq = self._window.reached
            self._drop()

    def _begin_again(self, change: Change | None) -> None:
        """After an interrupt: what has been read and not handed out, so ``change``, is read once more."""
        if change is not None:
            self.seq, self._handed = change.seq - 1, (change.seq, change.ordinal - 1)
        self._mark = None
        self._drop()

    def _wait_for_change(self) -> Change | None:
        deadline = None if self._timeout_s is None else time.monotonic() + self._timeout_s
        wait_s = FIRST_WAIT_S
        while not self._is_over.is_set():
            mark = self._catalog.mark()
            if mark != self._mark:
                change = self._look(mark)
                if change is not None:
                    return change
                if mark != self._mark:
                    continue  # there is more to read already
            left_s = wait_s if deadline is None else min(wait_s, deadline - time.monotonic())
            if left_s <= 0:
                break
            self._is_over.wait(left_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
        self._is_over.set()
        return None

    def _look(self, mark: object) -> Change | None:
        self._drop()
        self._window = window = Window(self._catalog, self.seq, None, self._is_wanted())
        self._rest = iter(window.changes)
        change = next(self._rest, None)
        if change is None:
            self.seq = window.reached
        if window.is_complete:
            self._mark = mark  # taken before the look: what is committed meanwhile is read next time
        return change

    def _is_wanted(self) -> Callable[[Change], bool]:
        prefix, handed = self._prefix, self._handed
        return lambda change: concerns(change, prefix) and (change.seq, change.ordinal) > handed

    def _drop(self) -> None:
        if self._window is not None:
            self._window.changes.close()
        self._window, self._rest, self._next = None, iter(()), None

    def close(self) -> None:
        """End the iteration, also for a thread that waits in it. Idempotent."""
        self._is_over.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._drop()
