"""Streams into a store: whole or without a trace, in bounded memory, and left for the caller to close."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from agent_world_distfs import BlobHashMismatchError, LocalCasStore
from behind import blob_file, temporary_files
from contents import CHUNK, content_of

SIZES = [0, 1, 8191, 8192, 8193, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7]


class Drops:
    """A reader that gives a few bytes at a time, as a socket does."""

    def __init__(self, content: bytes, most: int) -> None:
        self._rest = io.BytesIO(content)
        self._most = most

    def read(self, size: int, /) -> bytes:
        assert size > 0, "a reader is asked for a number of bytes"
        return self._rest.read(min(size, self._most))


@pytest.mark.parametrize("size", SIZES)
def test_a_stream_is_stored_whole(either_store: LocalCasStore, size: int) -> None:
    content = content_of(size)
    source = io.BytesIO(content)
    stat = either_store.put_stream(source)
    assert (stat.content_hash, stat.size_bytes) == (either_store.hash_bytes(content), size)
    assert either_store.get(stat.content_hash) == content
    assert not source.closed
    assert source.read() == b""


@pytest.mark.parametrize("size", [0, 100, 8193, 50_000])
@pytest.mark.parametrize("most", [1, 7, 4096])
def test_short_reads_are_not_the_end(store: LocalCasStore, size: int, most: int) -> None:
    content = content_of(size)
    assert store.put_stream(Drops(content, most)).size_bytes == size
    assert store.get(store.hash_bytes(content)) == content


def test_a_reader_that_gives_more_than_asked_loses_nothing(store: LocalCasStore) -> None:
    class Generous:
        def __init__(self) -> None:
            self.parts = [content_of(20_000), content_of(3 * CHUNK), b"end"]

        def read(self, size: int, /) -> bytes:
            return self.parts.pop(0) if self.parts else b""

    whole = content_of(20_000) + content_of(3 * CHUNK) + b"end"
    assert store.get(store.put_stream(Generous()).content_hash) == whole


def test_memory_is_bounded_whatever_a_reader_gives(store: LocalCasStore) -> None:
    # bounded, whatever a reader gives: also one that takes no notice of what it is asked for.
    class Endless:
        def __init__(self) -> None:
            self.count = 0

        def read(self, size: int, /) -> bytes:
            self.count += 1
            return self.count.to_bytes(8) * 2000 if self.count < 2000 else b""

    tracemalloc.start()
    try:
        assert store.put_stream(Endless()).size_bytes == 1999 * 16_000
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", SIZES)
def test_what_was_expected_is_stored(store: LocalCasStore, size: int) -> None:
    content = content_of(size)
    expected = store.hash_bytes(content)
    assert store.put_stream(io.BytesIO(content), expected_content_hash=expected).content_hash == expected


@pytest.mark.parametrize("size", [0, 100, 8193, CHUNK + 1])
def test_what_was_not_expected_leaves_no_trace(either_store: LocalCasStore, size: int) -> None:
    store, content = either_store, content_of(size)
    expected = store.hash_bytes(b"another")
    with pytest.raises(BlobHashMismatchError) as raised:
        store.put_stream(io.BytesIO(content), expected_content_hash=expected)
    assert (raised.value.expected, raised.value.actual) == (expected, store.hash_bytes(content))
    assert not store.has(expected)
    assert not store.has(store.hash_bytes(content))
    assert not blob_file(store.location, store.hash_bytes(content)).exists()
    assert temporary_files(store) == []
    assert store.audit_file_index().orphan_blob_hashes == ()


def readers_of_no_bytes() -> dict[str, Callable[[], Any]]:
    class Late:
        def __init__(self, last: object) -> None:
            self.parts: list[object] = [bytes(20_000), last]

        def read(self, size: int, /) -> object:
            return self.parts.pop(0)

    return {
        "text": lambda: io.StringIO("text"),
        "text, empty": lambda: io.StringIO(""),
        "text after bytes": lambda: Late("text"),
        "nothing at all": lambda: Late(None),
        "mutable bytes": lambda: Late(bytearray(b"x")),
        "no reader": lambda: b"bytes",
    }


@pytest.mark.parametrize("make", readers_of_no_bytes().values(), ids=readers_of_no_bytes().keys())
def test_a_reader_of_something_else_than_bytes_is_a_type_error(
    store: LocalCasStore, make: Callable[[], Any]
) -> None:
    kept = store.write_file("kept", b"kept")
    for call in (
        lambda: store.put_stream(make()),
        lambda: store.write_file_stream("a", make()),
        lambda: store.write_file_stream("kept", make()),
    ):
        with pytest.raises(TypeError):
            call()
    assert store.list_files() == [kept]
    assert temporary_files(store) == []
    assert store.audit_file_index().is_clean()


class _BrokenError(Exception):
    pass


class Broken(Drops):
    """A reader that fails at its end."""

    def read(self, size: int, /) -> bytes:
        part = super().read(size)
        if not part:
            raise _BrokenError
        return part


@pytest.mark.parametrize("size", [0, 100, 8193, CHUNK + 1])
def test_a_reader_that_fails_leaves_no_trace(store: LocalCasStore, size: int) -> None:
    kept = store.write_file("a", b"kept")
    with pytest.raises(_BrokenError):
        store.put_stream(Broken(content_of(size), CHUNK))
    with pytest.raises(_BrokenError):
        store.write_file_stream("a", Broken(content_of(size), CHUNK))
    assert store.list_files() == [kept]
    assert temporary_files(store) == []
    assert store.audit_file_index().is_clean()


def test_others_write_while_a_slow_stream_comes_in(store: LocalCasStore) -> None:
    class Slow(Drops):
        def read(self, size: int, /) -> bytes:
            store.write_file("between", b"written between two reads")
            return super().read(size)

    written = store.write_file_stream("a", Slow(content_of(30_000), 10_000))
    assert store.read_file("a") == content_of(30_000)
    assert [file.path for file in store.list_files()] == ["a", "between"]
    assert written.size_bytes == 30_000


def test_a_stream_of_the_store_goes_into_the_store(store: LocalCasStore) -> None:
    store.write_file("a", content_of(3 * CHUNK))
    with store.open_file("a") as reader:
        store.write_file_stream("b", reader)
        assert not reader.closed
    assert store.read_file("b") == content_of(3 * CHUNK)
    with store.open_file("a") as reader:
        store.write_file_stream("a", reader)
    assert store.read_file("a") == content_of(3 * CHUNK)


def test_a_file_holds_exactly_the_bytes_of_a_large_blob(either_store: LocalCasStore) -> None:
    content = content_of(2 * CHUNK)
    for content_hash in (
        either_store.put_bytes(content),
        either_store.put_stream(io.BytesIO(content[1:])).content_hash,
    ):
        assert blob_file(either_store.location, content_hash).read_bytes() == either_store.get(content_hash)
