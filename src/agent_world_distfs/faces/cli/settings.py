"""Commands about how much history a store keeps: settings expire."""

from __future__ import annotations

import dataclasses

import click

from agent_world_distfs import InvalidInputError, StoreSettings
from agent_world_distfs.faces.cli import output
from agent_world_distfs.faces.cli.invocation import Invocation, pass_invocation
from agent_world_distfs.faces.cli.options import command

_WORDS = {"on": True, "off": False, "none": None}
_NAMES = tuple(field.name for field in dataclasses.fields(StoreSettings))
_limit = click.IntRange(min=0)


@command(
    "settings",
    "distfs settings",
    "distfs settings keep_history on",
    "distfs settings history_max_transactions 10000",
)
@click.argument("name", required=False)
@click.argument("value", required=False)
@pass_invocation
def settings(invocation: Invocation, name: str | None, value: str | None) -> None:
    """Show the settings of the store, or set one. They are the same for every process that has it open.

    keep_history is on or off: whether overwritten or removed contents are kept. The others are a number, or
    none for no limit; they say what `distfs expire` forgets: history_max_age_ms, history_max_transactions,
    history_max_bytes.
    """
    if name is None:
        with invocation.read_store() as store:
            found = store.settings()
    elif value is None:
        raise click.UsageError(
            f"a VALUE for {name} is missing; without NAME and VALUE all settings are shown"
        )
    elif name not in _NAMES:
        raise InvalidInputError(f"there is no setting {name[:80]!r}, only {', '.join(_NAMES)}")
    else:
        parsed = _parse(value)
        with invocation.open_store() as store:
            found = store.set_setting(name, parsed)
    invocation.answer(found, _lines(found))


def _parse(value: str) -> int | None:
    if value in _WORDS:
        return _WORDS[value]
    if value.isascii() and value.isdecimal():
        return int(value)
    raise InvalidInputError(f"a setting is a number, on, off or none, not {value[:80]!r}")


def _lines(found: StoreSettings) -> list[str]:
    shown = {True: "on", False: "off", None: "none"}
    return [
        f"{name}: {shown[value] if value is None or isinstance(value, bool) else value}"
        for name, value in output.fields(found).items()
    ]


@command("expire", "distfs expire", "distfs expire --max-age-ms 86400000")
@click.option("--before", "before_seq", type=_limit, metavar="SEQ", help="States before this one.")
@click.option("--max-age-ms", type=_limit, metavar="MS", help="What is older than this.")
@click.option("--max-transactions", type=_limit, metavar="N", help="Forget all but the last N.")
@click.option("--max-bytes", type=_limit, metavar="BYTES", help="What made more old bytes than this.")
@pass_invocation
def expire(
    invocation: Invocation,
    *,
    before_seq: int | None,
    max_age_ms: int | None,
    max_transactions: int | None,
    max_bytes: int | None,
) -> None:
    """Forget the oldest changes: those beyond the limits.

    The limits are those given, or else those of the settings. Nothing expires by itself. Contents that only
    those changes named become orphans, which `distfs prune` removes.
    """
    with invocation.open_store() as store:
        report = store.expire_history(
            before_seq=before_seq,
            max_age_ms=max_age_ms,
            max_transactions=max_transactions,
            max_bytes=max_bytes,
        )
    forgot = output.counted(report.expired_transactions, "transaction")
    invocation.answer(report, [f"Forgot {forgot}; states from {report.first_seq} on are known."])
