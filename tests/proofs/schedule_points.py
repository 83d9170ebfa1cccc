"""Where a process under a forced schedule stops: before each step that another process can notice.

Nothing of the store is changed for it: in the child, and only there, the calls of the operating system
and of SQLite are wrapped. A point says what its step touches, and whether it changes it, so that
schedules that differ only in the order of steps that have nothing to do with each other are run once.

What is no point: a step that only this process can see (writing and flushing a temporary file); a
flush, which changes nothing for a living process; the directories of ``blobs/`` that no content of
the scenario falls into.

``locks/``     taking, trying and letting go, each lock a thing of its own; the marks of turns
catalog        the first statement of a read (its snapshot); BEGIN IMMEDIATE, COMMIT, ROLLBACK, as a lock
               a read may be one statement without a transaction
``blobs/``     open, stat, link, rename, unlink of a blob; a listing of its directory
``tmp/``       a listing; a file that comes or goes, all of it one thing
"""

from __future__ import annotations

import builtins
import fcntl
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import apsw


@dataclass(frozen=True)
class Point:
    """The step that comes next.

    ``takes``, ``tries``, ``frees``: the lock that it waits for, has if it is free, lets go.
    """

    name: str
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    takes: str = ""
    frees: str = ""
    tries: str = ""

    def meets(self, other: Point) -> bool:
        """Whether the order of the two steps can matter."""
        return bool(self.writes & (other.reads | other.writes) or other.writes & self.reads)

    def dump(self) -> str:
        locks = (self.takes, self.frees, self.tries)
        return json.dumps([self.name, sorted(self.reads), sorted(self.writes), *locks])

    @staticmethod
    def load(text: str) -> Point:
        name, reads, writes, *locks = json.loads(text)
        return Point(name, frozenset(reads), frozenset(writes), *locks)


Stop = Callable[[Point], None]
"""Reports a point and returns when the step may be made."""


class Points:
    """The wrapped calls of this process."""

    def __init__(self, root: str, shards: frozenset[str], stop: Stop) -> None:
        self._root, self._shards, self._stop = root, shards, stop
        self._last = ""
        self._has_listed_elsewhere = False
        self.is_armed = False
        for name in ("stat", "open", "unlink", "mkdir", "rmdir", "scandir", "listdir"):
            self._wrap(os, name, self._one_path)
        for name in ("link", "rename", "replace"):
            self._wrap(os, name, self._two_paths)
        self._wrap(fcntl, "flock", self._flock)
        self._wrap(os, "pwrite", self._mark)
        self._wrap(builtins, "open", self._look_at_mark)
        _Traced.points = self
        apsw.Connection = _Traced  # type: ignore[misc]

    def _wrap(self, module: Any, name: str, before: Callable[..., None]) -> None:
        honest = getattr(module, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if self.is_armed:
                before(name, *args, **kwargs)
            return honest(*args, **kwargs)

        setattr(module, name, wrapped)

    def stop(self, point: Point) -> None:
        """Stop here, unless it is the same again in a loop over what does not matter: that is one step."""
        is_loop = point.name == self._last and (self._has_listed_elsewhere or point.reads == {"tmp"})
        if self.is_armed and not is_loop:
            self._last, self._has_listed_elsewhere = point.name, False
            self._stop(point)

    # --- files -----------------------------------------------------------------------------------

    def _relative(self, path: Any, dir_fd: int | None) -> tuple[str, ...]:
        """The parts of a path below the store; none for any other."""
        if not isinstance(path, str | bytes | os.PathLike):
            return ()
        text = os.fsdecode(path)
        if dir_fd is not None:
            text = os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), text)
        inside = text.removeprefix(self._root + os.sep)
        return tuple(inside.split(os.sep)) if inside != text else ()

    def _one_path(self, call: str, path: Any = ".", *args: Any, dir_fd: int | None = None, **_: Any) -> None:
        is_change = call in ("unlink", "mkdir", "rmdir") or (call == "open" and bool(args[0] & os.O_CREAT))
        if call == "open" and args[0] & os.O_DIRECTORY:
            return  # in order to flush it
        self._touch(call, [self._relative(path, dir_fd)], is_change=is_change)

    def _two_paths(
        self, call: str, source: Any, target: Any, *, src_dir_fd: int | None = None, **more: Any
    ) -> None:
        places = [self._relative(source, src_dir_fd), self._relative(target, more.get("dst_dir_fd"))]
        is_here = bool(places[1])
        if call == "link":
            places = places[1:] if is_here else places[:1]
        self._touch(call, places, is_change=is_here or call != "link")

    def _touch(self, call: str, places: list[tuple[str, ...]], *, is_change: bool) -> None:
        things = frozenset(thing for place in places for thing in self._things(place, is_change=is_change))
        if things:
            if things == {"tmp"}:  # in which order sessions are looked at is by chance: one step
                call = "change" if is_change else "look into"
            name = f"{call} {' '.join(sorted(things))}"
            self.stop(Point(name, writes=things) if is_change else Point(name, reads=things))

    def _things(self, place: tuple[str, ...], *, is_change: bool) -> list[str]:
        match place:
            case ("tmp", *_):
                return ["tmp"]
            case ("blobs", shard) if not is_change:
                self._has_listed_elsewhere |= shard not in self._shards
                return [f"blobs/{shard}"] if shard in self._shards else []
            case ("blobs", shard, name) if shard in self._shards:
                blob = f"blobs/{shard}/{name[:8]}"
                return [blob, f"blobs/{shard}"] if is_change else [blob]
        return []

    # --- locks -----------------------------------------------------------------------------------

    def _flock(self, _: str, fd: Any, operation: int) -> None:
        match self._relative(_place_of(fd), None):
            case ("locks", "turns", name):
                self._turn(f"turns/{name}", operation)
            case ("locks", lock):
                if operation & fcntl.LOCK_UN:
                    self.stop(Point(f"free {lock}", writes=frozenset([lock]), frees=lock))
                else:
                    self.stop(Point(f"take {lock}", writes=frozenset([lock]), takes=lock))
            case ("tmp", *_) if operation & fcntl.LOCK_NB:
                self.stop(Point("look into tmp", reads=frozenset(["tmp"])))
            case ("tmp", *_):  # of a new session: whoever tidies may have it; then this really waits
                self.stop(Point("change tmp", writes=frozenset(["tmp"])))

    def _turn(self, lock: str, operation: int) -> None:
        changed = frozenset([lock])
        if operation & fcntl.LOCK_UN:
            self.stop(Point(f"free {lock}", writes=changed, frees=lock))
        elif operation & fcntl.LOCK_SH:  # whether somebody has it; let go by closing, in the same step
            self.stop(Point(f"look at {lock}", reads=changed))
        elif operation & fcntl.LOCK_NB:
            self.stop(Point(f"try {lock}", writes=changed, tries=lock))
        else:
            self.stop(Point(f"take {lock}", writes=changed, takes=lock))

    def _mark(self, _: str, fd: Any, *__: Any) -> None:
        match self._relative(_place_of(fd), None):
            case ("locks", "turns", name):
                self.stop(Point(f"mark turns/{name}", writes=frozenset([f"mark of {name}"])))

    def _look_at_mark(self, _: str, path: Any, *__: Any, **___: Any) -> None:
        match self._relative(path, None):
            case ("locks", "turns", name):
                self.stop(Point(f"read turns/{name}", reads=frozenset([f"mark of {name}"])))

    # --- the catalog -----------------------------------------------------------------------------

    def is_ours(self, catalog: str) -> bool:
        """Whether this is the catalog of the store."""
        return self._relative(catalog, None) == ("catalog.db",)

    def begin(self, sql: str) -> None:
        """The first statement of a transaction, BEGIN IMMEDIATE if it writes, is about to run."""
        if sql == "BEGIN IMMEDIATE":
            self.stop(Point(sql, writes=frozenset(["transaction"]), takes="transaction"))
        else:
            self.stop(Point(f"read {' '.join(sql.split())[:60]}", reads=frozenset(["catalog"])))

    def end(self, sql: str) -> None:
        """A transaction that wrote, or wanted to, is about to end."""
        things = ["catalog", "transaction"] if sql == "COMMIT" else ["transaction"]
        self.stop(Point(sql, writes=frozenset(things), frees="transaction"))


def _place_of(file: Any) -> str:
    return os.readlink(f"/proc/self/fd/{file if isinstance(file, int) else file.fileno()}")


class _Traced(apsw.Connection):
    """A connection whose statements are points, and that refuses at once where it would have to wait.

    One to the catalog of another store, a copy say, is like any other.
    """

    points: Points

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._last = ""
        self._is_writing = False
        if self.points.is_ours(self.filename):
            self.exec_trace = self._trace

    def set_busy_timeout(self, milliseconds: int) -> None:
        super().set_busy_timeout(0 if self.points.is_ours(self.filename) else milliseconds)

    def _trace(self, _: Any, sql: str, __: Any) -> bool:
        is_alone = sql.startswith("SELECT") and not self.in_transaction
        if sql == "BEGIN IMMEDIATE" or is_alone or (self._last == "BEGIN" and sql != "ROLLBACK"):
            self.points.begin(sql)
        if sql in ("COMMIT", "ROLLBACK") and self._is_writing:
            self.points.end(sql)
        self._is_writing = (self._is_writing or sql == "BEGIN IMMEDIATE") and sql not in (
            "COMMIT",
            "ROLLBACK",
        )
        self._last = sql
        return True


def install(root: str, shards: frozenset[str], stop: Stop) -> Points:
    """Wrap the calls of this process; they stop it once ``is_armed`` is set."""
    return Points(root, shards, partial(stop))
