"""Stored bytes that rot, go, or are replaced by something else: never returned as good, and healed."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_world_distfs import (
    BlobHashMismatchError,
    BlobMissingError,
    BlobNotFoundError,
    CatalogError,
    LocalCasStore,
)
from behind import blob_file, edit, temporary_files
from contents import CHUNK, content_of

# --- rot --------------------------------------------------------------------------------------

Damage = Callable[[Path], None]


def flip(position: int) -> Damage:
    def damage(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(position, os.SEEK_END if position < 0 else os.SEEK_SET)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 1]))

    return damage


def lengthen(more: int) -> Damage:
    return lambda path: os.truncate(path, path.stat().st_size + more)


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


DAMAGES: dict[str, Damage] = {
    "first byte": flip(0),
    "last byte": flip(-1),
    "middle": flip(CHUNK + 12_345),
    "cut by one": lengthen(-1),
    "cut to a chunk": lambda path: os.truncate(path, CHUNK),
    "emptied": lambda path: os.truncate(path, 0),
    "longer by one": lengthen(1),
    "longer by a chunk": lengthen(CHUNK),
    "zeros": zeros,
}
each_damage = pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())


@pytest.fixture
def rotten(either_store: LocalCasStore) -> tuple[LocalCasStore, str]:
    """A store with a large file ``a``; its blob's hash."""
    return either_store, either_store.write_file("a", content_of(2 * CHUNK + 5)).content_hash


@each_damage
def test_rotten_bytes_are_never_returned_as_good(rotten: tuple[LocalCasStore, str], damage: Damage) -> None:
    store, content_hash = rotten
    damage(blob_file(store.location, content_hash))
    actual = store.hash_bytes(blob_file(store.location, content_hash).read_bytes())
    for call in (
        lambda: store.get(content_hash),
        lambda: store.get_verified(content_hash),
        lambda: store.read_file("a"),
        lambda: store.read_file_with_metadata("a"),
    ):
        with pytest.raises(BlobHashMismatchError) as raised:
            call()
        assert (raised.value.expected, raised.value.actual) == (content_hash, actual)


def test_what_is_read_by_a_path_and_corrupt_names_the_path(
    rotten: tuple[LocalCasStore, str], tmp_path: Path
) -> None:
    store, content_hash = rotten
    store.write_file("small", b"small")
    edit(store.location, "UPDATE blobs SET payload = ? WHERE payload = ?", b"dirty", b"small")
    zeros(blob_file(store.location, content_hash))
    reader = store.open_file("a")
    calls: list[tuple[Callable[[], object], str | None]] = [
        (lambda: store.read_file("a"), "a"),
        (lambda: store.read_file("small"), "small"),
        (reader.read, "a"),
        (lambda: store.checkout(tmp_path / "out"), "a"),
        (lambda: store.checkout(tmp_path / "out", link="hardlink"), "a"),
        (lambda: store.get(content_hash), None),
    ]
    for call, path in calls:
        with pytest.raises(BlobHashMismatchError) as raised:
            call()
        assert raised.value.path == path
        assert (f"{path!r}: " in str(raised.value)) is (path is not None)
    reader.close()


@each_damage
@pytest.mark.parametrize("size", [1000, CHUNK, 2 * CHUNK + 4])
def test_a_rotten_stream_fails_before_its_last_byte(
    rotten: tuple[LocalCasStore, str], damage: Damage, size: int
) -> None:
    store, content_hash = rotten
    damage(blob_file(store.location, content_hash))
    got: list[bytes] = []
    with store.open_blob(content_hash) as reader:
        with pytest.raises(BlobHashMismatchError):
            got.extend(iter(lambda: reader.read(size), b""))
        assert sum(map(len, got)) < 2 * CHUNK + 5
        for _ in range(2):  # it stays so
            with pytest.raises(BlobHashMismatchError):
                reader.read1(size)
        reader.seek(0)
        with pytest.raises(BlobHashMismatchError):
            reader.read()


@each_damage
def test_a_stream_that_was_looked_into_and_rewound_is_verified_too(
    rotten: tuple[LocalCasStore, str], damage: Damage
) -> None:
    # As whoever finds out the type of a file does.
    store, content_hash = rotten
    damage(blob_file(store.location, content_hash))
    for look, back in [(16, 0), (CHUNK + 1, 0), (CHUNK, 10), (100, 99)]:
        with store.open_blob(content_hash) as reader:
            with contextlib.suppress(BlobHashMismatchError):
                reader.read(look)
            reader.seek(back)
            with pytest.raises(BlobHashMismatchError):
                reader.read()


def test_a_stream_that_was_rewound_gives_good_bytes(rotten: tuple[LocalCasStore, str]) -> None:
    store, content_hash = rotten
    content = content_of(2 * CHUNK + 5)
    for look, back in [(16, 0), (CHUNK + 1, 0), (CHUNK, 10), (100, 99), (5, 5)]:
        with store.open_blob(content_hash) as reader:
            assert reader.read(look) == content[:look]
            reader.seek(back)
            assert reader.read() == content[back:]
            reader.seek(0)
            assert reader.read() == content


def test_a_range_is_what_is_stored_unverified(rotten: tuple[LocalCasStore, str]) -> None:
    store, content_hash = rotten
    flip(-1)(blob_file(store.location, content_hash))
    with store.open_blob(content_hash) as reader:
        reader.seek(100)
        assert reader.read(50) == content_of(CHUNK)[100:150]


def test_a_blob_that_rots_while_it_is_read_is_seen(rotten: tuple[LocalCasStore, str]) -> None:
    store, content_hash = rotten
    with store.open_blob(content_hash) as reader:
        reader.read(CHUNK)
        flip(-1)(blob_file(store.location, content_hash))
        with pytest.raises(BlobHashMismatchError):
            reader.read()


def test_lost_bytes_of_a_named_blob_are_loss_and_no_missing_file(rotten: tuple[LocalCasStore, str]) -> None:
    store, content_hash = rotten
    blob_file(store.location, content_hash).unlink()
    for call in (store.read_file, store.open_file):
        with pytest.raises(BlobMissingError) as raised:
            call("a")
        assert (raised.value.content_hash, raised.value.path) == (content_hash, "a")
        assert not isinstance(raised.value, OSError)
    with pytest.raises(BlobMissingError):
        store.get(content_hash)
    assert not store.has(content_hash)
    store.pin(store.put_bytes(content_of(2 * CHUNK + 5)))  # brings them back
    store.delete_file("a")
    blob_file(store.location, content_hash).unlink()
    with pytest.raises(BlobMissingError) as raised:
        store.open_blob(content_hash)
    assert raised.value.path is None
    store.unpin(content_hash)
    with pytest.raises(BlobNotFoundError):
        store.get(content_hash)


# --- something else where a blob should be ----------------------------------------------------


def symlink_to(target: str) -> Damage:
    def replace(path: Path) -> None:
        path.rename(path.parent / "kept")
        path.symlink_to(target or path.name)

    return replace


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


IMPOSTORS: dict[str, Damage] = {
    "a symlink to the right bytes": symlink_to("kept"),
    "a symlink to nowhere": symlink_to("nowhere"),
    "a symlink to itself": symlink_to(""),
    "a directory": directory,
    "a fifo": fifo,
}
each_impostor = pytest.mark.parametrize("put_impostor", IMPOSTORS.values(), ids=IMPOSTORS.keys())


@each_impostor
def test_what_is_no_regular_file_is_never_read(
    rotten: tuple[LocalCasStore, str], put_impostor: Damage
) -> None:
    store, content_hash = rotten
    put_impostor(blob_file(store.location, content_hash))
    for call in (
        lambda: store.get(content_hash),
        lambda: store.read_file("a"),
        lambda: store.open_blob(content_hash),
    ):
        with pytest.raises(CatalogError, match="regular file"):
            call()
    assert not store.has(content_hash)
    with pytest.raises(BlobNotFoundError):
        store.link_file("b", content_hash)
    with pytest.raises(BlobNotFoundError):
        store.pin(content_hash)
    assert store.audit_file_index(verify=True).damaged_blob_hashes == (content_hash,)


WAYS: dict[str, Callable[[LocalCasStore, str, bytes], object]] = {
    "put": lambda store, content_hash, content: store.put(content_hash, content),
    "put_stream": lambda store, _, content: store.put_stream(io.BytesIO(content)),
    "write_file": lambda store, _, content: store.write_file("b", content),
    "write_file_stream": lambda store, _, content: store.write_file_stream("b", io.BytesIO(content)),
}


@each_impostor
@pytest.mark.parametrize("way", ["put", "put_stream", "write_file"])
def test_storing_the_bytes_again_heals_what_stood_in_their_place(
    rotten: tuple[LocalCasStore, str], put_impostor: Damage, way: str
) -> None:
    store, content_hash = rotten
    content = content_of(2 * CHUNK + 5)
    put_impostor(blob_file(store.location, content_hash))
    WAYS[way](store, content_hash, content)
    assert store.read_file("a") == content
    assert blob_file(store.location, content_hash).is_file()
    assert not blob_file(store.location, content_hash).is_symlink()
    assert temporary_files(store) == []


@each_damage
@pytest.mark.parametrize("way", WAYS)
def test_storing_the_bytes_again_heals_a_rotten_copy(
    rotten: tuple[LocalCasStore, str], damage: Damage, way: str
) -> None:
    store, content_hash = rotten
    content = content_of(2 * CHUNK + 5)
    damage(blob_file(store.location, content_hash))
    WAYS[way](store, content_hash, content)
    assert store.get(content_hash) == store.read_file("a") == content
    assert store.audit_file_index(verify=True).is_clean()


def test_whoever_reads_a_rotten_copy_while_it_is_healed_keeps_what_he_has(
    rotten: tuple[LocalCasStore, str],
) -> None:
    store, content_hash = rotten
    flip(-1)(blob_file(store.location, content_hash))
    with store.open_blob(content_hash) as reader:
        reader.read(10)
        store.put_bytes(content_of(2 * CHUNK + 5))
        with pytest.raises(BlobHashMismatchError):
            reader.read()
    with store.open_blob(content_hash) as reader:
        assert reader.read() == content_of(2 * CHUNK + 5)
