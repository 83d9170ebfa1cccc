"""Pins: a set of blobs that stay although no path names them."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_world_distfs import BlobMissingError, BlobNotFoundError, LocalCasStore
from behind import blob_file
from calls import LARGE, SMALL
from children import Start

each_size = pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])


@each_size
def test_a_pinned_blob_stays_and_an_unpinned_one_goes(either_store: LocalCasStore, content: bytes) -> None:
    store = either_store
    pinned, unpinned = store.put_bytes(content), store.put_bytes(content + b"2")
    store.pin(pinned)
    assert store.prune_orphan_blobs().pruned_blob_hashes == (unpinned,)
    assert store.get(pinned) == content
    assert store.unpin(pinned) is True
    assert store.has(pinned)  # only a collection takes blobs away
    assert store.prune_orphan_blobs().pruned_blob_hashes == (pinned,)
    assert not store.has(pinned)


def test_pins_are_a_set(store: LocalCasStore) -> None:
    content_hash = store.put_bytes(SMALL)
    for _ in range(3):
        store.pin(content_hash)
    assert store.list_pins() == [content_hash]
    assert store.unpin(content_hash) is True
    assert store.unpin(content_hash) is False
    assert store.list_pins() == []


def test_pins_are_listed_by_their_hashes(either_store: LocalCasStore) -> None:
    hashes = [either_store.put_bytes(bytes([number]) * (number * 300 + 1)) for number in range(40)]
    for content_hash in hashes:
        either_store.pin(content_hash)
    assert either_store.list_pins() == sorted(hashes)


def test_pinned_is_what_was_pinned(store: LocalCasStore) -> None:
    pinned, unpinned = store.put_bytes(SMALL), store.put_bytes(LARGE)
    store.pin(pinned)
    assert store.is_pinned(pinned)
    assert not store.is_pinned(unpinned)
    assert not store.is_pinned(store.hash_bytes(b"not stored"))


@each_size
def test_what_is_not_stored_cannot_be_pinned(store: LocalCasStore, content: bytes) -> None:
    content_hash = store.hash_bytes(content)
    with pytest.raises(BlobNotFoundError) as raised:
        store.pin(content_hash)
    assert raised.value.content_hash == content_hash
    assert store.unpin(content_hash) is False
    store.put_bytes(content)
    store.prune_orphan_blobs()
    with pytest.raises(BlobNotFoundError):
        store.pin(content_hash)
    assert store.list_pins() == []


def test_what_has_lost_its_bytes_cannot_be_pinned(store: LocalCasStore) -> None:
    content_hash = store.put_bytes(LARGE)
    blob_file(store.location, content_hash).unlink()
    with pytest.raises(BlobNotFoundError):
        store.pin(content_hash)
    store.put_bytes(LARGE)
    store.pin(content_hash)
    blob_file(store.location, content_hash).unlink()
    assert store.audit_file_index().dangling_pin_hashes == (content_hash,)
    with pytest.raises(BlobMissingError):
        store.get(content_hash)
    assert store.unpin(content_hash) is True


@each_size
def test_a_pin_and_a_path_are_two_reasons_to_stay(store: LocalCasStore, content: bytes) -> None:
    content_hash = store.write_file("a", content).content_hash
    store.pin(content_hash)
    store.delete_file("a")
    assert store.prune_orphan_blobs().pruned_blobs == 0
    store.link_file("b", content_hash)
    store.unpin(content_hash)
    assert store.prune_orphan_blobs().pruned_blobs == 0
    assert store.read_file("b") == content


def test_pins_are_there_for_the_next_who_opens_the_store(location: Path) -> None:
    with LocalCasStore(location) as store:
        content_hash = store.put_bytes(LARGE)
        store.pin(content_hash)
    with LocalCasStore(location) as store:
        assert store.list_pins() == [content_hash]


def test_a_pin_beside_collectors_either_holds_or_says_that_the_blob_is_gone(
    store: LocalCasStore, start: Start
) -> None:
    collectors = [
        start(
            "with LocalCasStore(location) as store:\n while True: store.prune_orphan_blobs()", store.location
        )
        for _ in range(2)
    ]
    held = 0
    for number in range(150):
        content = number.to_bytes(2) * (3 if number % 2 else 6000)
        content_hash = store.put_bytes(content)
        try:
            store.pin(content_hash)
        except BlobNotFoundError:
            continue
        held += 1
        assert store.get(content_hash) == content
        assert store.is_pinned(content_hash)
        store.unpin(content_hash)
    assert held
    for collector in collectors:
        collector.kill()
    assert store.audit_file_index(verify=True).is_sound()
