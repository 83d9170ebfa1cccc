"""How errors end a command: a table of exit codes, and a sentence or a JSON object on standard error."""

from __future__ import annotations

import os
import pwd
import shlex
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import IntEnum
from typing import TypeGuard

import click

from agent_world_distfs.errors import (
    BlobHashMismatchError,
    BlobMissingError,
    BlobNotFoundError,
    CatalogError,
    ConflictError,
    CorruptError,
    IncompatibleStoreError,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknownError,
    StorageError,
    StorageFullError,
    StorageReadOnlyError,
    UnavailableError,
    WorldError,
)
from agent_world_distfs.faces.cli.output import discard, json_text, printable


class ExitCode(IntEnum):
    """What the exit status of ``distfs`` means: by what the caller does next."""

    OK = 0
    OTHER = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    CORRUPT = 5
    UNAVAILABLE = 6
    INCOMPATIBLE = 7
    OUTCOME_UNKNOWN = 8
    COMMAND_FAILED = 9
    INTERRUPTED = 130
    CLOSED_PIPE = 141


class CommandFailedError(Exception):
    """The command that was to make the new content did not. ``exit_code``: as a shell would say it."""

    def __init__(self, command: str, exit_code: int, reason: str) -> None:
        super().__init__(command, exit_code, reason)
        self.command = command
        self.exit_code = exit_code
        self.reason = reason

    def __str__(self) -> str:
        return f"nothing was changed, since {self.command!r} failed: {self.reason}"


# The first row that fits counts: several of ours are OSErrors too.
EXIT_CODES: tuple[tuple[type[BaseException], ExitCode], ...] = (
    (click.UsageError, ExitCode.USAGE),
    (InvalidInputError, ExitCode.USAGE),
    (NotFoundError, ExitCode.NOT_FOUND),
    (ConflictError, ExitCode.CONFLICT),
    (CorruptError, ExitCode.CORRUPT),
    (UnavailableError, ExitCode.UNAVAILABLE),
    (StorageError, ExitCode.UNAVAILABLE),
    (IncompatibleStoreError, ExitCode.INCOMPATIBLE),
    (OutcomeUnknownError, ExitCode.OUTCOME_UNKNOWN),
    (CommandFailedError, ExitCode.COMMAND_FAILED),
    (BrokenPipeError, ExitCode.CLOSED_PIPE),
    (FileNotFoundError, ExitCode.NOT_FOUND),  # the caller's own SOURCE, or the directory of TARGET
    (IsADirectoryError, ExitCode.USAGE),  # the same
    (OSError, ExitCode.UNAVAILABLE),
    (KeyboardInterrupt, ExitCode.INTERRUPTED),
)


def exit_code(error: BaseException) -> ExitCode:
    """The exit code for ``error``."""
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), ExitCode.OTHER)


@contextmanager
def noting_if_missing(sentence: str, names: Sequence[str]) -> Iterator[None]:
    """Where one step was to be about several names, an error that some are missing adds this sentence."""
    try:
        yield
    except NotFoundError as error:
        if len(names) > 1:
            error.add_note(sentence)
        raise


def report(error: BaseException, *, as_json: bool) -> ExitCode:
    """Say on standard error what went wrong, and return the exit code, even if nobody listens."""
    code = exit_code(error)
    if sys.stderr is None:  # closed by the caller, and print would take standard output instead
        return code
    try:
        if os.environ.get("DISTFS_DEBUG"):
            traceback.print_exception(error, file=sys.stderr)
        if code not in (ExitCode.INTERRUPTED, ExitCode.CLOSED_PIPE):
            print(json_text({"error": document(error)}) if as_json else _for_people(error), file=sys.stderr)
        sys.stderr.flush()
    except OSError:
        discard(sys.stderr)
    return code


def document(error: BaseException) -> dict[str, object]:
    """What JSON says of an error: its class, its sentence, and its public values."""
    if isinstance(error, click.UsageError):
        return {"kind": "UsageError", "message": error.format_message()}
    values = {name: value for name, value in vars(error).items() if not name.startswith("_")}
    if isinstance(error, ConflictError) and error.conflicts != (error,):
        values["conflicts"] = [document(conflict) for conflict in error.conflicts]
    if type(error) is NotFoundError:  # a store, a pin: it has no value but the name of OSErrors
        values["name"] = error.filename
    if _is_from_the_system(error):
        values.update(path=error.filename, errno=error.errno)
    return {"kind": type(error).__name__, "message": _sentence(error), **values}


def _for_people(error: BaseException) -> str:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return error.format_message()  # the help text itself
    lines = [f"distfs: {printable(_sentence(error))}"]
    if isinstance(error, click.UsageError) and error.ctx is not None:
        lines.insert(0, error.ctx.get_usage())
        lines.append(f"Try '{error.ctx.command_path} --help'.")
    if isinstance(error, click.NoSuchOption) and not error.option_name.startswith("--"):
        lines.append("If it is the beginning of a path, put the path after --, as in 'distfs rm -- -odd'.")
    if isinstance(error, BlobMissingError | BlobHashMismatchError | CatalogError):
        lines.extend(_how_to_repair(error))
    if isinstance(error, StorageFullError):
        lines.append("Make room there: in a store by 'distfs prune', after 'distfs rm' of what can go.")
    if exit_code(error) is ExitCode.OTHER and not os.environ.get("DISTFS_DEBUG"):
        lines.append("This should not happen; DISTFS_DEBUG=1 shows where it did.")
    return "\n".join(lines)


def _how_to_repair(error: CorruptError) -> Iterator[str]:
    # A store whose catalog is damaged may not open, and so not be audited.
    look, tells = ("repair --dry-run", "says what can be saved")
    if not isinstance(error, CatalogError):
        look, tells = ("audit --verify", "lists all damage")
    if error.location is None:
        yield f"'distfs {look}' {tells}, 'distfs repair --from SOURCE' repairs it."
    elif _is_repairable(error.location):
        store = printable(f"--store {shlex.quote(error.location)}")
        yield f"'distfs {look} {store}' {tells} there, 'distfs repair {store}' repairs it."


def _is_repairable(location: str) -> bool:
    """Whether it is a store of ours: a store of the original has neither of the two."""
    return any(os.path.lexists(os.path.join(location, name)) for name in ("catalog.db", "locks"))


def _is_from_the_system(error: BaseException) -> TypeGuard[OSError]:
    """An OSError about the caller's own files, and not one of ours that is an OSError too."""
    return isinstance(error, OSError) and not isinstance(error, WorldError)


def _sentence(error: BaseException) -> str:
    if isinstance(error, click.UsageError):
        return error.format_message()
    if _is_from_the_system(error) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    if exit_code(error) is ExitCode.OTHER:
        return f"unexpected {type(error).__name__}: {error}"
    if isinstance(error, CorruptError | BlobNotFoundError) and error.location is not None:
        return f"{error.location}: {error}"
    if isinstance(error, StorageReadOnlyError) and (location := _store_around(error.path)) is not None:
        return _not_writable(location)
    return "; ".join([str(error), *getattr(error, "__notes__", ())])


def _store_around(path: str) -> str | None:
    """The store of which every writer needs this file; None if it is another file."""
    directory, name = os.path.split(path)
    if name == "catalog.db":
        return directory
    location, parent = os.path.split(directory)
    return location if parent == "locks" and name in ("turnstile", "gate") else None


def _not_writable(location: str) -> str:
    """What SQLite calls an attempt to write a readonly database, and the system a file without permission."""
    with suppress(OSError):
        if os.statvfs(location).f_flag & os.ST_RDONLY:
            return f"the store at {location} is on a file system that is mounted read-only"
    with suppress(OSError, KeyError):
        owner = pwd.getpwuid(os.stat(location).st_uid).pw_name
        return f"no permission to write to the store at {location}: it belongs to {owner}"
    return f"no permission to write to the store at {location}"
