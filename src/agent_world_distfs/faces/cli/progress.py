"""Progress of long work, on standard error, for a person at a terminal and nobody else.

A bar appears only after a moment, so that quick work leaves no flicker, and is gone when the work is done.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from agent_world_distfs.records import Progress

if TYPE_CHECKING:
    from rich import progress as bars

APPEARS_AFTER_S = 0.5
UPDATES_EVERY_S = 0.1

Watcher = Progress | None
"""What to call with done and total; None if nobody is watching, so that nothing is counted for nobody."""


@contextmanager
def watching(label: str, unit: str, *, is_wanted: bool = True) -> Iterator[Watcher]:
    """What draws a bar for ``label``, counted in ``unit``; None where no terminal would show it."""
    if not (is_wanted and sys.stderr is not None and sys.stderr.isatty()):
        yield None
        return
    bar = _LateBar(label, unit)
    try:
        yield bar
    finally:
        bar.close()


class _LateBar:
    """A bar that is drawn once the work turns out to be long."""

    def __init__(self, label: str, unit: str) -> None:
        self._label = label
        self._unit = unit
        self._due = time.monotonic() + APPEARS_AFTER_S
        self._bar: bars.Progress | None = None

    def __call__(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + UPDATES_EVERY_S
        if self._bar is None:
            self._bar = _new_bar(self._unit)
            self._bar.add_task(self._label)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=done, total=total)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()


def _new_bar(unit: str) -> bars.Progress:
    # Rich costs 50 ms to import: only waits of half a second pay it.
    from rich import progress as bars
    from rich.console import Console

    is_bytes = unit == "bytes"
    return bars.Progress(
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.DownloadColumn(binary_units=True) if is_bytes else bars.MofNCompleteColumn(),
        bars.TransferSpeedColumn() if is_bytes else bars.TextColumn(unit),
        bars.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
