"""Real directories in and out."""

from __future__ import annotations

import os

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
        """Lay the regular files below a real directory over the index below ``prefix``, in one commit.

        ``prefix`` is a directory of the index, by default its top. What holds the same content already
        keeps its time. With ``mirror`` paths below ``prefix`` that the directory does not have are
        removed in the same commit. A file that is as an earlier import saw it (size, times, inode) is
        not read again, except with ``read_all``. Progress in files.

        Raises:
            NotFoundError: there is no such directory.
            InvalidInputError: it is no directory; or it is a store, holds this store or lies in it.
            UnavailableError: a file did not hold still while it was read.
            StorageError: something in it cannot be read. Whichever it is, nothing is named.
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
        """Write the files below ``prefix`` out as the directory ``target``: verified, durable, at once.

        ``prefix`` is a directory of the index, by default its top. One snapshot; what is written or
        collected meanwhile does not show. Modification times are those of the index. ``target`` must
        be missing or an empty directory; with ``replace`` it may be any, and the old one is kept
        beside it as ``TARGET.before-<id>``. Progress in files.

        ``link``: ``"copy"``; ``"reflink"``: files share their blocks with the store until they are written;
        ``"hardlink"``: large files are the store's own under another name, read-only, without times of their
        own. Whoever writes to those all the same damages the store. What cannot share is copied; the report
        says how many do.

        Raises:
            PathNotFoundError: there is nothing below ``prefix``.
            NotFoundError: ``target`` is to be in a directory that does not exist.
            InvalidInputError: ``target`` is not empty, a file, a symlink, or holds this store or lies in
                it; or paths cannot stand in one directory (``a`` beside ``a/b``); they are listed.
            BlobMissingError, BlobHashMismatchError: the bytes of a file are gone or rotten.
            UnavailableError: a read-only store, and a file was overwritten and collected meanwhile.
            StorageError: the target's disk failed. Whichever it is, the target is as it was.
        """
        if link not in LINKS:
            raise InvalidInputError(f"link is one of {', '.join(LINKS)}, not {link!r}")
        with tree_out.open_place(target, self.location, replace=replace) as place:
            return tree_out.checkout(self._catalog, self._blobs, place, prefix, link=link, progress=progress)
