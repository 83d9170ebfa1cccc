"""Parameters of commands: the options that all share, conditions, and the types of arguments."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from agent_world_distfs import ABSENT, FileIndexManifestRef, HashAlgorithm, InvalidInputError
from agent_world_distfs.faces.cli.completion import complete_path
from agent_world_distfs.faces.cli.invocation import Invocation
from agent_world_distfs.faces.cli.streams import STANDARD
from agent_world_distfs.hashing import check_hash
from agent_world_distfs.paths import check_prefix, normalize_path
from agent_world_distfs.records import Expected

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class StoreCommand(click.Command):
    """A command on a store: every one takes ``--store`` and ``--json``, and ends its help with examples."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(shared_options())
        self.examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(formatter, *self.examples)

    def get_short_help_str(self, limit: int = 45) -> str:
        """The whole first sentence, on as many lines as it takes: click would cut it off."""
        return super().get_short_help_str(len(self.help or ""))


class StoreGroup(StoreCommand, click.Group):
    """A command with subcommands."""


def write_examples(formatter: click.HelpFormatter, *examples: str) -> None:
    """End a help text with examples, as they are typed."""
    with formatter.section("Examples"):
        for example in examples:
            formatter.write(f"  {example}\n")


def command(name: str, *examples: str) -> Callable[[Callable[..., Any]], StoreCommand]:
    """Make a function the command ``name``. ``examples``: lines for a shell, shown by its help."""
    return click.command(name, cls=StoreCommand, examples=examples)


def shared_options(*, envvar: str | None = None) -> list[click.Parameter]:
    """``--store`` and ``--json``, which stand before the command's name or after it."""
    return [
        click.Option(
            ["--store"],
            metavar="LOCATION",
            envvar=envvar,
            show_envvar=True,
            is_eager=True,  # completion and errors of the other parameters need both
            expose_value=False,
            callback=_remember_location,
            help="The directory of the store.",
        ),
        click.Option(
            ["--json"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_remember_json,
            help="Print one JSON document; errors are JSON, too.",
        ),
    ]


def _invocation(context: click.Context) -> Invocation:
    return context.find_root().ensure_object(Invocation)


def _remember_location(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        _invocation(context).location = value


def _remember_json(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        _invocation(context).wants_json = True


# --- arguments --------------------------------------------------------------------------------
# Bad input is refused before a store is opened, let alone made, with the errors of the library.


def takes_path(name: str, **settings: Any) -> Callable[[Decorated], Decorated]:
    """A path of the index."""
    return click.argument(name, callback=each(normalize_path), shell_complete=complete_path, **settings)


def takes_prefix(name: str) -> Callable[[Decorated], Decorated]:
    """The beginning of paths, as plain text; by default empty."""
    return click.argument(name, default="", callback=each(check_prefix), shell_complete=complete_path)


def takes_directory(name: str) -> Callable[[Decorated], Decorated]:
    """A directory of the index; by default its top, the empty text."""
    return click.argument(name, default="", callback=each(_normalize_directory), shell_complete=complete_path)


def takes_hash() -> Callable[[Decorated], Decorated]:
    """HASH, as ``content_hash``."""
    return click.argument("content_hash", metavar="HASH", callback=each(check_hash))


def takes_source() -> Callable[[Decorated], Decorated]:
    """SOURCE, a file of the caller; by default standard input."""
    return click.argument("source", type=click.Path(allow_dash=True, readable=False), default=STANDARD)


def takes_target() -> Callable[[Decorated], Decorated]:
    """TARGET, a file of the caller; by default standard output."""
    return click.argument("target", type=click.Path(allow_dash=True, readable=False), default=STANDARD)


def takes_place(name: str) -> Callable[[Decorated], Decorated]:
    """A directory of the caller."""
    return click.argument(name, type=click.Path(readable=False))


def takes_ref(*declarations: str, **settings: Any) -> Callable[[Decorated], Decorated]:
    """A manifest reference, HASH:SIZE, as an argument or, with dashes, as an option."""
    check = each(FileIndexManifestRef.parse)
    if declarations[0].startswith("-"):
        return click.option(*declarations, metavar="REF", callback=check, **settings)
    return click.argument(*declarations, callback=check, **settings)


def _normalize_directory(directory: str) -> str:
    return normalize_path(directory) if directory else ""


def each(check: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """``check`` as a callback of click; the value may be missing, or several."""

    def callback(_context: click.Context, _parameter: click.Parameter, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(check, value))
        return None if value is None else check(value)

    return callback


# --- options ----------------------------------------------------------------------------------


def takes_hash_algorithm(help_text: str) -> Callable[[Decorated], Decorated]:
    """``--hash-algorithm``, by the names that the library gives them."""
    names = {algorithm.value: algorithm for algorithm in HashAlgorithm}
    return click.option(
        "--hash-algorithm",
        type=click.Choice(list(names)),
        callback=lambda context, parameter, value: names.get(value),
        help=help_text,
    )


# Types of options: click's own say of a word that it is "not a valid integer range".


def count(value: object) -> int:
    """A whole number that is not negative."""
    return _required(parse_count(str(value)), value, "a whole number from 0 on")


def seq(value: object) -> int:
    """The number of a state of the index."""
    return _required(
        parse_count(str(value)), value, "a SEQ: the number with which an id in `distfs log` begins"
    )


def size(value: object) -> int:
    """A number of bytes, or a size."""
    return _required(parse_size(str(value)), value, "a number of bytes, nor a size such as 10GB")


def seconds(value: object) -> float:
    """A time to wait."""
    try:
        found = float(str(value))
    except ValueError:
        found = -1.0
    return _required(found if found >= 0 else None, value, "a number of seconds")  # nan is none


Number = TypeVar("Number", int, float)


def _required(number: Number | None, value: object, meaning: str) -> Number:
    if number is None:
        raise click.BadParameter(f"{str(value)[:80]!r} is not {meaning}")
    return number


def parse_count(text: str) -> int | None:
    """A whole number that is not negative; None if it is none."""
    return int(text) if re.fullmatch(r"[0-9]{1,40}", text, re.ASCII) else None


def parse_size(text: str) -> int | None:
    """A number of bytes, plain (``1000``) or with a unit (``10GB``, ``500MiB``); None if it is none."""
    match = re.fullmatch(r"([0-9]{1,40}) ?([A-Za-z]*)", text, re.ASCII)
    if match is None or (match[2] and match[2] not in _BYTES):
        return None
    return int(match[1]) * _BYTES.get(match[2], 1)


_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_BYTES |= {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Budget:
    """How much of a long work is to be done."""

    max_bytes: int | None = None
    max_seconds: float | None = None

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read a size (``10GB``, ``500MiB``) or a time (``30s``, ``10m``)."""
        match = re.fullmatch(r"([0-9]{1,12}) ?([A-Za-z]+)", text, re.ASCII)
        number, unit = (int(match[1]), match[2]) if match is not None else (0, "")
        if number and unit in _BYTES:
            return cls(max_bytes=number * _BYTES[unit])
        if number and unit in _SECONDS:
            return cls(max_seconds=float(number * _SECONDS[unit]))
        raise InvalidInputError(f"not a size such as 10GB, nor a time such as 30s or 10m: {text[:40]!r}")


def takes_budget() -> Callable[[Decorated], Decorated]:
    """``--budget``, a size or a time."""
    return click.option(
        "--budget",
        metavar="AMOUNT",
        callback=each(Budget.parse),
        help="Hash only this much (10GB, 500MiB, 30s, 10m), continuing where the last such audit ended.",
    )


def takes_condition(what: str) -> Callable[[Decorated], Decorated]:
    """``--if-match`` and ``--if-absent``; ``what`` names the path that they are about in the help."""

    def decorate(function: Decorated) -> Decorated:
        absent = click.option("--if-absent", is_flag=True, help=f"Only if {what} is not in the index.")
        match = click.option(
            "--if-match",
            metavar="HASH",
            callback=each(check_hash),
            help=f"Only if {what} holds the content HASH.",
        )
        return match(absent(function))

    return decorate


def expected(if_match: str | None, if_absent: bool) -> Expected:
    """The two options of a condition as the library takes them.

    Raises:
        click.UsageError: both are given.
    """
    if if_match is not None and if_absent:
        raise click.UsageError("--if-match and --if-absent exclude each other")
    return ABSENT if if_absent else if_match
