"""Types of the store's arguments, besides paths and hashes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, Protocol, get_args

Data = bytes | bytearray | memoryview
"""Content; counted in bytes. A mutable one is copied before it is hashed."""


class Readable(Protocol):
    """What content is streamed from: any binary file object."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes, empty only at the end."""
        ...


Progress = Callable[[int, int | None], None]
"""Called with the amount done and the total (None: unknown), in the unit that the operation names."""

Link = Literal["copy", "reflink", "hardlink"]
"""How a checkout makes its files: see ``checkout``."""

LINKS: Final[tuple[Link, ...]] = get_args(Link)


class Absent(Enum):
    """The type of ABSENT, an Enum of one member so that identity survives pickling."""

    ABSENT = "absent"

    def __str__(self) -> str:
        return "no file"

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent.ABSENT
"""As an expected content hash: the path must not exist."""

Expected = str | Absent | None
"""What a conditional write demands: a content hash, ABSENT, or None for no condition."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How long to retry after a conflict: until ``deadline_s`` have passed or ``max_attempts`` were made.

    The wait before an attempt is random, up to ``base_s``, twice that, and so on, at most ``cap_s``.
    """

    deadline_s: float = 60.0
    max_attempts: int = 100
    base_s: float = 0.001
    cap_s: float = 0.1


class HashAlgorithm(Enum):
    """The function that names blobs; fixed for the life of a store. Both give 32 bytes."""

    BLAKE3 = "blake3"
    SHA256 = "sha256"
