"""Parts of forced schedules: transactions, sessions, history, mending and copying; who meets whom in them.

Who tries again does so by the code of the store: the turns are locks like others, and their marks are
things that steps touch.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from schedule_parts import (
    DELETE_AND_PRUNE,
    NEW,
    OLD,
    ORPHAN,
    OTHER,
    OVERWRITE_AND_PRUNE,
    PRUNE,
    SMALL_NEW,
    STRAY,
    Part,
    expect,
    held,
    nothing,
    puts,
)

from agent_world_distfs import LocalCasStore, Transaction

SINCE = b"since" * 3_000
"""What the transaction wrote that scenarios take back: over OLD in ``undo/large``."""


def make_history(store: LocalCasStore) -> None:
    """A history with one transaction to take back; its id and its place are files."""
    store.set_setting("keep_history", True)
    store.write_file("undo/large", OLD)
    before = store.last_seq()
    with store.transaction() as tx:
        tx.write_file("undo/large", SINCE)
        tx.write_file("undo/small", b"since")
    *_, change = store.changes(since=before)
    store.write_file("id", change.transaction_id.encode())
    store.write_file("seq", b"%d" % before)


def make_damage(store: LocalCasStore, source: Path) -> Path:
    """A directory that has what is going to be damaged; the file to damage."""
    source.mkdir(exist_ok=True)
    (source / "old").write_bytes(OLD)
    name = store.hash_bytes(OLD)
    return Path(store.location, "blobs", name[:2], name)


def make_turns(store: LocalCasStore) -> None:
    """The lock files of all turns that are taken: that they are made at need is no part of a schedule."""
    store.update_file("count", lambda _: b"")
    store.run_transaction(lambda tx: tx.stat_file("count"))
    for name in ("1", "2"):
        store.write_file(f"on/{name}", b"on duty")
    turns = Path(store.location, "locks", "turns")
    for number in range(256):
        for suffix in ("", ".next"):
            (turns / f"{number:02x}{suffix}").touch()


# --- transactions, updates, sessions ----------------------------------------------------------------


def _three_paths(store: LocalCasStore) -> None:
    with store.transaction() as tx:
        tx.write_file("new", ORPHAN)
        tx.write_file("newer", tx.read_file("old/large"))
        tx.rename_file("kept/small", "moved")


def _check_three_paths(store: LocalCasStore, said: str, _: Sequence[str]) -> None:
    assert said in ("ok", "TransactionConflictError"), said
    is_done = said == "ok"
    expect(store, "new", ORPHAN if is_done else None)
    expect(store, "moved", b"kept" if is_done else None)
    expect(store, "newer", *((OLD, NEW) if is_done else (None,)))


def appends(letter: bytes, by: str) -> Part:
    """Whoever updates ``count`` comes through, and everybody's letter is there once."""

    def in_transaction(tx: Transaction) -> None:
        tx.write_file("count", tx.read_file("count") + letter)

    def act(store: LocalCasStore) -> str:
        if by == "update":
            store.update_file("count", lambda content: (content or b"") + letter)
        else:
            store.run_transaction(in_transaction)
        return letter.decode()

    def check(store: LocalCasStore, said: str, everybody: Sequence[str]) -> None:
        assert said == letter.decode(), said
        letters = sorted(word for word in everybody if len(word) == 1)
        assert sorted(store.read_file("count").decode()) == letters

    return Part(act, check)


def leaves(mine: str) -> Part:
    """Goes off duty unless nobody would be left: two that do must not both be let go (write skew)."""

    def leave(tx: Transaction) -> str:
        if len(tx.list_files(prefix="on/")) < 2:
            return "stays"
        tx.delete_file(f"on/{mine}")
        return "leaves"

    def check(store: LocalCasStore, said: str, everybody: Sequence[str]) -> None:
        assert sorted(everybody) == ["leaves", "stays"], everybody
        expect(store, f"on/{mine}", None if said == "leaves" else b"on duty")

    return Part(lambda store: store.run_transaction(leave), check)


def edits(data: bytes) -> Part:
    """In a session: of two that have read the same, one is told that the other was first."""

    def act(store: LocalCasStore) -> str:
        session = store.session()
        was = session.read_file("old/large")
        if was != OLD:
            return "late"
        session.write_file("old/large", data)
        return "won"

    def check(store: LocalCasStore, said: str, everybody: Sequence[str]) -> None:
        assert said in ("won", "late", "FileConflictError"), said
        assert everybody.count("won") == 1 or "FileConflictError" not in said, everybody
        if said == "won" and "ok" not in everybody:
            expect(store, "old/large", data)

    return Part(act, check)


def _update_to_orphan(store: LocalCasStore) -> None:
    store.update_file("count", lambda _: ORPHAN)


def _write_many(store: LocalCasStore) -> None:
    store.write_files([("new", ORPHAN), ("newer", STRAY), ("newest", SMALL_NEW)])


def _lease_and_link(store: LocalCasStore) -> None:
    with store.lease() as lease:
        store.link_file("new", lease.put_bytes(ORPHAN))


def _holds(*wanted: tuple[str, bytes]) -> Callable[[LocalCasStore, str, Sequence[str]], None]:
    def check(store: LocalCasStore, said: str, _: Sequence[str]) -> None:
        assert said == "ok", said
        for path, data in wanted:
            expect(store, path, data)

    return check


TRANSACTION = Part(_three_paths, _check_three_paths)
UPDATE_TO_ORPHAN = Part(_update_to_orphan, _holds(("count", ORPHAN)))
WRITE_MANY = Part(_write_many, _holds(("new", ORPHAN), ("newer", STRAY), ("newest", SMALL_NEW)))
LEASE_AND_LINK = Part(_lease_and_link, _holds(("new", ORPHAN)))

# --- history ----------------------------------------------------------------------------------------


def _undo(store: LocalCasStore) -> None:
    store.undo_transaction(store.read_file("id").decode())


def _check_undo(store: LocalCasStore, said: str, _: Sequence[str]) -> None:
    """It is taken back whole, or not at all: in between somebody may have written or forgotten."""
    refusals = ("TransactionConflictError", "HistoryExpiredError", "HistoryNotKeptError", "NotFoundError")
    assert said in ("ok", *refusals), said
    if said == "ok":
        expect(store, "undo/large", OLD, NEW)
        expect(store, "undo/small", None)
    else:
        expect(store, "undo/large", SINCE, NEW)
        expect(store, "undo/small", b"since")


def _undo_alone(store: LocalCasStore, said: str, _: Sequence[str]) -> None:
    assert said == "ok", said
    expect(store, "undo/large", OLD)


def _check_undo_twice(store: LocalCasStore, said: str, everybody: Sequence[str]) -> None:
    assert said == "ok", everybody
    expect(store, "undo/large", OLD)
    expect(store, "undo/small", None)


def _read_past(store: LocalCasStore) -> str:
    return "old" if store.read_file_at("undo/large", int(store.read_file("seq"))) == OLD else "wrong"


def _check_past(_: LocalCasStore, said: str, __: Sequence[str]) -> None:
    assert said in ("old", "HistoryExpiredError", "HistoryNotKeptError"), said


def _expire_and_prune(store: LocalCasStore) -> None:
    store.expire_history(max_transactions=0)
    store.prune_orphan_blobs()


def _forget_and_prune(store: LocalCasStore) -> None:
    store.set_setting("keep_history", False)
    store.prune_orphan_blobs()


def _overwrite_past(store: LocalCasStore) -> None:
    store.write_file("undo/large", NEW)


UNDO, UNDO_ALONE, UNDO_TWICE = (
    Part(_undo, _check_undo),
    Part(_undo, _undo_alone),
    Part(_undo, _check_undo_twice),
)
READ_PAST = Part(_read_past, _check_past)
EXPIRE_AND_PRUNE, FORGET_AND_PRUNE = Part(_expire_and_prune, nothing), Part(_forget_and_prune, nothing)
OVERWRITE_PAST = Part(_overwrite_past, _holds())

# --- mending and copying ----------------------------------------------------------------------------


def _repair(store: LocalCasStore) -> None:
    assert not store.repair([f"{store.location}.source"]).refused_blobs


def _check_repair(store: LocalCasStore, said: str, _: Sequence[str]) -> None:
    assert said == "ok", said
    expect(store, "old/large", OLD, NEW, None)


def _backup(store: LocalCasStore) -> str:
    target = f"{store.location}.backup"
    shutil.rmtree(target, ignore_errors=True)
    return "whole" if store.backup(target).is_whole() else "lost"


def _check_backup(store: LocalCasStore, said: str, _: Sequence[str]) -> None:
    assert said == "whole", said
    with LocalCasStore(f"{store.location}.backup", create=False) as copy:
        assert copy.audit_file_index(verify=True).is_sound()
        assert held(copy, "old/large") in (OLD, NEW, None)


def _scrub(store: LocalCasStore) -> str:
    for _ in range(3):
        report = store.audit_file_index(verify=True, max_bytes=20_000)
        if report.corrupt_blob_hashes == (store.hash_bytes(OLD),):
            return "corrupt"
        assert report.is_sound(), report
    return "sound"


def scrubs(*finds: str) -> Part:
    def check(_: LocalCasStore, said: str, __: Sequence[str]) -> None:
        assert said in finds, said

    return Part(_scrub, check)


REPAIR, BACKUP = Part(_repair, _check_repair), Part(_backup, _check_backup)

NEWER: dict[str, tuple[Part, ...]] = {
    "transaction, prune": (TRANSACTION, PRUNE),
    "transaction, overwrite and prune": (TRANSACTION, OVERWRITE_AND_PRUNE),
    "update to an orphan, prune": (UPDATE_TO_ORPHAN, PRUNE),
    "update, update": (appends(b"a", "update"), appends(b"b", "update")),
    "transaction again, transaction again": (appends(b"a", "transaction"), appends(b"b", "transaction")),
    "update, transaction again": (appends(b"a", "update"), appends(b"b", "transaction")),
    "write skew": (leaves("1"), leaves("2")),
    "session, session": (edits(NEW), edits(OTHER)),
    "session, prune": (edits(ORPHAN), PRUNE),
    "write many, prune": (WRITE_MANY, PRUNE),
    "lease and link, prune": (LEASE_AND_LINK, PRUNE),
    "undo, prune": (UNDO_ALONE, PRUNE),
    "undo, undo": (UNDO_TWICE, UNDO_TWICE),
    "undo, overwrite": (UNDO, OVERWRITE_PAST),
    "undo, expire and prune": (UNDO, EXPIRE_AND_PRUNE),
    "undo, forget and prune": (UNDO, FORGET_AND_PRUNE),
    "read the past, expire and prune": (READ_PAST, EXPIRE_AND_PRUNE),
    "read the past, forget and prune": (READ_PAST, FORGET_AND_PRUNE),
}
"""Two processes each, like those of the other operations."""

NEWER_LONG: dict[str, tuple[Part, ...]] = {
    "repair, prune": (REPAIR, PRUNE),
    "repair, repair": (REPAIR, REPAIR),
    "repair, put the same": (REPAIR, puts("new", OLD)),
    "repair, delete and prune": (REPAIR, DELETE_AND_PRUNE),
    "backup, prune": (BACKUP, PRUNE),
    "backup, overwrite and prune": (BACKUP, OVERWRITE_AND_PRUNE),
    "scrub, overwrite and prune": (scrubs("sound"), OVERWRITE_AND_PRUNE),
    "scrub, repair": (scrubs("sound", "corrupt"), REPAIR),
}
"""Two processes, one of which makes so many steps that their orders are only drawn."""
