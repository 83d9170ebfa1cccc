"""The command update: change a file by a command of the caller, again after each conflict."""

from __future__ import annotations

import signal
import subprocess

import click

from agent_world_distfs import Retry
from agent_world_distfs.faces.cli.failures import CommandFailedError
from agent_world_distfs.faces.cli.invocation import Invocation, pass_invocation
from agent_world_distfs.faces.cli.options import command, seconds, takes_path


@command(
    "update",
    "distfs update counters/visits -- sh -c 'read n; echo $((n + 1))'",
    "distfs update notes.txt -- sort -u",
    "distfs update config.json -- jq '.retries = 3'",
)
@takes_path("path")
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND...")
@click.option(
    "--deadline",
    "deadline_s",
    type=seconds,
    default=Retry().deadline_s,
    show_default=True,
    metavar="SECONDS",
    help="How long to retry after conflicts and to wait for other updaters of PATH.",
)
@pass_invocation
def update(invocation: Invocation, *, path: str, words: tuple[str, ...], deadline_s: float) -> None:
    """Make PATH hold what COMMAND makes of its content, and print the content hash.

    COMMAND reads the content from its standard input, nothing if PATH is not there, and writes the new
    content to its standard output. If somebody else has changed PATH meanwhile, it runs again on what is
    there now, so that nobody's change is lost; other updaters of PATH wait their turn. If COMMAND fails,
    nothing changes and the exit code is 9. If the content stays the same, nothing is written. The store is
    created if it is missing.
    """
    with invocation.make_store() as store:
        retry = Retry(deadline_s=deadline_s)
        file = store.update_file(path, lambda content: _run(words, content or b""), retry=retry)
    assert file is not None  # a command cannot say that the file is to go
    invocation.answer(file, [file.content_hash])


def _run(words: tuple[str, ...], content: bytes) -> bytes:
    try:
        done = subprocess.run(words, input=content, stdout=subprocess.PIPE, check=False)
    except FileNotFoundError:
        raise CommandFailedError(words[0], 127, "there is no such command") from None
    except OSError as error:
        raise CommandFailedError(words[0], 126, f"it cannot be run: {error.strerror}") from error
    if done.returncode < 0:
        raise CommandFailedError(
            words[0], 128 - done.returncode, f"it was ended by {_name_of(-done.returncode)}"
        )
    if done.returncode:
        raise CommandFailedError(words[0], done.returncode, f"it ended with exit code {done.returncode}")
    return done.stdout


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time one
        return f"signal {number}"
