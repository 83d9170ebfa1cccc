"""Commands about how much history a store keeps: settings expire."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import click

from agent_world_distfs import InvalidInputError, StoreSettings
from agent_world_distfs.faces.cli import output
from agent_world_distfs.faces.cli.invocation import Invocation, pass_invocation
from agent_world_distfs.faces.cli.options import command, count, parse_count, parse_size, size

_SWITCH = {"on": True, "off": False}
_NAMES = tuple(field.name for field in dataclasses.fields(StoreSettings))


@command(
    "settings",
    "distfs settings",
    "distfs settings keep_history on",
    "distfs settings history_max_bytes 10GB",
)
@click.argument("name", required=False)
@click.argument("value", required=False)
@pass_invocation
def settings(invocation: Invocation, name: str | None, value: str | None) -> None:
    """Show the settings of the store, or one of them, or set one. They are the same for every process.

    keep_history is on or off: whether overwritten or removed contents are kept. The others are a number, or
    none for no limit; they say what `distfs expire` forgets: history_max_age_ms, history_max_transactions,
    history_max_bytes, which may be a size such as 10GB.
    """
    if name is not None and name not in _NAMES:
        raise InvalidInputError(f"there is no setting {name[:80]!r}, only {', '.join(_NAMES)}")
    if name is None or value is None:
        with invocation.read_store() as store:
            found = output.fields(store.settings())
    else:
        parsed = _parse(name, value)
        with invocation.open_store() as store:
            found = output.fields(store.set_setting(name, parsed))
    if name is not None and value is None:
        found = {name: found[name]}
    invocation.answer(found, _lines(found))


def _parse(name: str, text: str) -> int | None:
    if name == "keep_history":
        if text in _SWITCH:
            return _SWITCH[text]
        raise InvalidInputError(f"{name} is on or off, not {text[:80]!r}")
    if text == "none":
        return None
    number = parse_size(text) if name.endswith("_bytes") else parse_count(text)
    if number is None:
        size = " or a size such as 10GB" if name.endswith("_bytes") else ""
        raise InvalidInputError(f"{name} is a number{size}, or none, not {text[:80]!r}")
    return number


def _lines(found: Mapping[str, object]) -> list[str]:
    shown = {True: "on", False: "off", None: "none"}
    return [
        f"{name}: {shown[value] if value is None or isinstance(value, bool) else value}"
        for name, value in found.items()
    ]


@command("expire", "distfs expire", "distfs expire --max-age-ms 86400000")
@click.option("--before", "before_seq", type=count, metavar="SEQ", help="Forget changes before this state.")
@click.option("--max-age-ms", type=count, metavar="MS", help="Forget changes older than this.")
@click.option("--max-transactions", type=count, metavar="N", help="Forget all but the last N.")
@click.option(
    "--max-bytes", type=size, metavar="BYTES", help="Forget until at most this much old content is left."
)
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
    changes = f"changes since {report.first_seq} and " if report.first_seq != report.first_state_seq else ""
    known = f"{changes}states from {report.first_state_seq} on are known"
    invocation.answer(report, [f"Forgot {forgot}; {known}."])
