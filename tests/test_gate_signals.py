"""The write lock: a signal handler does not wait for its own thread."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from agent_world_distfs import LocalCasStore, StoreBusyError
from agent_world_distfs.catalog.sqlite import SqliteCatalog
from agent_world_distfs.local import catalog_of


def test_a_signal_handler_that_writes_much_while_its_thread_copies_the_log_does_not_wait_for_itself(
    location: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, raised = SqliteCatalog._checkpoint_wal, list[BaseException]()

    def handle(*_: object) -> None:
        store.write_file("few", b"x")
        try:
            store.write_files((f"many/{number}", b"x") for number in range(40))
        except StoreBusyError as error:
            raised.append(error)

    def copy_interrupted(self: SqliteCatalog) -> None:
        signal.raise_signal(signal.SIGUSR1)
        honest(self)

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with LocalCasStore(location) as store:
            monkeypatch.setattr(SqliteCatalog, "_checkpoint_wal", copy_interrupted)
            began = time.monotonic()
            catalog_of(store)._shorten_wal()
            assert time.monotonic() - began < 30
            assert len(raised) == 1
            store.write_files((f"many/{number}", b"x") for number in range(40))
            assert len(store.list_files()) == 41
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_signal_handler_that_writes_inside_a_write_is_refused_and_breaks_nothing(
    location: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The signal comes in the middle of the transaction: when the time of the write is asked for.
    heard: list[BaseException | int] = []

    def handle(*_: object) -> None:
        heard.append(len(store.list_files()))  # reading works
        for write in (lambda: store.write_file("handler", b"x"), lambda: store.put_bytes(bytes(20_000))):
            try:
                write()
            except StoreBusyError as error:
                heard.append(error)

    def now_with_signal() -> int:
        signal.raise_signal(signal.SIGUSR1)
        return 5

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with LocalCasStore(location) as store, LocalCasStore(location, lock_timeout_s=0) as other:
            store.write_file("first", b"1")
            monkeypatch.setattr("agent_world_distfs.operations.files.now_ms", now_with_signal)
            written = store.write_file("second", b"2")
            assert [type(word) for word in heard] == [int, StoreBusyError, StoreBusyError]
            assert written.updated_at_ms == 5
            assert other.read_file("second") == b"2"
            monkeypatch.undo()
            other.write_file("third", b"3")  # the lock is free
            store.write_file("fourth", b"4")
            assert [file.path for file in store.list_files()] == ["first", "fourth", "second", "third"]
            report = store.audit_file_index(verify=True)
            assert (report.is_sound(), report.index_damage) == (True, ())
    finally:
        signal.signal(signal.SIGUSR1, before)
