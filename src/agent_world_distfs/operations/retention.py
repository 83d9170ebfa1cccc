"""How much history the store keeps: its settings, and expiry of what is older.

Nothing expires by itself. The clock decides only what ``expire`` forgets; what that named can then be
collected, by the rules of every collection.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import partial

from agent_world_distfs.clock import now_ms
from agent_world_distfs.engine.changes import WINDOW, changes_of, require_known
from agent_world_distfs.engine.full_disk import removing
from agent_world_distfs.errors import CatalogError, HistoryExpiredError, InvalidInputError
from agent_world_distfs.protocols import BlobFiles, Catalog, CatalogReader, CatalogWriter
from agent_world_distfs.records import Change, ExpiryReport, StoreSettings

STEP = 1_000
"""Transactions forgotten under one hold of the write lock, or read from one snapshot."""

LEFT_TRANSACTIONS = 4_096
"""How many are still known when a history is not kept any more: as many as where there never was one."""

LARGEST = (1 << 63) - 1
"""More than any store can have of anything; what SQLite can hold."""

KEEP = "keep_history"
LIMITS = tuple(field.name for field in fields(StoreSettings) if field.name != KEEP)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What may stay: by age, by number of transactions, by bytes, and from a transaction on."""

    max_age_ms: int | None = None
    max_transactions: int | None = None
    max_bytes: int | None = None
    before_seq: int | None = None


def read_settings(tx: CatalogReader) -> StoreSettings:
    """The settings of the store."""
    limits = [tx.setting(name) for name in LIMITS]
    if any(limit is not None and not limit.isdecimal() for limit in limits):
        raise CatalogError("a setting is no number")
    numbers = [None if limit is None else int(limit) for limit in limits]
    return StoreSettings(tx.log_state().history_from is not None, *numbers)


def change_setting(catalog: Catalog, blobs: BlobFiles, name: str, value: int | None) -> StoreSettings:
    """Set one setting and return all.

    Raises:
        InvalidInputError: there is no setting of this name, or it cannot have this value.
    """
    if name == KEEP:
        if not isinstance(value, bool):
            raise InvalidInputError(f"{KEEP} is True or False, not {value!r}")
        is_kept = value
        was_kept = catalog.read(lambda tx: tx.log_state()).history_from is not None
        catalog.write(lambda tx: tx.keep_history(is_kept=is_kept))
        if was_kept and not is_kept:  # in short steps what else the next commits would do in a long one
            expire(catalog, blobs, Bounds(max_transactions=LEFT_TRANSACTIONS))
    elif name in LIMITS:
        text = None if value is None else str(check_limit(name, value))
        catalog.write(lambda tx: tx.set_setting(name, text))
    else:
        raise InvalidInputError(f"no setting {name!r}; there are {', '.join((KEEP, *LIMITS))}")
    return catalog.read(read_settings)


def check_limit(name: str, value: int) -> int:
    """Return ``value`` if it can be a limit."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is a number or None, not {type(value).__name__}")
    if not 0 <= value <= LARGEST:
        raise InvalidInputError(f"{name} is a number from 0 to {LARGEST}, not {value}")
    return value


def bounds_of(settings: StoreSettings) -> Bounds:
    """What the settings let stay; where no history is kept, nothing is bounded by them."""
    if not settings.keep_history:
        return Bounds()
    return Bounds(settings.history_max_age_ms, settings.history_max_transactions, settings.history_max_bytes)


def expire(catalog: Catalog, blobs: BlobFiles, bounds: Bounds | None) -> ExpiryReport:
    """Forget the oldest transactions until the rest is within bounds, those of the settings by default."""
    chosen = catalog.read(lambda tx: bounds_of(read_settings(tx))) if bounds is None else bounds
    floor, expired = _settled_floor(catalog, chosen)
    while floor > (state := catalog.read(lambda tx: tx.log_state())).floor:
        step = min(floor, state.floor + STEP)
        removing(catalog, blobs, partial(catalog.write, partial(_forget, last=step)))
    return ExpiryReport(expired, *_begins(catalog))


def _begins(catalog: Catalog) -> tuple[int, int]:
    """Since when changes are known, and since when states."""
    while True:
        state = catalog.read(lambda tx: tx.log_state())
        with suppress(HistoryExpiredError):  # another expiry: look where that leaves it
            known = _transactions(catalog, state.floor, state.last)
            return state.floor, max((each.seq for each in known if each.hides_past), default=state.floor)


def _forget(tx: CatalogWriter, last: int) -> None:
    if last > tx.log_state().floor:
        tx.expire_log(last)


@dataclass(frozen=True, slots=True)
class _Transaction:
    """``hides_past``: it is an import after which the states before are not known."""

    seq: int
    at_ms: int
    hides_past: bool
    replaced_bytes: int


def _transactions(
    catalog: Catalog, since: int, last: int, *, is_sized: bool = False
) -> Iterator[_Transaction]:
    """The transactions of the change log, in order; only if ``is_sized``, with the bytes that each made old.

    Only for these is what each changed looked at.
    """
    while since < last:
        page = catalog.read(partial(_page, since=since, last=last, is_sized=is_sized))
        if not page:
            return
        yield from page
        since = page[-1].seq


def _page(tx: CatalogReader, since: int, last: int, *, is_sized: bool) -> list[_Transaction]:
    state = tx.log_state()
    require_known(state, since)
    page: list[_Transaction] = []
    seen = 0
    for each in tx.iter_transactions(since, last):
        size_bytes = 0
        if is_sized:
            for change in changes_of(each):
                size_bytes, seen = size_bytes + _replaced_bytes(change), seen + 1
        hides_past = each.imported is not None and not (each.replaced and state.keeps(each.sequence))
        page.append(_Transaction(each.sequence, each.at_ms, hides_past, size_bytes))
        if len(page) == STEP or seen >= WINDOW:
            break
    return page


def _replaced_bytes(change: Change) -> int:
    if change.is_import:
        return sum(ref.size_bytes for ref in (change.imported, change.replaced) if ref is not None)
    return 0 if change.before is None else change.before.size_bytes


def _settled_floor(catalog: Catalog, bounds: Bounds) -> tuple[int, int]:
    """The same, also if another expiry removes what is being read: that is the desired result."""
    while True:
        try:
            return _new_floor(catalog, bounds)
        except HistoryExpiredError:
            continue  # it got further, which it cannot do forever


def _new_floor(catalog: Catalog, bounds: Bounds) -> tuple[int, int]:
    """The last transaction to be forgotten, and how many those were in the change log."""
    state = catalog.read(lambda tx: tx.log_state())
    if bounds.before_seq is not None:
        require_known(state, max(bounds.before_seq, state.floor))
    total, total_bytes = 0, 0
    known = partial(_transactions, catalog, state.floor, state.last, is_sized=bounds.max_bytes is not None)
    for each in known():
        total, total_bytes = total + 1, total_bytes + each.replaced_bytes
    floor, expired, oldest_ms = state.floor, 0, now_ms() - (bounds.max_age_ms or 0)
    for each in known():
        is_over = (
            (bounds.max_age_ms is not None and each.at_ms < oldest_ms)
            or (bounds.max_transactions is not None and total > bounds.max_transactions)
            or (bounds.max_bytes is not None and total_bytes > bounds.max_bytes)
            or (bounds.before_seq is not None and each.seq <= bounds.before_seq)
        )
        if not is_over:
            break
        floor, expired = each.seq, expired + 1
        total, total_bytes = total - 1, total_bytes - each.replaced_bytes
    return max(floor, bounds.before_seq or 0), expired
