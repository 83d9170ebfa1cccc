"""A store that is closed gives everything back; one that is pickled opens anew where it is unpickled."""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import pytest

from agent_world_distfs import (
    LocalCasStore,
    NotFoundError,
    StorageReadOnlyError,
    StoreClosedError,
    UnavailableError,
    local,
)
from agent_world_distfs.engine.handles import held_alone
from behind import descriptors, tree_of
from calls import EXCHANGES, LARGE, READS, WRITES, fill
from striking import RaiseAtLine

# --- closed -----------------------------------------------------------------------------------


def test_a_closed_store_refuses_everything_and_leaves_no_trace(location: Path) -> None:
    store = LocalCasStore(location)
    ref = fill(store)
    store.close()
    before = tree_of(location)
    for call in [*READS.values(), *WRITES.values()]:
        with pytest.raises(StoreClosedError):
            call(store)
    for exchange in EXCHANGES.values():
        with pytest.raises(StoreClosedError):
            exchange(store, ref)
    assert tree_of(location) == before
    store.close()
    with pytest.raises(StoreClosedError), store:
        store.read_file("small")


def test_closing_gives_everything_back(location: Path) -> None:
    gc.collect()
    before = descriptors()
    for _ in range(3):
        with LocalCasStore(location) as store:
            fill(store)
            list(store.iter_files())
            store.audit_file_index(verify=True)
            store.prune_orphan_blobs()
        assert descriptors() == before
    assert os.listdir(location / "tmp") == []
    assert not (location / "catalog.db-wal").exists()


def test_a_store_that_nobody_closes_is_given_back_when_it_is_forgotten(location: Path) -> None:
    gc.collect()
    before = descriptors()
    for _ in range(5):
        store = LocalCasStore(location)
        fill(store)
        del store
        gc.collect()
    assert descriptors() == before
    with LocalCasStore(location):
        assert [name for name in os.listdir(location / "tmp") if not name.endswith(".lock")] == []


def test_a_store_that_was_forgotten_is_given_back_at_once(location: Path) -> None:
    """Not by the next collection of garbage, which a process that makes none may never run."""
    before = descriptors()
    gc.disable()
    try:
        for number in range(5):
            store = LocalCasStore(location)
            store.write_file("a", b"%d" % number)
            store.write_file("large", LARGE)
            assert store.read_file("a") == b"%d" % number
            store.update_file("a", lambda _: b"x")
            del store
            assert descriptors() == before
    finally:
        gc.enable()


def test_a_store_whose_opening_fails_at_its_end_is_given_back_though_the_error_is_kept(
    location: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    LocalCasStore(location).close()
    before = descriptors()
    monkeypatch.setattr(local, "tidy", interrupt)
    with pytest.raises(KeyboardInterrupt) as kept:
        LocalCasStore(location)
    assert descriptors() == before
    assert kept.value.__traceback__ is not None
    with held_alone(str(location)):
        pass


def use_until_it_is_closed(store: LocalCasStore, name: str, started: Barrier) -> None:
    started.wait()
    for number in range(100_000):
        store.write_file(name, LARGE + bytes([number % 256]))
        store.read_file(name)
        store.put_bytes(name.encode())


def test_a_store_is_closed_while_others_use_it(location: Path) -> None:
    for _ in range(5):
        store, started = LocalCasStore(location), Barrier(5)
        with ThreadPoolExecutor(4) as pool:
            users = [pool.submit(use_until_it_is_closed, store, name, started) for name in "abcd"]
            started.wait()
            while not store.list_files():
                pass
            store.close()
        assert [type(user.exception()) for user in users] == [StoreClosedError] * 4
        assert not [name for name in descriptors() if str(location) in name]
    with LocalCasStore(location) as again:
        assert os.listdir(location / "tmp") == []
        assert again.audit_file_index(verify=True).is_sound()


def test_a_store_whose_closing_does_not_wait_for_a_write_is_open_until_that_ends(location: Path) -> None:
    store = LocalCasStore(location, lock_timeout_s=0.05)
    is_held, may_end = Event(), Event()

    def hold(tx: Any) -> None:
        tx.set_setting("history_max_days", "5")
        is_held.set()
        assert may_end.wait(60)

    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(store._catalog.write, hold)
        assert is_held.wait(60)
        store.close()
        with pytest.raises(UnavailableError), held_alone(str(location)):
            pass
        may_end.set()
        held.result()
    with held_alone(str(location)):
        assert not [name for name in descriptors() if "catalog.db" in name]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a file is closed by itself
def test_a_store_whose_closing_was_interrupted_can_be_closed(location: Path) -> None:
    store = LocalCasStore(location)
    store.write_file("a", b"x")
    for number in count(1):
        with (
            RaiseAtLine(number, KeyboardInterrupt, "catalog") as striking,
            contextlib.suppress(KeyboardInterrupt),
        ):
            store.close()
        store.close()
        assert not [name for name in descriptors() if str(location) in name]
        if not striking.has_raised:
            break
        store = LocalCasStore(location)
        store.write_file("a", b"x")
    assert number > 30


# --- pickling ---------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_store_pickles_as_its_location_and_options(location: Path, protocol: int) -> None:
    with LocalCasStore(location, durability="relaxed", lock_timeout_s=7) as store:
        store.write_file("a", LARGE)
        with pickle.loads(pickle.dumps(store, protocol)) as again:
            assert type(again) is LocalCasStore
            assert again is not store
            assert again.location == store.location
            assert again.read_file("a") == LARGE
            again.write_file("b", b"x")
            assert pickle.dumps(again, protocol) == pickle.dumps(store, protocol)
        assert store.read_file("b") == b"x"


def test_a_store_that_is_only_read_stays_so_when_pickled(location: Path) -> None:
    with LocalCasStore(location, read_only=True) as store:
        pickled = pickle.dumps(store)
    with pickle.loads(pickled) as again, pytest.raises(StorageReadOnlyError):
        again.write_file("a", b"x")


def test_a_store_that_is_gone_is_not_made_anew_by_unpickling(location: Path) -> None:
    with LocalCasStore(location) as store:
        pickled = pickle.dumps(store)
    shutil.rmtree(location)
    with pytest.raises(NotFoundError):
        pickle.loads(pickled)
    assert not location.exists()


def test_a_store_goes_to_another_process(location: Path) -> None:
    program = "import pickle, sys; pickle.load(sys.stdin.buffer).write_file('child', b'x')"
    with LocalCasStore(location) as store:
        subprocess.run([sys.executable, "-c", program], input=pickle.dumps(store), check=True)
        assert store.read_file("child") == b"x"
