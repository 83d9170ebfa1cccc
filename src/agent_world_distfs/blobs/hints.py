"""Hints: what saves work the next time, and may be lost at any time.

``hints/<name>``: a checksum of the rest, and the rest. Written beside and renamed, never flushed. A hint that
is missing, torn, old or unreadable is ignored; they can be removed to free space. Only the newest are kept:
some are never written again, such as those of directories that were imported once.
"""

from __future__ import annotations

import contextlib
import os

from blake3 import blake3

DIRECTORY = "hints"

MOST = 32
"""How many are kept."""


class Hints:
    """Those of one store."""

    def __init__(self, root: str) -> None:
        self._place = os.path.join(root, DIRECTORY)

    def read(self, name: str) -> bytes | None:
        """What was written last; None if there is nothing whole."""
        try:
            with open(os.path.join(self._place, name), "rb") as file:
                checksum, data = file.read(32), file.read()
        except OSError:
            return None
        return data if blake3(data).digest() == checksum else None

    def write(self, name: str, data: bytes, temporary: str) -> None:
        """Write it, if that can be done. ``temporary``: a new file on the same file system."""
        with contextlib.suppress(OSError):
            with open(temporary, "xb") as file:
                file.write(blake3(data).digest())
                file.write(data)
            with contextlib.suppress(FileExistsError):
                os.mkdir(self._place)
            os.rename(temporary, os.path.join(self._place, name))
        with contextlib.suppress(OSError):
            os.unlink(temporary)  # where it could not be renamed
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        with contextlib.suppress(OSError):
            with os.scandir(self._place) as entries:
                by_age = sorted(entries, key=lambda entry: entry.stat().st_mtime_ns)
            for entry in by_age[:-MOST]:
                os.unlink(entry.path)
