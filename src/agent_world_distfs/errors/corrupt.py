"""Distrust this copy and repair it."""

from __future__ import annotations

from agent_world_distfs.errors.base import WorldError


class CorruptError(WorldError):
    """What is stored is not what was stored: distrust this copy, repair it.

    ``location``: of the other store whose damage it is: the source of a pull, a backup, an original; None: of
    the store itself.
    """

    location: str | None = None


class BlobHashMismatchError(CorruptError):
    """Bytes do not hash to their name.

    ``actual`` is what they hash to; empty if the disk cannot read them, where that counts as corrupt.
    ``path``: the file that was read, if it was read by its path.
    """

    path: str | None = None

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(expected, actual)
        self.expected = expected
        self.actual = actual

    def __str__(self) -> str:
        sentence = (
            f"the bytes hash to {self.actual}, expected {self.expected}"
            if self.actual
            else f"the bytes of blob {self.expected} cannot be read"
        )
        return sentence if self.path is None else f"{self.path!r}: {sentence}"


class BlobMissingError(CorruptError):
    """The bytes of a blob that something names are gone. ``path`` names it; None if no path does.

    Not a FileNotFoundError: code that handles that by creating the file again would hide the loss.
    """

    def __init__(self, content_hash: str, path: str | None) -> None:
        super().__init__(content_hash, path)
        self.content_hash = content_hash
        self.path = path

    def __str__(self) -> str:
        named_by = "a pin, a snapshot or the history" if self.path is None else repr(self.path)
        return f"the bytes of blob {self.content_hash}, named by {named_by}, are gone from the store"


class CatalogError(CorruptError):
    """The catalog is damaged, or is not the database it should be."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the catalog is damaged: {self.reason}"


class ManifestError(CorruptError):
    """The bytes are not a manifest in the one canonical form, or it states something untrue."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"not a valid manifest: {self.reason}"
