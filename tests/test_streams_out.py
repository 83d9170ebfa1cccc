"""Streams out of a store: like any binary file, of one content, and open whatever happens to its name."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent_world_distfs import (
    BlobNotFoundError,
    BlobReader,
    InvalidInputError,
    LocalCasStore,
    PathNotFoundError,
)
from contents import CHUNK, content_of


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCasStore]:
    """A store that the tests of this section only read."""
    with LocalCasStore(tmp_path_factory.mktemp("stored") / "store") as store:
        yield store


@pytest.fixture(params=[100, 50_000, 2 * CHUNK + 5], ids=lambda size: f"{size} bytes")
def content(request: pytest.FixtureRequest) -> bytes:
    return content_of(request.param)


@pytest.fixture
def reader(stored: LocalCasStore, content: bytes) -> Iterator[BlobReader]:
    with stored.open_blob(stored.put_bytes(content)) as opened:
        yield opened


def test_a_stream_gives_all_bytes_and_then_none(reader: BlobReader, content: bytes) -> None:
    assert reader.read() == content
    assert reader.read() == b""
    assert reader.read(10) == b""
    assert reader.tell() == len(content) == reader.size_bytes


@pytest.mark.parametrize("size", [1, 13, 4096, CHUNK, CHUNK + 1])
def test_a_stream_gives_what_is_asked(reader: BlobReader, content: bytes, size: int) -> None:
    if len(content) / size > 10_000:
        content = content[: 10_000 * size]
    got = b"".join(reader.read(size) for _ in range(-(-len(content) // size)))
    assert got == content


@pytest.mark.parametrize("size", [-1, 7, 1 << 30])
def test_read1_gives_some_and_at_the_end_nothing(reader: BlobReader, content: bytes, size: int) -> None:
    if size == 7:
        content = content[:700]
        assert b"".join(reader.read1(size) for _ in range(100)) == content
        return
    parts = []
    while part := reader.read1(size):
        assert len(part) <= CHUNK
        parts.append(part)
    assert b"".join(parts) == content


def test_a_stream_fills_buffers(reader: BlobReader, content: bytes) -> None:
    buffer = bytearray(len(content) + 10)
    assert reader.readinto(buffer) == len(content)
    assert buffer[: len(content)] == content
    assert reader.readinto(buffer) == 0
    reader.seek(0)
    assert reader.readinto1(bytearray(10)) == 10


def test_nothing_is_read_for_nothing(reader: BlobReader) -> None:
    assert reader.read(0) == b""
    assert reader.read1(0) == b""
    assert reader.tell() == 0
    assert reader.read(None) != b""


def test_a_stream_goes_where_it_is_sent(reader: BlobReader, content: bytes) -> None:
    assert reader.seek(10) == 10
    assert reader.read(5) == content[10:15]
    assert reader.seek(-3, os.SEEK_CUR) == 12
    assert reader.read(5) == content[12:17]
    assert reader.seek(-7, os.SEEK_END) == len(content) - 7
    assert reader.read() == content[-7:]
    assert reader.seek(0) == 0
    assert reader.read() == content


def test_beyond_the_end_is_nothing(reader: BlobReader, content: bytes) -> None:
    for far in (len(content) + 5, 1 << 40, (1 << 63) - 1, 1 << 70):
        assert reader.seek(far) == reader.tell() == far
        assert reader.read() == reader.read1() == reader.read(3) == b""
    assert reader.seek(-5, os.SEEK_END) == len(content) - 5
    assert reader.read() == content[-5:]


def test_a_position_before_the_start_is_refused_and_changes_nothing(reader: BlobReader) -> None:
    reader.seek(4)
    for offset, whence in [(-1, os.SEEK_SET), (-5, os.SEEK_CUR), (-1 << 40, os.SEEK_END), (0, 9)]:
        with pytest.raises(ValueError, match=r"negative|whence"):
            reader.seek(offset, whence)
    assert reader.tell() == 4


def test_a_stream_says_what_it_is(reader: BlobReader, content: bytes) -> None:
    assert isinstance(reader, io.BufferedIOBase)
    assert (reader.readable(), reader.seekable(), reader.writable()) == (True, True, False)
    assert reader.size_bytes == len(content)
    assert reader.metadata is None
    assert reader.name == reader.content_hash
    with pytest.raises(io.UnsupportedOperation):
        reader.write(b"x")
    with pytest.raises(io.UnsupportedOperation):
        reader.truncate(0)


def test_a_closed_stream_gives_nothing(reader: BlobReader) -> None:
    reader.close()
    reader.close()
    calls: list[Callable[[], object]] = [reader.read, reader.read1, reader.tell, lambda: reader.seek(0)]
    for call in calls:
        with pytest.raises(ValueError, match="closed"):
            call()


def test_a_stream_is_read_by_lines_and_as_text(store: LocalCasStore) -> None:
    text = "".join(f"line {number} \u6587\n" for number in range(2000))
    store.write_file("a", text.encode())
    with store.open_file("a") as reader:
        assert [line.decode() for line in reader] == text.splitlines(keepends=True)
    with io.TextIOWrapper(store.open_file("a"), encoding="utf-8", newline="") as lines:
        assert lines.read() == text
    with io.TextIOWrapper(store.open_file("a"), encoding="utf-8", newline="") as lines:
        assert list(lines) == text.splitlines(keepends=True)


def test_archives_are_read_in_place(store: LocalCasStore, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(content_of(100_000) + name.encode())
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive, tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name in ("a", "b"):
            archive.write(tmp_path / name, name)
            tar.add(tmp_path / name, name)
    for name in ("x.zip", "x.tar"):
        with (tmp_path / name).open("rb") as file:
            store.write_file_stream(name, file)
    with store.open_file("x.zip") as reader, zipfile.ZipFile(reader) as archive:
        assert archive.testzip() is None
        assert archive.read("b") == (tmp_path / "b").read_bytes()
    with store.open_file("x.tar") as reader, tarfile.open(fileobj=reader) as tar:
        member = tar.extractfile("b")
        assert member is not None
        assert member.read() == (tmp_path / "b").read_bytes()


def test_an_open_file_knows_what_it_is_of(either_store: LocalCasStore) -> None:
    for size in (10, 50_000):
        written = either_store.write_file("a", content_of(size))
        with either_store.open_file("./a") as reader:
            either_store.write_file("a", b"changed")
            assert reader.metadata == written
            assert reader.name == "a"
            assert reader.content_hash == written.content_hash
            assert reader.read() == content_of(size)


def test_an_open_stream_outlives_deletion_collection_and_the_store(store: LocalCasStore) -> None:
    readers = []
    for size in (10, 50_000, 2 * CHUNK):
        written = store.write_file("a", content_of(size))
        readers.append(store.open_file("a"))
        readers.append(store.open_blob(written.content_hash))
    store.delete_file("a")
    assert store.prune_orphan_blobs().pruned_blobs == 3
    store.close()
    for reader in readers:
        with reader:
            assert reader.read() == content_of(reader.size_bytes)


def test_what_is_not_there_cannot_be_opened(store: LocalCasStore) -> None:
    with pytest.raises(PathNotFoundError):
        store.open_file("a")
    with pytest.raises(BlobNotFoundError):
        store.open_blob("a" * 64)
    with pytest.raises(InvalidInputError):
        store.open_blob("a")


def test_a_stream_that_nobody_closes_is_no_warning_and_no_leak(store: LocalCasStore) -> None:
    store.write_file("a", content_of(50_000))
    for _ in range(3000):
        store.open_file("a").read(5)
