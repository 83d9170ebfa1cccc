"""Bugs to be found: each breaks one promise of durability, in a traced process only.

All but a few work at the level of the operating system or of SQLite, so that they stay bugs however
the store is written.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from itertools import count
from typing import Any

import apsw

_fsync, _link = os.fsync, os.link


def _flush_no_file() -> None:
    def fsync(fd: Any) -> None:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            _fsync(fd)

    os.fsync = fsync


def _flush_no_directory() -> None:
    def fsync(fd: Any) -> None:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            _fsync(fd)

    os.fsync = fsync


def _trust_what_is_there() -> None:
    """A name that exists is taken for durable: it is neither replaced nor flushed."""
    existing: list[bool] = []

    def link(source: Any, target: Any, **options: Any) -> None:
        try:
            _link(source, target, **options)
        except FileExistsError:
            existing.append(True)

    def fsync(fd: Any) -> None:
        if not (existing and stat.S_ISDIR(os.fstat(fd).st_mode) and existing.pop()):
            _fsync(fd)

    os.link = link  # type: ignore[assignment]
    os.fsync = fsync


class _Connection(apsw.Connection):
    """SQLite that is asked for less than it should be."""

    weaker: Callable[[str], str] = staticmethod(lambda statement: statement)

    def execute(self, statements: str, *values: Any, **options: Any) -> Any:
        return super().execute(_Connection.weaker(statements), *values, **options)


def _weaken(wanted: str, given: str) -> Callable[[], None]:
    def start() -> None:
        _Connection.weaker = staticmethod(
            lambda text: text.replace(wanted, given) if "synchronous" in text else text
        )
        apsw.Connection = _Connection  # type: ignore[misc]

    return start


def _forget_errors() -> None:
    """No process is told that the log is in doubt. The one bug that knows the inside of the store."""
    from agent_world_distfs.catalog.gate import Gate

    assert hasattr(Gate, "set_suspect"), "the store has another way to remember: this bug has to follow it"
    Gate.set_suspect = lambda self, *, suspect: None  # type: ignore[method-assign]


def _flush_no_file_system() -> None:
    """The flush of everything is left out."""
    _replace_flush_of_all(lambda _: lambda fd: None)


def _flush_file_system_too_early() -> None:
    """It is left out once the names are given: only the first of each batch is made."""
    calls = count()

    def every_other(honest: Callable[[int], None]) -> Callable[[int], None]:
        return lambda fd: honest(fd) if next(calls) % 2 == 0 else None

    _replace_flush_of_all(every_other)


def _replace_flush_of_all(change: Callable[[Callable[[int], None]], Callable[[int], None]]) -> None:
    """It is no function of Python's own: these bugs know where the store has it."""
    from agent_world_distfs.blobs import batches

    name = "flush_file_system"
    assert hasattr(batches, name), "the store flushes in another place: follow it"
    setattr(batches, name, change(getattr(batches, name)))


def _flush_no_fork() -> None:
    """A fork gets its name before its bytes are on the disk."""
    import agent_world_distfs.store_forks as forking

    assert hasattr(forking, "_flush"), "the store flushes a fork in another place: follow it"
    forking._flush = lambda root, place: None


def _flush_no_exchange() -> None:
    """The names of the catalogs change without a flush between."""
    from agent_world_distfs.recovering import exchanging

    assert hasattr(exchanging, "flush_directory"), "catalogs are exchanged in another place: follow it"
    exchanging.flush_directory = lambda path: None


def _drop_lazily() -> None:
    """Whoever drops a snapshot is told before it is durable."""
    from agent_world_distfs.operations import snapshots

    name = "drop_snapshots"
    assert hasattr(snapshots, name), "the store drops in another place: follow it"

    def drop(catalog: Any, _: Any, names: list[str]) -> None:
        catalog.write_lazily(lambda tx: [tx.remove_snapshot(name) for name in names])

    setattr(snapshots, name, drop)


BUGS: dict[str, Callable[[], None]] = {
    "files are not flushed": _flush_no_file,
    "directories are not flushed": _flush_no_directory,
    "the log is never flushed": _weaken("FULL", "OFF"),
    "a collection does not flush": _weaken("FULL", "NORMAL"),
    "the file system is not flushed": _flush_no_file_system,
    "the names of many are not flushed": _flush_file_system_too_early,
    "a fork is not flushed": _flush_no_fork,
    "an exchange is not flushed": _flush_no_exchange,
    "a drop is not flushed": _drop_lazily,
    "what is there is trusted": _trust_what_is_there,
    "errors of the log are forgotten": _forget_errors,
}
