"""Streams in and out: whole, verified before the last byte, and nobody's to close but the caller's."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent_world_distfs import (
    BlobHashMismatchError,
    BlobMissingError,
    BlobNotFoundError,
    BlobReader,
    CatalogError,
    InvalidInputError,
    LocalCasStore,
    PathNotFoundError,
)

CHUNK = 1 << 20
SIZES = [0, 1, 8191, 8192, 8193, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7]


def content_of(size: int) -> bytes:
    """Bytes of which no two stretches are alike."""
    return b"".join(number.to_bytes(8, "little") for number in range(size // 8 + 1))[:size]


def file_of(store: LocalCasStore, content_hash: str) -> Path:
    """Where a large blob's bytes are."""
    return Path(store.location, "blobs", content_hash[:2], content_hash)


def temporary_files(store: LocalCasStore) -> list[Path]:
    return list(Path(store.location).glob("tmp/*/*"))


class Drops:
    """A reader that gives a few bytes at a time, as a socket does."""

    def __init__(self, content: bytes, most: int) -> None:
        self._rest = io.BytesIO(content)
        self._most = most

    def read(self, size: int, /) -> bytes:
        assert size > 0, "a reader is asked for a number of bytes"
        return self._rest.read(min(size, self._most))


# --- in ---------------------------------------------------------------------------------------


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
    assert not file_of(store, store.hash_bytes(content)).exists()
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
        with pytest.raises((TypeError, AttributeError)):
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
        assert file_of(either_store, content_hash).read_bytes() == either_store.get(content_hash)


# --- out --------------------------------------------------------------------------------------


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
    damage(file_of(store, content_hash))
    actual = store.hash_bytes(file_of(store, content_hash).read_bytes())
    for call in (
        lambda: store.get(content_hash),
        lambda: store.get_verified(content_hash),
        lambda: store.read_file("a"),
        lambda: store.read_file_with_metadata("a"),
    ):
        with pytest.raises(BlobHashMismatchError) as raised:
            call()
        assert (raised.value.expected, raised.value.actual) == (content_hash, actual)


@each_damage
@pytest.mark.parametrize("size", [1000, CHUNK, 2 * CHUNK + 4])
def test_a_rotten_stream_fails_before_its_last_byte(
    rotten: tuple[LocalCasStore, str], damage: Damage, size: int
) -> None:
    store, content_hash = rotten
    damage(file_of(store, content_hash))
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
    damage(file_of(store, content_hash))
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
    flip(-1)(file_of(store, content_hash))
    with store.open_blob(content_hash) as reader:
        reader.seek(100)
        assert reader.read(50) == content_of(CHUNK)[100:150]


def test_a_blob_that_rots_while_it_is_read_is_seen(rotten: tuple[LocalCasStore, str]) -> None:
    store, content_hash = rotten
    with store.open_blob(content_hash) as reader:
        reader.read(CHUNK)
        flip(-1)(file_of(store, content_hash))
        with pytest.raises(BlobHashMismatchError):
            reader.read()


def test_lost_bytes_of_a_named_blob_are_loss_and_no_missing_file(rotten: tuple[LocalCasStore, str]) -> None:
    store, content_hash = rotten
    file_of(store, content_hash).unlink()
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
    file_of(store, content_hash).unlink()
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
    put_impostor(file_of(store, content_hash))
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


@each_impostor
@pytest.mark.parametrize("way", ["put", "put_stream", "write_file"])
def test_storing_the_bytes_again_heals_what_stood_in_their_place(
    rotten: tuple[LocalCasStore, str], put_impostor: Damage, way: str
) -> None:
    store, content_hash = rotten
    content = content_of(2 * CHUNK + 5)
    put_impostor(file_of(store, content_hash))
    if way == "put":
        store.put(content_hash, content)
    elif way == "put_stream":
        store.put_stream(io.BytesIO(content))
    else:
        store.write_file("b", content)
    assert store.read_file("a") == content
    assert file_of(store, content_hash).is_file()
    assert not file_of(store, content_hash).is_symlink()
    assert temporary_files(store) == []


@each_damage
@pytest.mark.parametrize("way", ["put", "put_stream", "write_file", "write_file_stream"])
def test_storing_the_bytes_again_heals_a_rotten_copy(
    rotten: tuple[LocalCasStore, str], damage: Damage, way: str
) -> None:
    store, content_hash = rotten
    content = content_of(2 * CHUNK + 5)
    damage(file_of(store, content_hash))
    if way == "put":
        store.put(content_hash, content)
    elif way == "put_stream":
        store.put_stream(io.BytesIO(content))
    elif way == "write_file":
        store.write_file("b", content)
    else:
        store.write_file_stream("b", io.BytesIO(content))
    assert store.get(content_hash) == store.read_file("a") == content
    assert store.audit_file_index(verify=True).is_clean()


def test_whoever_reads_a_rotten_copy_while_it_is_healed_keeps_what_he_has(
    rotten: tuple[LocalCasStore, str],
) -> None:
    store, content_hash = rotten
    flip(-1)(file_of(store, content_hash))
    with store.open_blob(content_hash) as reader:
        reader.read(10)
        store.put_bytes(content_of(2 * CHUNK + 5))
        with pytest.raises(BlobHashMismatchError):
            reader.read()
    with store.open_blob(content_hash) as reader:
        assert reader.read() == content_of(2 * CHUNK + 5)
