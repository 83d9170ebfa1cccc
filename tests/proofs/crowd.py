"""Forked children that say lines to the process that forked them, and can be killed at any moment.

A fork of a process that has everything imported costs milliseconds; a new interpreter costs a
hundred times that. A child dies with its parent, and never returns into the parent's program.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NoReturn

FAILED = "failed"
"""The first word of the line by which a child says that it met what may not happen."""

_PR_SET_PDEATHSIG = 1

Say = Callable[[str], None]
"""Hands one line to the parent, in one system call: a kill leaves whole lines."""


class Forked:
    """A child that runs ``work``, given a way to say lines, and ends."""

    def __init__(self, work: Callable[[Say], None]) -> None:
        self._fd, write_end = os.pipe()
        self._heard = b""
        self.is_over = False
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _run(work, write_end, parent)
        os.close(write_end)

    def fileno(self) -> int:
        """For ``select``."""
        return self._fd

    def hear(self) -> list[str]:
        """The lines that are there now; none and ``is_over`` if the child has ended and all was heard."""
        part = os.read(self._fd, 1 << 20)
        self.is_over = not part
        *lines, self._heard = (self._heard + part).split(b"\n")
        return [line.decode() for line in lines]

    def hear_all(self) -> list[str]:
        """The whole lines up to its end."""
        lines: list[str] = []
        while not self.is_over:
            lines += self.hear()
        return lines

    def kill(self) -> list[str]:
        """kill -9; returns what it had said and nobody has heard. Whatever it was about to do is not done."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        lines = self.hear_all()
        self.reap()
        return lines

    def reap(self) -> int:
        """Wait for its end and give everything back; its status."""
        os.close(self._fd)
        return os.waitpid(self.pid, 0)[1]


def _run(work: Callable[[Say], None], write_end: int, parent: int) -> NoReturn:
    def say(line: str) -> None:
        os.write(write_end, (line + "\n").encode())

    try:
        die_with(parent)
        work(say)
    except BaseException:  # noqa: BLE001  # whatever it is, it may not run on in the child
        say(f"{FAILED} {traceback.format_exc()!r}")
    finally:
        os._exit(0)


def die_with(parent: int) -> None:
    """Let this process be killed when its parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def hear_some(children: Iterable[Forked], timeout_s: float) -> list[tuple[Forked, list[str]]]:
    """What those children say that say something within the time."""
    ready = select.select([child for child in children if not child.is_over], [], [], timeout_s)[0]
    return [(child, child.hear()) for child in ready]


@contextlib.contextmanager
def place_for(name: str, *, in_memory: bool = False) -> Iterator[Path]:
    """A directory that is gone afterwards; in memory if it may be and the system has such a place."""
    memory = "/dev/shm"
    place = memory if in_memory and os.access(memory, os.W_OK) else None
    directory = Path(tempfile.mkdtemp(prefix=f"distfs-{name}-", dir=place))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
