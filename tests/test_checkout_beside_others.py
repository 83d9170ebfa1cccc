"""A checkout beside writers and collections holds one state of the index; lost bytes stop it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from agent_world_distfs import (
    BlobHashMismatchError,
    BlobMissingError,
    LocalCasStore,
    UnavailableError,
    WorldError,
)
from agent_world_distfs.engine.file_spool import FileSpool
from agent_world_distfs.operations.tree_out import leased_entries
from trees import CONTENTS, LARGE, files_of, once, write_all

pytestmark = pytest.mark.usefixtures("no_descriptor_is_left_open")


def test_what_is_overwritten_and_collected_meanwhile_comes_out_as_it_was(
    store: LocalCasStore, location: Path, place: Path
) -> None:
    contents = {f"{number}": LARGE + bytes([number]) for number in range(5)} | {"small": b"s", "gone": b"g"}
    write_all(store, contents)

    def overwrite_all() -> None:
        with LocalCasStore(location) as other:
            write_all(other, dict.fromkeys(contents, b"overwritten"))
            other.delete_file("gone")
            assert other.prune_orphan_blobs().pruned_blobs == 0

    store.checkout(place / "out", progress=once(overwrite_all))
    assert files_of(place / "out") == contents
    assert store.prune_orphan_blobs().pruned_blobs == len(contents)
    assert store.audit_file_index(verify=True).is_clean()


def overwrite_after_snapshots(
    monkeypatch: pytest.MonkeyPatch, store: LocalCasStore, contents: dict[str, bytes], times: int
) -> None:
    """Overwrite and collect just when a snapshot was taken and its blobs are not kept yet."""
    left = [times]

    class Spool(FileSpool):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            if left[0]:
                left[0] -= 1
                write_all(store, {path: data + bytes([left[0]]) for path, data in contents.items()})
                store.prune_orphan_blobs()

    monkeypatch.setattr(leased_entries, "FileSpool", Spool)


def test_what_is_collected_before_it_can_be_kept_is_taken_from_a_newer_snapshot(
    store: LocalCasStore, other_store: LocalCasStore, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_all(store, {"a": LARGE, "b": b"b"})
    overwrite_after_snapshots(monkeypatch, store, {"a": LARGE, "b": b"b"}, times=3)
    store.checkout(place / "out")
    assert files_of(place / "out") == {"a": LARGE + b"\0", "b": b"b\0"}
    overwrite_after_snapshots(monkeypatch, store, {"a": LARGE, "b": b"b"}, times=100)
    with pytest.raises(UnavailableError):
        store.checkout(place / "never")
    assert os.listdir(place) == ["out"]


def test_a_read_only_store_can_be_checked_out_and_is_not_touched(
    store: LocalCasStore, location: Path, place: Path
) -> None:
    write_all(store, CONTENTS)
    before = sorted(location.rglob("*"))
    with LocalCasStore(location, read_only=True) as reader:
        reader.checkout(place / "out")
    assert files_of(place / "out") == CONTENTS
    assert sorted(location.rglob("*")) == before


def test_from_a_read_only_store_what_is_collected_meanwhile_is_no_loss_but_no_checkout(
    store: LocalCasStore, location: Path, place: Path
) -> None:
    write_all(store, {"a": b"a", "b": LARGE})

    def collect() -> None:
        store.write_file("b", b"other")
        store.prune_orphan_blobs()

    with LocalCasStore(location, read_only=True) as reader:
        with pytest.raises(UnavailableError, match="'b'"):
            reader.checkout(place / "out", progress=once(collect))
        assert os.listdir(place) == []
        reader.checkout(place / "out")
    assert files_of(place / "out") == {"a": b"a", "b": b"other"}


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("damage", ["gone", "rotten", "truncated", "a directory"])
def test_a_file_whose_bytes_are_lost_stops_it(
    store: LocalCasStore, location: Path, place: Path, damage: str, read_only: bool
) -> None:
    write_all(store, {"a": b"a", "dir/b": LARGE})
    content_hash = store.hash_bytes(LARGE)
    blob = location / "blobs" / content_hash[:2] / content_hash
    match damage:
        case "gone":
            blob.unlink()
        case "rotten":
            blob.write_bytes(LARGE[:-1] + b"\0")
        case "truncated":
            os.truncate(blob, 100)
        case "a directory":
            blob.unlink()
            blob.mkdir()
    expected: tuple[type[WorldError], ...] = (BlobMissingError,)
    if damage == "rotten":
        expected = (BlobHashMismatchError,)
    elif damage != "gone":
        expected = (WorldError,)
    with LocalCasStore(location, read_only=read_only) as reader, pytest.raises(expected) as raised:
        reader.checkout(place / "out")
    if damage == "gone":
        assert isinstance(raised.value, BlobMissingError)
        assert (raised.value.content_hash, raised.value.path) == (content_hash, "dir/b")
    assert os.listdir(place) == []
