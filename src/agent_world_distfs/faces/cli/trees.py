"""Commands between real directories and the index: import-tree checkout."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

import click

from agent_world_distfs import CheckoutReport, InvalidInputError, Link, TreeImportReport
from agent_world_distfs.faces.cli import output
from agent_world_distfs.faces.cli.invocation import Invocation, pass_invocation
from agent_world_distfs.faces.cli.options import command, takes_directory, takes_place


@command("import-tree", "distfs import-tree docs/", "distfs import-tree build/site site --mirror")
@takes_place("directory")
@takes_directory("prefix")
@click.option("--mirror", is_flag=True, help="Also remove files below PREFIX that DIRECTORY does not have.")
@click.option("--read-all", is_flag=True, help="Also read files that look unchanged since an earlier import.")
@pass_invocation
def import_tree(invocation: Invocation, *, directory: str, prefix: str, mirror: bool, read_all: bool) -> None:
    """Store every file below DIRECTORY, all of them in one step.

    They are added to the index below PREFIX, a directory of the index (by default its top): files that are
    only in the index stay, unless --mirror is given. What is not a regular file, or has a name that is not
    UTF-8, is left out and reported. The store is created if it is missing.
    """
    _require_directory(directory)
    with invocation.make_store() as store, invocation.watching("import-tree", "files") as progress:
        report = store.import_tree(directory, prefix, mirror=mirror, read_all=read_all, progress=progress)
    invocation.answer(report, _imported(report))


def _require_directory(directory: str) -> None:
    """Refuse what is not a directory before a store is created for it."""
    if not stat.S_ISDIR(os.stat(directory).st_mode):
        raise InvalidInputError(f"{directory}: not a directory")


def _imported(report: TreeImportReport) -> Iterator[str]:
    read = f"{output.counted(report.total_files, 'file')} ({output.shown_size(report.total_bytes)})"
    if report.unread_files:
        read += f", {report.unread_files:,} of them known to be unchanged"
    yield f"Read {read}: {report.added:,} added, {report.changed:,} changed, {report.removed:,} removed."
    skipped = list(zip(report.skipped_paths, report.skipped_reasons, strict=True))
    for reason in sorted(set(report.skipped_reasons)):
        paths = [path for path, why in skipped if why == reason]
        yield f"Left out {len(paths):,} ({reason}):"
        yield from output.listed(map(output.shown_path, paths), len(paths))


@command("checkout", "distfs checkout site/", "distfs checkout site/ docs --replace")
@takes_place("target")
@takes_directory("prefix")
@click.option("--replace", is_flag=True, help="Replace TARGET; the old one is kept as TARGET.before-<id>.")
@click.option(
    "--link",
    type=click.Choice(["copy", "reflink", "hardlink"]),
    default="copy",
    help="Let files share their bytes with the store. Never write to hard links.",
)
@pass_invocation
def checkout(invocation: Invocation, *, target: str, prefix: str, replace: bool, link: Link) -> None:
    """Write the files of the index as the directory TARGET.

    PREFIX is a directory of the index: docs means docs/..., never docs2/... By default everything is written.
    TARGET must be missing or empty, unless --replace is given. Paths that cannot coexist in a directory, such
    as a beside a/b, are reported before the first byte is written.
    """
    with invocation.hold_store() as store, invocation.watching("checkout", "files") as progress:
        report = store.checkout(target, prefix, link=link, replace=replace, progress=progress)
    invocation.answer(output.fields(report) | {"target": target}, _checked_out(report, target, link))


def _checked_out(report: CheckoutReport, target: str, link: Link) -> Iterator[str]:
    written = f"{output.counted(report.total_files, 'file')} ({output.shown_size(report.total_bytes)})"
    yield f"Wrote {written} to {output.printable(target)}."
    if link != "copy":
        copied = report.total_files - report.linked_files
        yield f"{report.linked_files:,} share their bytes with the store ({link}), {copied:,} were copied."
    if report.previous is not None:
        yield f"What was there is kept in {output.printable(report.previous)}."
