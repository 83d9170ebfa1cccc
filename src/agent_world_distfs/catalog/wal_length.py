"""How long the WAL gets, and who copies it into the database when.

A WAL can be written from its start again once all of it has been copied and no reader uses it any more.

From CHECKPOINT_PAGES on, the process that has committed copies it, outside the gate, beside readers and
writers. Where writers pause now and then, that is all that is ever needed. Where they never pause, it is
never enough: while it copies, they append.

From BLOCKING_CHECKPOINT_PAGES on, whoever has the gate copies it before the change. Nobody can append
meanwhile, so in the end all of it is copied. Readers that still use it are waited for, for a moment; new ones
read the database alone. So the next commit starts over, and the WAL is never longer than that, plus what was
committed until each process that writes had its next turn, since each knows its length by its own commits. A
single transaction may of course be longer than all this.

**Who writes only once** has no commit to know it by: the commands of a script, the forked children of a
server. Before the first commit of a connection the file is looked at. A short file is a short WAL; a long
one need not be a long WAL, since it does not shrink when that begins anew, so then SQLite is asked.

**A reader that stays** makes it impossible: what it reads cannot be overwritten. Then the WAL grows, and
writers go on. They try again only when it is longer by a quarter: each attempt waits for that reader. Who
writes only once tries each time.

**Why it is safe.** It is SQLite's own checkpoint, which flushes the WAL before it writes to the database, and
the database before the WAL may be overwritten. If it fails, the WAL is in doubt, as ever. Under the gate no
writer makes room in the database (see ``extending``); the lock for that is taken all the same, because
SQLite refuses a second checkpoint beside a first one.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

import apsw

from agent_world_distfs.catalog.wal import FRAME_BYTES

CHECKPOINT_PAGES = 1_000
"""From this length on, the committing process copies the WAL into the database, beside other writers."""

BLOCKING_CHECKPOINT_PAGES = 8_000
"""From this length on, the others wait for that, so that the WAL cannot grow without bound."""

READERS_MS = 50
"""So long is waited for readers that still use it."""

OTHERS_S = 2.0
"""And for another checkpoint, at most: others wait for the gate meanwhile."""


class WalLength:
    """What one process knows of the length of the WAL."""

    def __init__(self, catalog: str) -> None:
        self._log = catalog + "-wal"
        self._is_known = False
        self.pages = 0
        """After the last commit of this process, or when it had to ask; 0 if it does not know."""
        self._untried_pages = 0
        self._limit_pages = BLOCKING_CHECKPOINT_PAGES

    def forget(self) -> None:
        """For a new connection: others may have written since the last commit of this process."""
        self._is_known = False

    def learn(self, connection: apsw.Connection) -> None:
        """Before a commit, under the write lock: find out, if that is not known, whether it is too long."""
        if self._is_known:
            return
        with contextlib.suppress(FileNotFoundError):
            if os.stat(self._log).st_size >= self._limit_pages * FRAME_BYTES:
                connection.pragma("page_count")  # before it has read, a connection has no WAL to ask about
                # By SQL: the method of apsw 3.51.3 takes this mode for misuse.
                rows: list[Any] = connection.execute("PRAGMA wal_checkpoint(NOOP)").fetchall()
                [(is_busy, pages, _)] = rows
                if not is_busy:
                    self.note(pages)
        self._is_known = True

    def note(self, pages: int) -> None:
        """A commit of this process has made it so long."""
        self.pages = self._untried_pages = pages
        if pages < CHECKPOINT_PAGES:  # it has been begun anew, by whomever
            self._limit_pages = BLOCKING_CHECKPOINT_PAGES

    def hear(self, _: object, __: str, pages: int) -> int:
        """The same, as SQLite tells it; the answer is that all is well."""
        self.note(pages)
        return apsw.SQLITE_OK

    def is_due(self) -> bool:
        """Whether it should be copied beside other writers; see ``note_try``."""
        return self._untried_pages >= CHECKPOINT_PAGES

    def note_try(self) -> None:
        """That was tried: not again before another commit has told how long it is."""
        self._untried_pages = 0

    def is_too_long(self) -> bool:
        """Whether it has to be begun anew before it grows."""
        return self.pages >= self._limit_pages

    def note_begun_anew(self) -> None:
        """The next commit, of whichever process, is at its start."""
        self.note(0)

    def note_in_use(self) -> None:
        """It could not be begun anew."""
        self._limit_pages = self.pages + self.pages // 4
