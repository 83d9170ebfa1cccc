"""Files: paths that name blobs, written conditionally and read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized

from agent_world_distfs.engine import reading
from agent_world_distfs.engine.blob_reader import BlobReader
from agent_world_distfs.engine.conditions import check_form
from agent_world_distfs.errors import InvalidInputError
from agent_world_distfs.hashing import as_bytes, check_hash
from agent_world_distfs.operations import files, listing, writing_many
from agent_world_distfs.paths import check_prefix, normalize_path
from agent_world_distfs.protocols import BlobRow, CatalogWriter
from agent_world_distfs.records import Data, Expected, FileMetadata, Progress, Readable
from agent_world_distfs.store.base import StoreBase


class FileMethods(StoreBase):
    """Implements ``FileStore``."""

    # --- writing -------------------------------------------------------------------------------

    def write_file(self, path: str, data: Data) -> FileMetadata:
        """See ``FileStore.write_file``. Writing the same content again counts as a write."""
        return self.write_file_if_match(path, None, data)

    def write_file_if_match(self, path: str, expected_content_hash: Expected, data: Data) -> FileMetadata:
        """Make ``path`` hold ``data`` if it holds what is expected; check and change are one step.

        Raises:
            FileConflictError: it holds something else; nothing is changed.
        """
        path, expected = normalize_path(path), check_form(expected_content_hash)
        return self._intake.store(as_bytes(data), _name(path, expected))

    def write_file_stream(
        self, path: str, reader: Readable, *, expected_content_hash: Expected = None
    ) -> FileMetadata:
        """As ``write_file``, of all that ``reader`` returns, in bounded memory. The reader is not closed."""
        path, expected = normalize_path(path), check_form(expected_content_hash)
        return self._intake.store_stream(reader, _name(path, expected))

    def write_files(
        self, items: Iterable[tuple[str, Data | Readable]], *, progress: Progress | None = None
    ) -> int:
        """Make each path hold its content, bytes or a reader; returns how many items there were.

        Up to 1,000 items are one commit: all of them or none. More are written in chunks of 1,000, one after
        the other in the order of the items: after an error, the chunks before it stay. Where a path comes
        twice, the last one wins. Items are taken one by one; the small contents of a chunk are held in
        memory, large ones on disk. Readers are not closed. Progress in files, after each commit.
        """
        total = len(items) if isinstance(items, Sized) else None
        return writing_many.write_files(self._catalog, self._blobs, map(_check_item, items), total, progress)

    def link_file(
        self, path: str, content_hash: str, *, expected_content_hash: Expected = None
    ) -> FileMetadata:
        """Make ``path`` name a stored blob.

        Raises:
            BlobNotFoundError: it is not stored.
            FileConflictError: the path does not hold what was expected.
        """
        path, expected = normalize_path(path), check_form(expected_content_hash)
        check_hash(content_hash)
        return self._catalog.write(lambda tx: files.link_path(tx, self._blobs, path, content_hash, expected))

    def copy_file(self, source: str, target: str, *, expected_content_hash: Expected = None) -> FileMetadata:
        """Make ``target`` hold what ``source`` holds; no bytes are copied. The condition is on ``target``.

        Raises:
            PathNotFoundError: there is no ``source``.
            BlobMissingError: its bytes are gone.
            FileConflictError: ``target`` does not hold what was expected.
        """
        source, target = normalize_path(source), normalize_path(target)
        expected = check_form(expected_content_hash)
        return self._catalog.write(lambda tx: files.copy_path(tx, self._blobs, source, target, expected))

    def rename_file(
        self, source: str, target: str, *, expected_content_hash: Expected = None
    ) -> FileMetadata:
        """As ``copy_file``, and removes ``source`` in the same step."""
        source, target = normalize_path(source), normalize_path(target)
        expected = check_form(expected_content_hash)
        return self._catalog.write(lambda tx: files.move_path(tx, self._blobs, source, target, expected))

    def delete_file(self, path: str) -> bool:
        """See ``FileStore.delete_file``."""
        return self.delete_file_if_match(path, None)

    def delete_file_if_match(self, path: str, expected_content_hash: Expected) -> bool:
        """Remove ``path`` if it holds what is expected; False if it was expected to be absent and is.

        Raises:
            FileConflictError: it holds something else, or a hash was expected and there is no file.
        """
        path, expected = normalize_path(path), check_form(expected_content_hash)
        return self._remove(lambda tx: files.remove_path(tx, path, expected))

    def delete_files(self, paths: Iterable[str]) -> int:
        """Remove paths in one commit; return how many were there."""
        if isinstance(paths, str):
            raise TypeError("paths is an iterable of paths, not one path")
        normal = [normalize_path(path) for path in paths]
        return self._remove(lambda tx: files.remove_paths(tx, normal))

    # --- reading -------------------------------------------------------------------------------

    def read_file(self, path: str) -> bytes:
        """See ``FileStore.read_file``."""
        return self.read_file_with_metadata(path)[1]

    def read_file_with_metadata(self, path: str) -> tuple[FileMetadata, bytes]:
        """Metadata and content of one snapshot: what to edit, and what to expect when writing it back.

        Raises:
            PathNotFoundError: there is no such file.
            BlobMissingError: its bytes are gone.
            BlobHashMismatchError: its bytes are corrupt.
        """
        return reading.read_path(self._catalog, self._blobs, normalize_path(path))

    def open_file(self, path: str) -> BlobReader:
        """The content as a stream like ``open_blob``'s, with ``.metadata`` of the same snapshot."""
        return reading.open_path(self._catalog, self._blobs, normalize_path(path))

    def stat_file(self, path: str) -> FileMetadata | None:
        """See ``FileStore.stat_file``."""
        return self._catalog.stat_file(normalize_path(path))

    def list_files(
        self, *, prefix: str = "", start_after: str = "", limit: int | None = None
    ) -> list[FileMetadata]:
        """Entries ascending by the UTF-8 bytes of the path, of one snapshot.

        ``prefix`` is a plain string prefix; ``start_after`` continues after a path, whether it exists or not;
        ``limit`` is the most to return.
        """
        check_prefix(prefix)
        check_prefix(start_after)
        most = -1 if limit is None else _check_limit(limit)
        return self._catalog.read(lambda tx: list(tx.iter_files(prefix, start_after, most)))

    def iter_files(self, *, prefix: str = "") -> Iterator[FileMetadata]:
        """As ``list_files``, one by one: one snapshot, taken at the first step, in bounded memory."""
        return listing.iter_index(self._catalog, check_prefix(prefix))


def _name(path: str, expected: Expected) -> Callable[[CatalogWriter, BlobRow], FileMetadata]:
    return lambda tx, row: files.name_blob(tx, path, expected, row)


def _check_item(item: tuple[str, Data | Readable]) -> tuple[str, bytes | Readable]:
    try:
        path, content = item
    except ValueError:
        raise TypeError("an item is a pair of a path and its content") from None
    if isinstance(content, bytes | bytearray | memoryview):
        return normalize_path(path), as_bytes(content)
    if not hasattr(content, "read"):
        raise TypeError(f"content is bytes or a reader, not {type(content).__name__}")
    return normalize_path(path), content


def _check_limit(limit: int) -> int:
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise TypeError(f"limit is a number or None, not {type(limit).__name__}")
    if limit < 0:
        raise InvalidInputError(f"limit is negative: {limit}")
    return min(limit, (1 << 63) - 1)  # of 64 bits are the catalog's numbers
