"""A new catalog takes the name of the damaged one; what a kill or power cut leaves of it, a repair undoes.

The steps, each followed by a flush of the directory, so that none is durable without those before it:

1. the new catalog, complete and flushed, gets the name ``catalog.db.new-<id>``
2. the damaged one becomes ``catalog.db.damaged-<id>``
3. its WAL, if it has one, becomes ``catalog.db.damaged-<id>-wal``: SQLite would apply it to the new catalog.
   The shared memory goes; it is made anew from whatever WAL there is
4. the new catalog becomes ``catalog.db``

A rename within a directory is done wholly or not at all, so that a process or a machine that stops on the
way leaves one of these, whether it stops before a flush or after it. Whatever the next repair does, it then
begins again:

| done | what has which name | opening | the next repair |
| --- | --- | --- | --- |
| nothing, 1 | the damaged one and its WAL have their own | as before | removes the new one |
| 2 | nothing is ``catalog.db``, the WAL has its own | refused | gives the damaged one its name back |
| 3 | nothing is ``catalog.db`` | refused | gives the WAL its name back, then as after 2 |
| 4 | the new one is ``catalog.db``, and has no WAL | the new one | finds a whole catalog |

(The first step is a rename between directories: half of it may be done, and the new one have two names or
none. In ``tmp`` it is tidied, and nothing relies on it before the flush.)

So nobody opens the damaged catalog without its WAL, in which there may be commits that are in no page of it,
nor the new one with a WAL that is not its own. Nobody writes either before the new catalog, which was made
from both, has its name: opening, to read or to write, refuses a directory without a ``catalog.db`` where
something else is named like that (``creating``). A catalog without a byte counts as none: what opens
databases makes such a file by itself.

Undoing goes the way back, and flushes as often: first the WAL, then the damaged catalog, so that opening is
refused until both are there. The new one goes last: by its name an exchange that was cut off is told from
one that has ended. So a catalog that an earlier repair has kept is never put back.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass

from agent_world_distfs.flushing import flush_directory

_NEW, _DAMAGED = "catalog.db.new-", "catalog.db.damaged-"
_IS_NEW = re.compile(re.escape(_NEW) + "[0-9a-f]{8}")
"""Nothing else: SQLite makes files beside a database that are called like it, and something more."""


@dataclass(frozen=True, slots=True)
class Remains:
    """Where the damaged catalog and its WAL are, if they are anywhere."""

    catalog: str
    wal: str


def kept_name(place: str, number: str) -> str | None:
    """The name that the damaged catalog will be kept under, if there is one."""
    catalog, _, kept = _names(place, number)
    return os.path.basename(kept) if os.path.lexists(catalog) else None


def exchange(place: str, new: str, number: str) -> None:
    """Let the new catalog take the name."""
    catalog, ready, kept = _names(place, number)
    os.rename(new, ready)
    flush_directory(place)
    if os.path.lexists(catalog):
        os.rename(catalog, kept)
        flush_directory(place)
    if os.path.lexists(catalog + "-wal"):
        os.rename(catalog + "-wal", kept + "-wal")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(catalog + "-shm")
    flush_directory(place)
    os.rename(ready, catalog)
    flush_directory(place)


def undo_cut_off(place: str) -> None:
    """Give everything its name back, if an exchange did not come to its end."""
    for number in _cut_off(place):
        catalog, ready, kept = _names(place, number)
        if not has_bytes(catalog):
            for suffix in ("-wal", ""):
                if os.path.lexists(kept + suffix):
                    os.rename(kept + suffix, catalog + suffix)
                    flush_directory(place)
        for suffix in ("-wal", "-shm", ""):  # the first two, if somebody has looked into it with SQLite
            with contextlib.suppress(FileNotFoundError):
                os.unlink(ready + suffix)
    flush_directory(place)


def find_remains(place: str) -> Remains:
    """Where they are now: after an exchange that was cut off, under the names that they are to be kept by."""
    catalog = os.path.join(place, "catalog.db")
    remains = Remains(catalog, catalog + "-wal")
    for number in _cut_off(place):
        _, _, kept = _names(place, number)
        if not has_bytes(catalog) and os.path.lexists(kept):
            wal = kept + "-wal" if os.path.lexists(kept + "-wal") else catalog + "-wal"
            remains = Remains(kept, wal)
    return remains


def has_bytes(path: str) -> bool:
    """Whether something is there that is not empty."""
    with contextlib.suppress(FileNotFoundError):
        return os.stat(path).st_size > 0
    return False


def _cut_off(place: str) -> list[str]:
    """The numbers of exchanges that did not come to their end."""
    return [name.removeprefix(_NEW) for name in os.listdir(place) if _IS_NEW.fullmatch(name)]


def _names(place: str, number: str) -> tuple[str, str, str]:
    names = ("catalog.db", _NEW + number, _DAMAGED + number)
    catalog, ready, kept = (os.path.join(place, name) for name in names)
    return catalog, ready, kept
