"""Whether a store that is open still stands at its location.

Descriptors stay with a directory that is moved or removed, paths lead to whatever has taken its place. A
store that went on would acknowledge writes into a directory that nobody will look into, and put the bytes of
large blobs into that of another store. So whatever changes the store asks here first, under the write lock.

What is compared is the identity of the catalog's file. It cannot pass to another file while a connection
holds it open. Where none does, as after a fork, it can; then all is opened anew, at the location, and the
first connection asks what is there for the store's own key.
"""

from __future__ import annotations

import os

from agent_world_distfs.errors import IncompatibleStoreError


class Presence:
    """The file at ``path`` as it is now, to be compared later: a look at it costs about a microsecond."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._identity = _identity_of(path)

    def require(self) -> None:
        """Raise unless the same file stands there.

        Raises:
            IncompatibleStoreError: it does not. Neither StoreMovedError, which says where the store is
                now, as nothing here can; nor UnavailableError, since no waiting helps; nor a NotFoundError,
                at which callers make anew what they miss. To open what is there, if it is meant, helps.
        """
        if _identity_of(self._path) != self._identity:
            raise not_present(self._path)


def not_present(path: str) -> IncompatibleStoreError:
    """The error where another catalog, or none, is at ``path``."""
    reason = (
        "the store was moved, removed or replaced while it was open; nothing was written. "
        "Close it, and open the one that is meant"
    )
    return IncompatibleStoreError(os.path.dirname(path), reason)


def _identity_of(path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino
