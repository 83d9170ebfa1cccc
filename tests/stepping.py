"""Stopping a thread between any two bytecodes: schedules that are forced, not hoped for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import Any


@contextmanager
def stepping(step: Callable[[FrameType], None], *modules: ModuleType) -> Iterator[None]:
    """While this thread runs code of these modules, call ``step`` before each bytecode, with its frame."""
    files = {module.__file__ for module in modules}

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in files:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            step(frame)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


class At:
    """A step that does ``what`` once, at the so-manieth bytecode."""

    def __init__(self, number: int, what: Callable[[], object]) -> None:
        self._left = number
        self._what = what
        self.is_done = False

    def __call__(self, _: FrameType) -> None:
        self._left -= 1
        if self._left == 0:
            self.is_done = True
            self._what()
