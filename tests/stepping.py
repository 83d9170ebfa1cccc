"""Stopping a thread between any two bytecodes: schedules that are forced, not hoped for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType, ModuleType
from typing import Any, Self


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
    """A step that does ``what`` once, at the so-manieth bytecode, each counted when it is first met."""

    def __init__(self, number: int, what: Callable[[], object]) -> None:
        self._number = number
        self._what = what
        self._met: set[tuple[CodeType, int]] = set()
        self.is_done = False

    def __call__(self, frame: FrameType) -> None:
        self._met.add((frame.f_code, frame.f_lasti))
        if not self.is_done and len(self._met) == self._number:
            self.is_done = True
            self._what()


class Near(float):
    """A deadline that has not come whenever it is looked at, and comes soon once it is waited for."""

    def __new__(cls) -> Self:
        return super().__new__(cls, 1e12)

    def __sub__(self, _: float) -> float:
        return 0.001
