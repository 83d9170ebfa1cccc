"""The context of one run: which store, and whether a person or a program reads the answer."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO

import click

from agent_world_distfs import HashAlgorithm, LocalCasStore, open_store
from agent_world_distfs.faces.cli import output
from agent_world_distfs.faces.cli.progress import Watcher, watching


@dataclass
class Invocation:
    """The settings that every command shares. A value given after the command's name wins."""

    location: str | None = None
    wants_json: bool = False

    def place(self) -> str:
        """Where the store is.

        Raises:
            click.UsageError: neither ``--store`` nor ``DISTFS_STORE`` says so.
        """
        if not self.location:
            raise click.UsageError("no store given: use --store LOCATION or set DISTFS_STORE")
        return self.location

    def is_missing(self) -> bool:
        """Whether ``make_store`` would make the store: only where nothing is yet."""
        try:
            return not os.listdir(self.place())
        except FileNotFoundError:
            return True
        except OSError:  # opening it will tell
            return False

    def make_store(self, hash_algorithm: HashAlgorithm | None = None) -> LocalCasStore:
        """The store, made if it is missing."""
        return open_store(self.place(), hash_algorithm=hash_algorithm)

    def open_store(self) -> LocalCasStore:
        """The store, which must exist, to change it."""
        return open_store(self.place(), create=False)

    def read_store(self) -> LocalCasStore:
        """The store, which must exist, to read it: others may be writing, and no right to write is needed."""
        return open_store(self.place(), create=False, read_only=True)

    def hold_store(self) -> LocalCasStore:
        """The store, which must exist, to read much of it: leased while that goes on, where we may write."""
        return open_store(self.place(), create=False, read_only=not os.access(self.place(), os.W_OK))

    def answer(self, document: object, text: Iterable[str] = ()) -> None:
        """Print the result: the document for a program, the lines for a person."""
        if self.wants_json:
            output.print_json(document)
            return
        for line in text:
            output.print_line(line)

    def watching(
        self, label: str, unit: str = "bytes", *, beside: BinaryIO | None = None
    ) -> AbstractContextManager[Watcher]:
        """Show progress while a person is watching, but not across content on the same terminal."""
        is_in_the_way = beside is not None and beside.isatty()
        return watching(label, unit, is_wanted=not (self.wants_json or is_in_the_way))


pass_invocation = click.make_pass_decorator(Invocation, ensure=True)
