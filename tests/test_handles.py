"""Who has a store open, and who has it alone."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from agent_world_distfs import LocalCasStore, UnavailableError
from agent_world_distfs.engine.handles import held_alone


def test_a_store_that_somebody_has_open_is_not_to_be_had_alone(store: LocalCasStore) -> None:
    with pytest.raises(UnavailableError, match="somebody has the store open"), held_alone(store.location):
        pass


def test_a_transaction_that_outlives_the_store_object_has_the_store_open(location: Path) -> None:
    with LocalCasStore(location).transaction() as tx:
        gc.collect()
        with pytest.raises(UnavailableError), held_alone(str(location)):
            pass
        tx.write_file("a", b"a")
    del tx
    gc.collect()
    with held_alone(str(location)):
        pass


def test_a_look_that_is_to_make_nothing_makes_no_lock_file(tmp_path: Path) -> None:
    with held_alone(str(tmp_path), create=False):
        assert list(tmp_path.iterdir()) == []


def test_a_store_that_somebody_has_alone_cannot_be_opened(store: LocalCasStore) -> None:
    store.close()
    with held_alone(store.location):
        with pytest.raises(UnavailableError, match="being upgraded or repaired"):
            LocalCasStore(store.location)
        with pytest.raises(UnavailableError), held_alone(store.location):
            pass
    LocalCasStore(store.location).close()


def test_what_fails_in_the_meantime_is_not_told_as_a_store_that_is_open(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError), held_alone(str(tmp_path)):
        raise BlockingIOError
    with held_alone(str(tmp_path)):
        pass  # the first has let go


def test_a_refusal_keeps_no_descriptor(store: LocalCasStore) -> None:
    before = os.listdir("/dev/fd")
    for _ in range(3):
        with pytest.raises(UnavailableError), held_alone(store.location):
            pass
    assert len(os.listdir("/dev/fd")) == len(before)
