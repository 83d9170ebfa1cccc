"""The quarantine of a store: damaged bytes that were replaced, or could not be.

``quarantine/<hash>.<label>``, where the label begins the hash that the bytes really have; where that is not
known, since they cannot be read or are no file, it is the number of the file. The store never reads it again;
it can be removed to free space.
"""

from __future__ import annotations

import contextlib
import os

from agent_world_distfs.flushing import flush, flush_directory
from agent_world_distfs.os_failures import translated

NAME = "quarantine"


class Quarantine:
    """Made at the first use."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._place = os.path.join(root, NAME)

    def take(self, name: str, path: str, *, is_linked: bool) -> str:
        """Give what stands at ``path`` a second name here or, where it can have only one, move it."""
        target = self._target(name)
        with translated(target):
            if is_linked:
                with contextlib.suppress(FileExistsError):  # from a run that was cut off
                    os.link(path, target)
            else:
                os.rename(path, target)
                flush_directory(os.path.dirname(path))
            flush_directory(self._place)
        return f"{NAME}/{name}"

    def write(self, name: str, data: bytes) -> str:
        """Keep bytes that are not a file."""
        target = self._target(name)
        with translated(target):
            fd = os.open(target, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                flush(fd)
            flush_directory(self._place)
        return f"{NAME}/{name}"

    def _target(self, name: str) -> str:
        with translated(self._place):
            with contextlib.suppress(FileExistsError):
                os.mkdir(self._place)
            flush_directory(self._root)  # even if it existed: its creator may have died before this
        return os.path.join(self._place, name)
