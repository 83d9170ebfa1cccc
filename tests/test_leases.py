"""Leases: what they hold outlives every collection until they end, and nothing after that."""

from __future__ import annotations

import errno
import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agent_world_distfs import (
    BlobHashMismatchError,
    BlobNotFoundError,
    ForkedStoreError,
    InvalidInputError,
    LocalCasStore,
)
from calls import LARGE, SMALL
from children import MakeDisk, Start
from trees import CONTENTS, files_of, held, write_all

each_size = pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])


@each_size
def test_what_a_lease_holds_outlives_a_collection_and_can_be_named(store: LocalCasStore, data: bytes) -> None:
    streamed, stored = data + b"streamed", store.put_bytes(data + b"stored")
    with store.lease() as lease:
        put = lease.put_bytes(data)
        stat = lease.put_stream(io.BytesIO(streamed))
        assert (stat.content_hash, stat.size_bytes) == (store.hash_bytes(streamed), len(streamed))
        lease.keep(stored)
        assert store.prune_orphan_blobs().pruned_blobs == 0
        store.link_file("a", put)
    assert set(store.prune_orphan_blobs().pruned_blob_hashes) == {stat.content_hash, stored}
    assert store.read_file("a") == data


def test_a_lease_ends_with_an_exception_too(store: LocalCasStore) -> None:
    with pytest.raises(KeyError), store.lease() as lease:
        raise KeyError(lease.put_bytes(b"a"))
    assert store.prune_orphan_blobs().pruned_blobs == 1


def test_a_lease_ends_with_its_process(location: Path, start: Start) -> None:
    child = start(
        """
        with LocalCasStore(location).lease() as lease:
            say(lease.put_bytes(b"a" * 20_000))
            time.sleep(600)
        """,
        location,
    )
    content_hash = child.hear()
    with LocalCasStore(location) as store:
        assert store.prune_orphan_blobs().pruned_blobs == 0
        child.stop()  # a machine that is suspended keeps its leases
        assert store.prune_orphan_blobs().pruned_blobs == 0
        child.go_on()
        child.kill()
        assert store.prune_orphan_blobs().pruned_blob_hashes == (content_hash,)


def test_what_is_not_there_cannot_be_kept_and_what_is_not_expected_is_not_stored(
    store: LocalCasStore,
) -> None:
    with store.lease() as lease:
        with pytest.raises(BlobNotFoundError):
            lease.keep("0" * 64)
        with pytest.raises(BlobHashMismatchError):
            lease.put_stream(io.BytesIO(b"a"), expected_content_hash="0" * 64)
        with pytest.raises(ValueError, match="hexadecimal"):
            lease.keep("x")
        with pytest.raises(TypeError):
            lease.put_bytes("text")  # type: ignore[arg-type]
    assert not store.has(store.hash_bytes(b"a"))


def test_a_lease_is_of_no_use_outside_of_its_block(store: LocalCasStore) -> None:
    lease = store.lease()
    with pytest.raises(InvalidInputError):
        lease.put_bytes(b"a")
    with lease, pytest.raises(InvalidInputError):
        lease.__enter__()
    with pytest.raises(InvalidInputError):
        lease.keep("0" * 64)


def test_a_stream_of_another_thread_that_outlasts_the_block_is_told_so_and_not_kept(
    store: LocalCasStore,
) -> None:
    has_begun, has_ended = threading.Event(), threading.Event()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 0:
                has_begun.set()
                assert has_ended.wait(30)
            return super().read(size)

    with ThreadPoolExecutor(1) as pool:
        with store.lease() as lease:
            putting = pool.submit(lease.put_stream, Slow(LARGE))
            assert has_begun.wait(30)
        has_ended.set()
        with pytest.raises(InvalidInputError):
            putting.result(30)
    assert store.prune_orphan_blobs().pruned_blob_hashes == (store.hash_bytes(LARGE),)


def test_a_forked_child_leaves_the_lease_to_its_parent(store: LocalCasStore) -> None:
    with store.lease() as lease:
        lease.put_bytes(LARGE)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                lease.put_bytes(b"a")
            except ForkedStoreError:
                lease.__exit__(None, None, None)
                code = 0
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert store.prune_orphan_blobs().pruned_blobs == 0


# --- where none can be written --------------------------------------------------------------------


@pytest.mark.parametrize("has_room_for_names", [True, False])
def test_out_of_a_full_disk_all_can_be_copied_without_a_lease(
    make_disk: MakeDisk,
    other_store: LocalCasStore,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    has_room_for_names: bool,
) -> None:
    disk, genuine = make_disk(8 << 20), os.mkdir

    def mkdir(path: Any, *arguments: Any, **options: Any) -> None:
        if str(path).startswith(str(disk)):  # as file systems do that take a block for a directory
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        genuine(path, *arguments, **options)

    with LocalCasStore(disk / "store") as store:
        write_all(store, CONTENTS)
    if not has_room_for_names:
        monkeypatch.setattr(os, "mkdir", mkdir)
    with LocalCasStore(disk / "store") as store:
        with pytest.raises(OSError, match="No space"):
            (disk / "filler").write_bytes(bytes(16 << 20))
        other_store.pull_index(store)
        store.checkout(place / "out")
        store.backup(place / "backup")
    assert held(other_store) == files_of(place / "out") == CONTENTS
    with LocalCasStore(place / "backup") as copy:
        assert held(copy) == CONTENTS
