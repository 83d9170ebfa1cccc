"""Noticing that nobody reads the output any more, while there is nothing to write.

A write to a pipe without a reader fails, but a command that waits for something to tell writes nothing: it
would wait for ever after ``| head -1`` has what it wanted.
"""

from __future__ import annotations

import io
import os
import select
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOOKS_EVERY_MS = 200


@contextmanager
def ended_with_the_reader(end: Callable[[], object]) -> Iterator[None]:
    """Within it, ``end`` is called, by another thread, when the reader of standard output is gone.

    A reader that goes when all is done changes nothing.

    Raises:
        BrokenPipeError: it was called, as if something had been written.
    """
    descriptor = _pipe_of_output()
    if descriptor is None:
        yield
        return
    is_over, is_gone, deciding = threading.Event(), threading.Event(), threading.Lock()

    def look() -> None:
        poll = select.poll()
        poll.register(descriptor, 0)  # only what is reported unasked: an error, or the end
        while not is_over.is_set():
            if poll.poll(LOOKS_EVERY_MS):
                with deciding:
                    if not is_over.is_set():
                        is_gone.set()
                        end()
                return

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        with deciding:
            is_over.set()
        thread.join()
    if is_gone.is_set():
        raise BrokenPipeError


def _pipe_of_output() -> int | None:
    """Standard output, if it is what somebody reads from: a pipe or a socket."""
    if sys.stdout is None:
        return None
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, io.UnsupportedOperation):
        return None
    mode = os.fstat(descriptor).st_mode
    return descriptor if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else None
