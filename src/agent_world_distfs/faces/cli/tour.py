"""The command tour: a guided walk through every promise, on a directory of the caller."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import click

from agent_world_distfs import InvalidInputError, Progress
from agent_world_distfs.faces.cli import output
from agent_world_distfs.faces.cli.failures import ExitCode
from agent_world_distfs.faces.cli.invocation import Invocation, pass_invocation
from agent_world_distfs.faces.cli.options import command, takes_place

if TYPE_CHECKING:
    from agent_world_distfs.faces.tour import Step, StepReport, TourReport

WORKSHOP_PREFIX = "distfs-tour-"


@command("tour", "distfs tour docs/", "distfs tour docs/ --keep tour-stores")
@takes_place("directory")
@click.option(
    "--keep", metavar="DIR", type=click.Path(readable=False), help="Make the stores in DIR, and keep them."
)
@pass_invocation
def tour(invocation: Invocation, *, directory: str, keep: str | None) -> int:
    """Show the store at work on DIRECTORY, promise by promise.

    Stores the directory, lets two processes race for one file, breaks a copy on purpose, audits, prunes,
    exports, pulls all of it into a second store, and compares that with DIRECTORY byte for byte. DIRECTORY
    is only read. The tour makes stores of its own, --store or not, in a temporary directory (TMPDIR says
    where) that it removes at the end; they need room for DIRECTORY twice.

    The exit code is 0 if every promise held, else 1.
    """
    # Loaded here, so that no other command waits for what only the tour needs.
    from agent_world_distfs.faces.tour import run_tour

    _require_directory(directory)
    guide = _Guide(invocation)
    with _kept_workshop(keep, directory) if keep is not None else _passing_workshop(directory) as workshop:
        guide.welcome(directory)
        report = run_tour(directory, workshop=workshop, guide=guide)
    guide.farewell(report, keep)
    return ExitCode.OK if report.has_held() else ExitCode.OTHER


class _Guide:
    """Says what goes on as it goes on; with ``--json`` only at the end."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation

    def welcome(self, directory: str) -> None:
        """Say what is toured."""
        self._say([f"A tour of {output.printable(os.path.abspath(directory))}"])

    def during(self, step: Step) -> AbstractContextManager[Progress | None]:
        """See ``tour.Guide``."""
        from agent_world_distfs.faces.cli import tour_words

        self._say(tour_words.heading(step))
        return self._invocation.watching(step.name, step.unit)

    def after(self, report: StepReport) -> None:
        """See ``tour.Guide``."""
        from agent_world_distfs.faces.cli import tour_words

        self._say(tour_words.findings(report))

    def farewell(self, report: TourReport, kept: str | None) -> None:
        """Give the answer of the command."""
        from agent_world_distfs.faces.cli import tour_words

        verdict = {"has_held": report.has_held(), "kept": None if kept is None else os.path.abspath(kept)}
        self._invocation.answer(output.fields(report) | verdict, tour_words.ending(report, kept))

    def _say(self, lines: Iterator[str] | list[str]) -> None:
        if self._invocation.wants_json:
            return
        for line in lines:
            output.print_line(line)
        output.standard_output().flush()  # step by step, in a pipe too


# --- where the directory and the stores are -----------------------------------------------------


def _require_directory(directory: str) -> None:
    """Refuse what cannot be toured before anything is made for it."""
    try:
        os.scandir(directory).close()
    except NotADirectoryError:
        raise InvalidInputError(f"{directory}: not a directory") from None


@contextmanager
def _passing_workshop(directory: str) -> Iterator[str]:
    """A temporary directory, outside of the one that is toured, that is gone when the block ends."""
    workshop = tempfile.mkdtemp(prefix=WORKSHOP_PREFIX, dir=_temporary_place(directory))
    try:
        yield workshop
    finally:
        with _undisturbed():
            shutil.rmtree(workshop)


def _temporary_place(directory: str) -> str:
    for place in (tempfile.gettempdir(), "/var/tmp", "/tmp"):  # noqa: S108 - only their names are fixed
        if os.access(place, os.W_OK) and not _is_within(place, directory):
            return place
    raise InvalidInputError("every temporary directory is within DIRECTORY: name a place by --keep DIR")


@contextmanager
def _kept_workshop(place: str, directory: str) -> Iterator[str]:
    """``place``, missing or empty; restored if the block does not complete."""
    if _is_within(place, directory):
        raise InvalidInputError(f"{place}: within DIRECTORY, which is only read")
    is_new = not os.path.lexists(place)
    if is_new:
        os.mkdir(place)
    elif os.listdir(place):
        raise InvalidInputError(f"{place}: not empty")
    try:
        yield place
    except BaseException:
        with _undisturbed():
            for name in os.listdir(place):
                shutil.rmtree(os.path.join(place, name))
            if is_new:
                os.rmdir(place)
        raise


def _is_within(place: str, directory: str) -> bool:
    outer = os.path.realpath(directory)
    return os.path.commonpath([os.path.realpath(place), outer]) == outer


@contextmanager
def _undisturbed() -> Iterator[None]:
    """No second Ctrl-C: what is cleared away then is cleared away wholly."""
    if threading.current_thread() is not threading.main_thread():  # only there do signals arrive
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
