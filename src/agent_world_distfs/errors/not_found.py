"""Look elsewhere: what was asked for is not here."""

from __future__ import annotations

import errno
from typing import Any

from agent_world_distfs.errors.base import WorldError

NAMES_TOLD = 10
"""How many a message names."""


def _told(*names: str) -> str:
    told = ", ".join(map(repr, names[:NAMES_TOLD]))
    return f"{told} and {len(names) - NAMES_TOLD} more" if len(names) > NAMES_TOLD else told


class NotFoundError(WorldError, FileNotFoundError):
    """What was asked for is not here. Also a FileNotFoundError with errno, strerror and filename."""

    def __init__(self, name: str, sentence: str) -> None:
        super().__init__(errno.ENOENT, sentence, name)

    def __str__(self) -> str:
        return f"{self.strerror}: {self.filename}"

    def __reduce__(self) -> tuple[Any, ...]:
        # OSError pickles errno, text and name; the constructors here take other values.
        return (type(self), self._values(), self.__dict__)

    def _values(self) -> tuple[str, ...]:
        return (self.filename, self.strerror or "")


class BlobNotFoundError(NotFoundError):
    """No blob of this hash is stored. ``location``: of the other store that lacks it, as a pull finds it."""

    location: str | None = None

    def __init__(self, content_hash: str) -> None:
        super().__init__(content_hash, "no such blob")
        self.content_hash = content_hash

    def _values(self) -> tuple[str, ...]:
        return (self.content_hash,)


class PathNotFoundError(NotFoundError):
    """The index has no file at this path. ``others``: more such paths, where several were wanted at once."""

    others: tuple[str, ...] = ()

    def __init__(self, path: str, *others: str) -> None:
        super().__init__(path, "no such path")
        self.path = path
        if others:
            self.others = others

    def _values(self) -> tuple[str, ...]:
        return (self.path, *self.others)

    def __str__(self) -> str:
        return f"no such path: {_told(self.path, *self.others)}"


class SnapshotNotFoundError(NotFoundError):
    """The store keeps no snapshot of this name. ``others``: more such names, where several were wanted."""

    others: tuple[str, ...] = ()

    def __init__(self, name: str, *others: str) -> None:
        super().__init__(name, "no such snapshot")
        self.name = name
        if others:
            self.others = others

    def _values(self) -> tuple[str, ...]:
        return (self.name, *self.others)

    def __str__(self) -> str:
        return f"no such snapshot: {_told(self.name, *self.others)}"


class TransactionForgottenError(NotFoundError):
    """Whether the transaction was committed is no longer known: it is older than what is kept."""

    def __init__(self, transaction_id: str) -> None:
        super().__init__(transaction_id, "no such transaction among those that are kept")
        self.transaction_id = transaction_id

    def _values(self) -> tuple[str, ...]:
        return (self.transaction_id,)
