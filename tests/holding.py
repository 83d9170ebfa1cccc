"""Holding the write lock of a store."""

from __future__ import annotations

from pathlib import Path
from threading import Event

from agent_world_distfs import LocalCasStore
from children import Child, Start


def hold_lock(start: Start, location: Path) -> Child:
    """A process that has the write lock, until it is told to let go or killed."""
    holder = start(
        """
        store = LocalCasStore(location)
        def hold(tx):
            say("held")
            hear()
        store._catalog.write(hold)
        say("let go")
        hear()
        """,
        location,
    )
    assert holder.hear() == "held"
    return holder


def hold_until(store: LocalCasStore, is_held: Event, may_let_go: Event) -> None:
    def hold(_: object) -> None:
        is_held.set()
        assert may_let_go.wait(30)

    store._catalog.write(hold)
