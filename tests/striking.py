"""An exception at a line of the package, as an interrupt or want of memory would raise it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import FrameType
from typing import Any, Self

import agent_world_distfs

PACKAGE = str(Path(agent_world_distfs.__file__).parent)


class RaiseAtLine:
    """Raises once, at the n-th line that this thread executes in the package, or in a part of it."""

    def __init__(self, number: int, error: type[BaseException], part: str = "") -> None:
        self.left = number
        self._error = error
        self._part = os.path.join(PACKAGE, part)
        self.has_raised = False

    def __enter__(self) -> Self:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(self._part):
            return None
        if event == "line" and not self.has_raised:
            self.left -= 1
            if self.left == 0:
                self.has_raised = True
                raise self._error
        return self._trace
