"""A change whose commit failed for a neighbour's sake is made again, and comes to the same.

What is changed in the catalog goes with the rollback; so what must not be there is anything that a change
keeps outside of it for the next time.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest

from agent_world_distfs import LocalCasStore
from agent_world_distfs.catalog.group_commit import GroupCommit
from agent_world_distfs.catalog.write_side import WriteSide
from agent_world_distfs.catalog.writer import SqliteWriter
from behind import blob_file, temporary_files
from calls import EXCHANGES, LARGE, WRITES, fill, manifest_of

T = TypeVar("T")


class _UndoneError(Exception):
    """The commit failed."""


@pytest.fixture
def undone(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Each change is made, undone and made again, from the first call of ``undone.append`` on."""
    marks: list[None] = []
    honest = WriteSide._change

    def change_twice(self: WriteSide, change: Callable[[SqliteWriter], T], synchronous: str) -> T:
        def fail(writer: SqliteWriter) -> None:
            change(writer)
            raise _UndoneError

        if marks:
            with suppress(_UndoneError):
                honest(self, fail, synchronous)
            assert self._writer is not None
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
        return honest(self, change, synchronous)

    assert GroupCommit._change is honest
    monkeypatch.setattr(WriteSide, "_change", change_twice)
    return marks


def _state(store: LocalCasStore) -> tuple[object, ...]:
    report = store.audit_file_index(verify=True)
    assert report.is_sound()
    index = {file.path: file.content_hash for file in store.list_files()}
    changes = [(change.seq, change.path) for change in store.changes()]
    # Manifests hold times: they differ.
    return index, len(store.list_pins()), len(report.orphan_blob_hashes), store.last_seq(), changes


@pytest.mark.parametrize("call", [*WRITES, *EXCHANGES])
def test_a_change_that_is_made_again_comes_to_the_same(tmp_path: Path, undone: list[None], call: str) -> None:
    def work(store: LocalCasStore) -> None:
        if call in WRITES:
            WRITES[call](store)
        else:
            EXCHANGES[call](store, manifest_of(store))

    states = []
    for name in ("once", "again"):
        with LocalCasStore(tmp_path / name) as store:
            fill(store)
            undone.extend([None] * (name == "again"))
            work(store)
            undone.clear()
            states.append(_state(store))
    assert states[0] == states[1]


@pytest.mark.parametrize("is_file", [True, False])
def test_a_repair_sets_damaged_bytes_aside_once_and_says_where(
    store: LocalCasStore, undone: list[None], is_file: bool
) -> None:
    file = blob_file(store.location, store.write_file("large", LARGE).content_hash)
    if is_file:
        file.write_bytes(LARGE[:-1] + b"!")
    else:
        file.unlink()
        file.symlink_to("/nowhere")
    undone.append(None)
    report = store.repair()
    undone.clear()
    kept = [f"quarantine/{each.name}" for each in Path(store.location).glob("quarantine/*")]
    assert list(report.quarantined) == kept
    assert len(kept) == 1
    assert not os.path.lexists(file)
    assert temporary_files(store) == []
    store.write_file("large", LARGE)
    assert store.audit_file_index(verify=True).is_sound()
