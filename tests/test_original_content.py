"""The blobs of the original: plain and packed, lying and broken."""

from __future__ import annotations

import io
import os
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import zstandard
from blake3 import blake3

from agent_world_distfs.errors import (
    CorruptError,
)
from agent_world_distfs.hashing import CHUNK_BYTES, hash_function
from agent_world_distfs.operations.original import (
    find_algorithm,
    open_original_blob,
    read_snapshot,
)
from agent_world_distfs.records import HashAlgorithm
from original_stores import CONTENT, NAME, OTHER, Original, header, pack

pytestmark = pytest.mark.usefixtures("no_descriptor_is_left_open")


@pytest.fixture
def original(tmp_path: Path) -> Original:
    return Original(tmp_path / "original")


# --- whole blobs ------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"a", CONTENT, bytes(3 * CHUNK_BYTES + 1)], ids=len)
def test_plain_and_packed_give_the_same_content(original: Original, content: bytes) -> None:
    name = blake3(content).hexdigest()
    for stored in (content, pack(content)):
        original.put(stored, name)
        assert original.read(name) == content


@pytest.mark.parametrize("most", [1, 79, 80, 81, 5_000, 1 << 17])
def test_the_content_is_the_same_in_pieces(original: Original, most: int) -> None:
    for stored in (CONTENT, pack(CONTENT)):
        original.put(stored)
        with open_original_blob(original.root, NAME) as content:
            assert b"".join(iter(lambda: content.read(most), b"")) == CONTENT
            assert content.read(1) == b""


def test_several_frames_are_one_content(original: Original) -> None:
    frames = b"".join(
        zstandard.compress(CONTENT[start : start + 4000]) for start in range(0, len(CONTENT), 4000)
    )
    skippable = b"\x50\x2a\x4d\x18\x04\0\0\0skip"
    streamed = zstandard.ZstdCompressor(level=19, write_content_size=False, write_checksum=True).compress(
        CONTENT
    )
    for form in (frames, skippable + frames + skippable, streamed):
        original.put(pack(CONTENT, frames=form))
        assert original.read() == CONTENT


PLAIN_LOOKALIKES = {
    "the magic": b"O7CBLOB1",
    "the magic and more": b"O7CBLOB1" + bytes(100),
    "a header": header(5, OTHER),
    "a packed blob of another content": pack(b"other"),
    "a header cut short": header(5, OTHER)[:-1],
    "a packed blob, broken": pack(b"other", frames=b"junk"),
}


@pytest.mark.parametrize("kind", PLAIN_LOOKALIKES)
@pytest.mark.parametrize("algorithm", HashAlgorithm)
def test_a_plain_blob_may_look_packed(original: Original, kind: str, algorithm: HashAlgorithm) -> None:
    content = PLAIN_LOOKALIKES[kind]
    name = original.put(content, hash_function(algorithm)(content))
    assert original.read(name) == content
    original.put(pack(content, name=name), name)
    assert original.read(name) == content
    assert find_algorithm(original.root, read_snapshot(original.root)) is algorithm


# --- broken blobs -----------------------------------------------------------------------------


def zeros(blocks: int, window_log: int = 17) -> bytes:
    """A zstd frame of so many blocks of 128 KiB of zeros, 4 bytes each (RFC 8878 section 3.1.1)."""
    block = (1 << 1 | 1 << 20).to_bytes(3, "little") + b"\0"
    last = (1 | 1 << 1 | 1 << 20).to_bytes(3, "little") + b"\0"
    return b"\x28\xb5\x2f\xfd\x00" + bytes([(window_log - 10) << 3]) + block * (blocks - 1) + last


LIES = {
    "one byte less": pack(CONTENT, size_bytes=len(CONTENT) - 1),
    "one byte more": pack(CONTENT, size_bytes=len(CONTENT) + 1),
    "nothing": pack(CONTENT, size_bytes=0),
    "2^40 bytes": pack(CONTENT, size_bytes=1 << 40),
    "2^40 + 1 bytes": pack(CONTENT, size_bytes=(1 << 40) + 1),
    "2^64 - 1 bytes": pack(CONTENT, size_bytes=(1 << 64) - 1),
    "a second frame": pack(CONTENT) + zstandard.compress(b"more"),
    "bytes behind the frame": pack(CONTENT) + b"more and more",
    "no frame": pack(CONTENT, frames=b""),
    "no zstd": pack(CONTENT, frames=CONTENT),
    "a window of 256 MiB": pack(CONTENT, frames=zeros(1, window_log=28), size_bytes=1 << 17),
}


@pytest.mark.parametrize("kind", LIES)
def test_a_packed_blob_that_lies_is_refused(original: Original, kind: str) -> None:
    original.put(LIES[kind])
    with pytest.raises(CorruptError, match=f"packed blob {NAME}"):
        original.read()
    assert find_algorithm(original.root, read_snapshot(original.root)) is None


def count_bytes(original: Original, taken: list[int]) -> None:
    """Read a blob to its end and note the size of each piece."""
    with open_original_blob(original.root, NAME) as content:
        while chunk := content.read(CHUNK_BYTES):
            taken.append(len(chunk))


@pytest.fixture
def little_memory() -> Iterator[None]:
    """The test holds no more than a few chunks at a time."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * CHUNK_BYTES


@pytest.mark.parametrize("size", [(1 << 40) + 1, (1 << 64) - 1])
def test_an_impossible_size_is_refused_before_anything_is_unpacked(original: Original, size: int) -> None:
    original.put(pack(CONTENT, size_bytes=size))
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(CorruptError, match="impossible size") as raised:
        open_original_blob(original.root, NAME)
    assert len(os.listdir("/dev/fd")) == before, raised  # although the error is still held


def test_unpacking_stops_one_byte_behind_what_is_declared(original: Original) -> None:
    original.put(pack(b"", frames=zeros(1), size_bytes=10, name=NAME))
    buffer = bytearray(b"?" * 100)
    with open_original_blob(original.root, NAME) as content, pytest.raises(CorruptError, match="more than"):
        cast("io.BufferedReader", content).raw.readinto(memoryview(buffer))
    assert buffer == bytes(11) + b"?" * 89


@pytest.mark.usefixtures("little_memory")
def test_a_bomb_gives_no_more_than_it_declares(original: Original) -> None:
    declared = 3_000_000
    original.put(pack(b"", frames=zeros(1 << 16), size_bytes=declared, name=NAME))  # 8 GiB
    taken: list[int] = []
    with pytest.raises(CorruptError, match="more than"):
        count_bytes(original, taken)
    assert sum(taken) <= declared


@pytest.mark.usefixtures("little_memory")
def test_a_large_blob_streams_in_bounded_memory(original: Original) -> None:
    size = 64 << 20
    original.put(pack(b"", frames=zeros(size >> 17), size_bytes=size, name=NAME))
    taken: list[int] = []
    count_bytes(original, taken)
    assert sum(taken) == size


def is_whole(original: Original) -> bool:
    """Whether the blob verifies; a broken one may also be refused, and in no other way."""
    try:
        return blake3(original.read()).hexdigest() == NAME
    except CorruptError:
        return False


def test_a_packed_blob_that_is_cut_never_passes_for_whole(original: Original) -> None:
    whole = pack(CONTENT)
    for length in range(len(whole)):
        original.put(whole[:length])
        assert not is_whole(original)


def test_a_packed_blob_with_bytes_changed_is_never_refused_by_a_foreign_error(original: Original) -> None:
    chance = random.Random(8)
    whole = pack(CONTENT)
    wholes = 0
    for position in [*range(len(whole)), *(chance.randrange(len(whole)) for _ in range(2_000))]:
        broken = bytearray(whole)
        broken[position] ^= 1 << chance.randrange(8)
        original.put(bytes(broken))
        wholes += is_whole(original)
    assert wholes < len(whole) / 10  # some bits of a zstd frame mean nothing
