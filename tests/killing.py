"""kill -9 at one line after another: what a crash leaves, wherever it strikes."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from itertools import count
from types import FrameType
from typing import Any


def killed_at_lines(prepare: Callable[[], Callable[[], object]], step: int) -> Iterator[bool]:
    """Run something in forked children, each killed ``step`` lines of the package later than the one before.

    ``prepare`` runs in this process before each child and gives what the child is to do. Yields after
    each child, at last True: that one was not killed any more.
    """
    for lines in count(1, step):
        work = prepare()
        child = os.fork()
        if child == 0:
            run_and_die(work, lines)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
            yield False
        else:
            assert os.waitstatus_to_exitcode(status) == 0
            yield True
            return


def run_and_die(work: Callable[[], object], lines: int) -> None:
    """In a forked child: work, be killed at the so-manieth line of the package, or end in order."""
    left = lines

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if "agent_world_distfs" not in frame.f_code.co_filename:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    try:
        sys.settrace(trace)
        work()
    except BaseException:  # noqa: BLE001  # whatever it is, it may not run on in the child
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
