"""Import from real directories, and checkout to them."""

from __future__ import annotations

import os

from agent_world_distfs.engine.staging import open_place
from agent_world_distfs.errors import InvalidInputError
from agent_world_distfs.operations import tree_in, tree_out
from agent_world_distfs.records import LINKS, CheckoutReport, Link, Progress, TreeImportReport
from agent_world_distfs.store.base import StoreBase


class TreeMethods(StoreBase):
    """Import of a tree, and checkout."""

    def import_tree(
        self,
        directory: str | os.PathLike[str],
        prefix: str = "",
        *,
        mirror: bool = False,
        read_all: bool = False,
        progress: Progress | None = None,
    ) -> TreeImportReport:
        """Add the regular files below a real directory to the index below ``prefix``, in one commit.

        ``prefix`` is a directory of the index, by default its top. A path that already holds the same content
        keeps its time. With ``mirror`` paths below ``prefix`` that the directory does not have are removed in
        the same commit. A file whose size, times and inode match an earlier import is not read again, except
        with ``read_all``. Progress in files.

        Raises:
            NotFoundError: there is no such directory.
            InvalidInputError: it is not a directory; or it is a store, holds this store or lies in it.
            UnavailableError: a file kept changing while it was read.
            StorageError: something in it cannot be read. Whatever the error, nothing is named.
        """
        tree = tree_in.scan_tree(directory, prefix, self.location)
        options = tree_in.TreeOptions(mirror, read_all)
        return tree_in.import_tree(self._catalog, self._blobs, tree, options=options, progress=progress)

    def checkout(
        self,
        target: str | os.PathLike[str],
        prefix: str = "",
        *,
        link: Link = "copy",
        replace: bool = False,
        progress: Progress | None = None,
    ) -> CheckoutReport:
        """Write the files below ``prefix`` as the directory ``target``: verified, durable, all or nothing.

        ``prefix`` is a directory of the index, by default its top. The files are those of one snapshot; what
        is written or collected meanwhile does not show. Modification times are those of the index. ``target``
        must be missing or an empty directory; with ``replace`` it may be any directory, and the old one is
        kept beside it as ``TARGET.before-<id>``. Progress in files.

        ``link``: ``"copy"``; ``"reflink"``: files share their blocks with the store until they are written;
        ``"hardlink"``: large files are the store's own under another name, read-only, without times of their
        own. Writing to those in spite of that damages the store. What cannot be shared is copied; the report
        says how many files share their bytes.

        Raises:
            PathNotFoundError: there is nothing below ``prefix``.
            NotFoundError: the parent directory of ``target`` does not exist.
            InvalidInputError: ``target`` is not empty, is a file, a symlink or the current directory, or
                holds this store or lies in it; or paths cannot coexist in one directory (``a`` beside
                ``a/b``); they are listed.
            BlobMissingError, BlobHashMismatchError: the bytes of a file are gone or corrupt.
            UnavailableError: a read-only store, and a file was overwritten and collected meanwhile.
            StorageError: the target's disk failed. Whatever the error, the target stays as it was.
        """
        if link not in LINKS:
            raise InvalidInputError(f"link is one of {', '.join(LINKS)}, not {link!r}")
        with open_place(target, self.location, replace=replace) as place:
            return tree_out.checkout(self._catalog, self._blobs, place, prefix, link=link, progress=progress)
