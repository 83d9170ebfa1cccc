"""Commands about what changed: log history diff watch undo."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import click

from agent_world_distfs import Change, FileDifference, UndoReport
from agent_world_distfs.faces.cli import output
from agent_world_distfs.faces.cli.invocation import Invocation, pass_invocation
from agent_world_distfs.faces.cli.options import command, each, seconds, seq, takes_path
from agent_world_distfs.faces.cli.reader_gone import ended_with_the_reader
from agent_world_distfs.paths import check_prefix

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_takes_since = click.option("--since", type=seq, metavar="SEQ", help="Only changes after this state.")


def _takes_prefix(help_text: str = "Only paths that begin with this text, and imports.") -> _Decorator:
    return click.option("--prefix", default="", callback=each(check_prefix), help=help_text)


@command(
    "log", "distfs log", "distfs log --since 120 --prefix notes/", "distfs log --json | jq '.changes[-1]'"
)
@_takes_since
@_takes_prefix()
@pass_invocation
def log(invocation: Invocation, since: int | None, prefix: str) -> None:
    """List the known changes of the index, oldest first.

    The columns are the id of the transaction, its time (UTC), what it did, the path; then who did it and why,
    if recorded. The id begins with the number of the state after it, SEQ. A store keeps the last few thousand
    changes; `distfs settings keep_history on` makes it keep all, with their contents.
    """
    with invocation.read_store() as store:
        _print_changes(invocation, store.changes(since=since, prefix=prefix))


@command("history", "distfs history notes/today.txt")
@takes_path("path")
@pass_invocation
def history(invocation: Invocation, path: str) -> None:
    """List the known changes of PATH, oldest first.

    Every import of a whole index is among them, since it may have changed PATH.
    """
    with invocation.read_store() as store:
        _print_changes(invocation, store.history(path))


def _print_changes(invocation: Invocation, changes: Iterable[Change]) -> None:
    if invocation.wants_json:
        output.print_json_array("changes", changes)
        return
    for change in changes:
        output.print_line(_row(change))


def _row(change: Change) -> str:
    path = "the whole index" if change.is_import else output.shown_path(change.path)
    said = ": ".join(filter(None, (change.actor, change.message)))
    end = f"  ({output.printable(said)})" if said else ""
    time = output.shown_time(change.at_ms)
    return f"{change.transaction_id:<24}  {time}  {deed_of(change):<8}  {path}{end}"


def deed_of(change: Change | FileDifference) -> str:
    """What happened to the path, in one word."""
    if isinstance(change, Change) and change.is_import:
        return "imported"
    if change.before is None:
        return "added"
    return "removed" if change.after is None else "changed"


@command("diff", "distfs diff 120 134", "distfs diff 120")
@click.argument("seq_a", type=seq, metavar="SEQ")
@click.argument("seq_b", type=seq, metavar="[SEQ]", required=False)
@_takes_prefix("Only paths that begin with this text.")
@pass_invocation
def diff(invocation: Invocation, seq_a: int, seq_b: int | None, prefix: str) -> None:
    """List the paths whose content differs between two states of the index.

    A state is named by the number with which the id of a transaction begins: it is the state after that
    transaction. Without a second SEQ, the other state is the current one.
    """
    with invocation.read_store() as store:
        until = store.last_seq() if seq_b is None else seq_b
        found = list(store.diff(seq_a, until, prefix=prefix))
    lines = (f"{deed_of(each):<8}  {output.shown_path(each.path)}" for each in found)
    invocation.answer({"seq_a": seq_a, "seq_b": until, "differences": found}, lines)


@command("watch", "distfs watch", "distfs watch --prefix notes/ --json | while read -r change; do date; done")
@_takes_since
@_takes_prefix()
@click.option("--timeout", type=seconds, metavar="SECONDS", help="End when nothing came for this long.")
@pass_invocation
def watch(invocation: Invocation, *, since: int | None, prefix: str, timeout: float | None) -> None:
    """Print changes as they are committed, by any process, until Ctrl-C.

    Each change once, in order; all since SEQ, or from now on. With --json each line is one JSON document. A
    change that is no longer known when its turn comes is an error, never left out.
    """
    with (
        invocation.read_store() as store,
        store.watch(prefix=prefix, since=since, timeout_s=timeout) as changes,
        ended_with_the_reader(changes.close),
    ):
        for change in changes:
            output.print_line(output.json_text(change) if invocation.wants_json else _row(change))
            output.flush()


@command("undo", "distfs undo 134-0123456789abcdef", "distfs undo --session s1 --message 'went astray'")
@click.argument("transaction", required=False)
@click.option("--session", "session_id", metavar="ID", help="Undo all transactions of a session.")
@click.option("--actor", default="", metavar="NAME", help="Who undoes it, for the change log.")
@click.option("--message", default="", help="Why, for the change log.")
@pass_invocation
def undo(
    invocation: Invocation, *, transaction: str | None, session_id: str | None, actor: str, message: str
) -> None:
    """Restore what TRANSACTION changed, in one transaction that can itself be undone.

    TRANSACTION is an id as `distfs log` shows it. If a path no longer holds what the transaction left there,
    nothing is undone, and the exit code is 4. Needs the setting keep_history.
    """
    if (transaction is None) is (session_id is None):
        raise click.UsageError("one of the two: a TRANSACTION, or --session")
    with invocation.open_store() as store:
        if transaction is not None:
            report = store.undo_transaction(transaction, actor=actor, message=message)
        else:
            report = store.undo_session(session_id or "", actor=actor, message=message)
    invocation.answer(report, _undone(report))


def _undone(report: UndoReport) -> Iterator[str]:
    if report.transaction_id is None:
        yield "Nothing to undo: all paths hold what they held before."
        return
    yield f"Restored {output.counted(len(report.restored_paths), 'path')} ({report.transaction_id})."
    yield from output.listed(map(output.shown_path, report.restored_paths), len(report.restored_paths))
