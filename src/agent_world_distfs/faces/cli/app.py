"""The command itself: its sections, and how a run ends."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click
from click.shell_completion import shell_complete

from agent_world_distfs import __version__
from agent_world_distfs.faces.cli import (
    blobs,
    exchange,
    files,
    history,
    recovery,
    settings,
    snapshots,
    tour,
    trees,
    update,
    upkeep,
)
from agent_world_distfs.faces.cli.failures import ExitCode, report
from agent_world_distfs.faces.cli.invocation import Invocation
from agent_world_distfs.faces.cli.options import StoreCommand, StoreGroup, shared_options, write_examples
from agent_world_distfs.faces.cli.output import discard, flush

PROGRAM = "distfs"
COMPLETE_VARIABLE = "_DISTFS_COMPLETE"

SECTIONS: Mapping[str, Sequence[StoreCommand | StoreGroup]] = {
    "See it at work": (tour.tour,),
    "Files, the paths of the index": (
        files.write,
        files.read,
        files.rm,
        files.mv,
        files.cp,
        files.ls,
        files.stat,
        update.update,
    ),
    "Blobs, the bytes under their hash": (blobs.put, blobs.get, blobs.pin, blobs.unpin, blobs.pins),
    "Directories": (trees.import_tree, trees.checkout),
    "Between stores": (exchange.export, exchange.import_, exchange.pull, exchange.adopt),
    "What changed, and undoing it": (
        history.log,
        history.history,
        history.diff,
        history.watch,
        history.undo,
        settings.settings,
        settings.expire,
    ),
    "States kept by name": (snapshots.snapshot,),
    "Upkeep": (upkeep.init, upkeep.audit, upkeep.prune, recovery.du, upkeep.upgrade),
    "When something went wrong": (recovery.repair, recovery.backup, recovery.restore),
}


class _Application(click.Group):
    """The group of all commands. ``main`` always ends with one of our exit codes."""

    def main(self, args: Sequence[str] | None = None, *_: Any, **__: Any) -> Any:
        sys.exit(run(sys.argv[1:] if args is None else args))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(each.name or "", each.get_short_help_str()) for each in commands])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(
            formatter,
            "distfs tour docs",
            "export DISTFS_STORE=world",
            "echo hello | distfs write greetings/hello.txt",
            "distfs read greetings/hello.txt",
            "distfs write --help",
        )


@click.group(
    cls=_Application,
    name=PROGRAM,
    params=shared_options(envvar="DISTFS_STORE"),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
def cli() -> None:
    """A file layer for many processes.

    Bytes are stored once, under the hash of their content; an index of paths names them; and a write that
    states what it expects never overwrites somebody else's. A store is a plain directory: no server.
    """


for _commands in SECTIONS.values():
    for _command in _commands:
        cli.add_command(_command)


def main() -> None:
    """Run the command line of this process, and exit."""
    for ending in (signal.SIGTERM, signal.SIGHUP):  # by nohup the second is ignored, and stays so
        if signal.getsignal(ending) is signal.SIG_DFL:
            # As an exception, so that a half-written TARGET is cleared away.
            signal.signal(ending, lambda number, frame: sys.exit(128 + number))
    try:
        cli.main()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done: a second Ctrl-C has nothing to stop


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    invocation = Invocation()
    try:
        code = _complete_or_invoke(list(arguments), invocation)
        if sys.stdout is not None:
            flush()  # what did not arrive was not done
        return code
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - reported, each with its exit code
        # Parsing may have stopped before it came to --json.
        is_early = isinstance(error, click.UsageError) and "--json" in _before_double_dash(arguments)
        failure = report(error, as_json=invocation.wants_json or is_early)
        _end_output(is_wanted=failure not in (ExitCode.INTERRUPTED, ExitCode.CLOSED_PIPE))
        return failure


def _complete_or_invoke(arguments: list[str], invocation: Invocation) -> int:
    if instruction := os.environ.get(COMPLETE_VARIABLE):
        return shell_complete(cli, {"obj": invocation}, PROGRAM, COMPLETE_VARIABLE, instruction)
    _prepare_output()
    try:
        with cli.make_context(PROGRAM, arguments, obj=invocation) as context:
            return cli.invoke(context) or ExitCode.OK
    except click.exceptions.Exit as done:  # --help and --version
        return done.exit_code


def _prepare_output() -> None:
    """Have all of standard output arrive, or an error say that it did not."""
    if not isinstance(sys.stdout, io.TextIOWrapper):
        return
    if isinstance(sys.stdout.buffer, io.RawIOBase):  # PYTHONUNBUFFERED: a write that is cut short is no error
        whole = open(sys.stdout.fileno(), "wb", closefd=False)  # noqa: SIM115  # as long as the process lives
        sys.stdout = io.TextIOWrapper(whole, sys.stdout.encoding, line_buffering=True)
    sys.stdout.reconfigure(errors="backslashreplace")  # a locale that lacks a character is not an error


def _before_double_dash(arguments: Sequence[str]) -> Sequence[str]:
    return arguments[: arguments.index("--")] if "--" in arguments else arguments


def _end_output(*, is_wanted: bool) -> None:
    """Write what an error left unwritten, if that is wanted and possible."""
    if sys.stdout is None:  # closed by the caller
        return
    try:
        if is_wanted:
            sys.stdout.flush()
            return
    except OSError:
        pass  # the error that ended the run, or one that hides behind it
    discard(sys.stdout)
