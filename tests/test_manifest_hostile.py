"""Bytes that are no manifest: each rule broken alone, and what the error tells of it."""

from __future__ import annotations

import io
import re
import struct
import traceback
import tracemalloc

import pytest

from agent_world_distfs.errors import ManifestError
from agent_world_distfs.manifest_format import decode_manifest, encode_manifest
from agent_world_distfs.records import FileMetadata

HASH = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"


def decode(data: bytes) -> list[FileMetadata]:
    return list(decode_manifest(io.BytesIO(data)))


def encode(files: list[FileMetadata]) -> bytes:
    return b"".join(encode_manifest(files, len(files)))


# --- CBOR by hand, so that every form can be written ------------------------------------------


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    if len(raw) < 24:
        return bytes([0x60 | len(raw)]) + raw
    return (
        struct.pack(">BB", 0x78, len(raw)) if len(raw) < 256 else struct.pack(">BH", 0x79, len(raw))
    ) + raw


PATH, SIZE, NAME, TIME = text("path"), text("size_bytes"), text("content_hash"), text("updated_at_ms")
FILES, VERSION = text("files"), text("version")
ITEMS = {PATH: text("a"), SIZE: b"\x01", NAME: text(HASH), TIME: b"\x02"}


def entry(**changed: bytes) -> bytes:
    items = {**ITEMS, **{text(key): value for key, value in changed.items()}}
    return b"\xa4" + b"".join(key + value for key, value in items.items())


def manifest(
    *entries: bytes,
    head: bytes = b"\xd9\xd9\xf7\xa2",
    count: bytes | None = None,
    end: bytes = VERSION + b"\x01",
) -> bytes:
    array = bytes([0x80 | len(entries)]) if count is None else count
    return head + FILES + array + b"".join(entries) + end


A, B = entry(), entry(path=text("b"))
FOUR = b"\xa4"
LONG_COUNT = bytes([0x9B]) + struct.pack(">Q", 2**60)
INTEGERS = {
    "one byte too many": b"\x18\x01",
    "two bytes too many": b"\x19\x00\x17",
    "two bytes for one": b"\x19\x00\xff",
    "four bytes for two": b"\x1a\x00\x00\xff\xff",
    "eight bytes for four": b"\x1b" + struct.pack(">Q", 2**32 - 1),
    "a reserved head": b"\x1c",
    "an indefinite head": b"\x1f",
    "true": b"\xf5",
    "null": b"\xf6",
    "undefined": b"\xf7",
    "half float": b"\xf9\x3c\x00",
    "float": b"\xfa\x3f\x80\x00\x00",
    "double": b"\xfb\x3f\xf0" + bytes(6),
    "text": text("1"),
    "bytes": b"\x41\x01",
    "an array": b"\x81\x01",
    "a map": b"\xa0",
    "a bignum": b"\xc2\x41\x01",
    "a tagged number": b"\xc1\x01",
    "a number under a second self-description": b"\xd9\xd9\xf7\x01",
    "2^63": b"\x1b" + struct.pack(">Q", 2**63),
    "2^64 - 1": b"\x1b" + b"\xff" * 8,
}
TEXTS = {
    "bytes": b"\x41a",
    "a number": b"\x01",
    "null": b"\xf6",
    "an indefinite text": b"\x7f\x61a\xff",
    "a long head": b"\x78\x01a",
    "a longer head": b"\x79\x00\x01a",
    "a tagged text": b"\xd8\x20\x61a",
    "a shared reference": b"\xd8\x1d\x00",
    "an array": b"\x81\x61a",
}
PATHS = {
    "empty": text(""),
    "absolute": text("/a"),
    "a slash at the end": text("a/"),
    "two slashes": text("a//b"),
    "a dot": text("."),
    "a dot first": text("./a"),
    "a dot within": text("a/./b"),
    "two dots": text(".."),
    "two dots within": text("a/../b"),
    "NUL": text("a\0b"),
    "a lone surrogate": text(b"\xed\xa0\x80"),
    "a surrogate pair": text(b"\xed\xa0\xbd\xed\xb8\x80"),
    "a longer UTF-8 form": text(b"\xc1\xa1"),
    "a cut character": text(b"a\xc3"),
    "no UTF-8": text(b"\xff"),
    "4,097 bytes": text("a" * 4097),
    "4,097 bytes of long characters": text("a" + "\u6587" * 1366),
    "65,536 bytes": b"\x7a" + struct.pack(">I", 65536) + b"a" * 65536,
    "a length of 2^63 - 1": b"\x7b" + struct.pack(">Q", 2**63 - 1) + b"a",
    "a length of 2^64 - 1": b"\x7b" + b"\xff" * 8 + b"a",
}
HASHES = {
    "upper case": text(HASH.upper()),
    "63 characters": text(HASH[:-1]),
    "65 characters": text(HASH + "0"),
    "a line feed": text(HASH[:-1] + "\n"),
    "no hexadecimal": text(HASH[:-1] + "g"),
    "empty": text(""),
    "bytes": b"\x58\x40" + HASH.encode(),
    "32 raw bytes": b"\x58\x20" + bytes.fromhex(HASH),
    "a long head": b"\x79\x00\x40" + HASH.encode(),
    "an indefinite text": b"\x7f" + text(HASH) + b"\xff",
    "a tagged text": b"\xd8\x20" + text(HASH),
}
SHAPES = {
    "nothing": b"",
    "an untagged manifest": manifest(A, head=b"\xa2"),
    "the tag twice": manifest(A, head=b"\xd9\xd9\xf7\xd9\xd9\xf7\xa2"),
    "another tag": manifest(A, head=b"\xd9\xd9\xf8\xa2"),
    "a longer tag": manifest(A, head=b"\xda\x00\x00\xd9\xf7\xa2"),
    "an indefinite map": manifest(A, head=b"\xd9\xd9\xf7\xbf", end=VERSION + b"\x01\xff"),
    "a longer map head": manifest(A, head=b"\xd9\xd9\xf7\xb8\x02"),
    "an array for the map": manifest(A, head=b"\xd9\xd9\xf7\x82"),
    "version first": b"\xd9\xd9\xf7\xa2" + VERSION + b"\x01" + FILES + b"\x81" + A,
    "no version": manifest(A, head=b"\xd9\xd9\xf7\xa1", end=b""),
    "no files": b"\xd9\xd9\xf7\xa1" + VERSION + b"\x01",
    "files twice": b"\xd9\xd9\xf7\xa3" + FILES + b"\x80" + FILES + b"\x80" + VERSION + b"\x01",
    "a third key": manifest(A, head=b"\xd9\xd9\xf7\xa3", end=VERSION + b"\x01" + text("zzzzzzzz") + b"\x00"),
    "trailing zero": manifest(A) + b"\0",
    "trailing manifest": manifest(A) * 2,
    "a break at the end": manifest(A) + b"\xff",
    "files as null": manifest(count=b"\xf6"),
    "files as a map": manifest(count=b"\xa0"),
    "files as a tagged set": manifest(count=b"\xd9\x01\x02\x80"),
    "an indefinite array": manifest(A, count=b"\x9f", end=b"\xff" + VERSION + b"\x01"),
    "a longer array head": manifest(A, count=b"\x98\x01"),
    "an array head of eight bytes": manifest(A, count=b"\x9b" + struct.pack(">Q", 1)),
    "fewer files than announced": manifest(A, count=b"\x82"),
    "more files than announced": manifest(A, B, count=b"\x81"),
    "2^60 files": manifest(A, count=LONG_COUNT),
    "2^64 - 1 files": manifest(A, count=b"\x9b" + b"\xff" * 8),
    "a path twice": manifest(A, A),
    "paths that descend": manifest(B, A),
    "paths in the order of UTF-16": manifest(entry(path=text("\U0001f600")), entry(path=text("\uff5e"))),
    "a file that is a number": manifest(b"\x00"),
    "a file that is an array": manifest(b"\x84" + A[1:]),
    "a file in an array": manifest(b"\x81" + A),
    "a tagged file": manifest(b"\xc0" + A),
    "an indefinite file": manifest(b"\xbf" + A[1:] + b"\xff"),
    "a longer file head": manifest(b"\xb8\x04" + A[1:]),
    "a file of three keys": manifest(b"\xa3" + A[1 : A.index(TIME)]),
    "a file of five keys": manifest(b"\xa5" + A[1:] + text("zzzzzzzzzzzzzz") + b"\x00"),
    "a fifth key in front": manifest(b"\xa5" + text("mode") + b"\x00" + A[1:]),
    "a key twice": manifest(FOUR + (PATH + text("a")) * 2 + NAME + text(HASH) + TIME + b"\x02"),
    "keys in the order of the alphabet": manifest(
        FOUR + NAME + text(HASH) + PATH + text("a") + SIZE + b"\x01" + TIME + b"\x02"
    ),
    "a key of another name": manifest(A.replace(b"path", b"Path")),
    "a key as bytes": manifest(A.replace(PATH, b"\x44path")),
    "a key with a longer head": manifest(A.replace(PATH, b"\x78\x04path")),
    "deep nesting": b"\xd9\xd9\xf7\xa2" + FILES + b"\x81" * 100_000,
    "deep maps": manifest(entry(path=(b"\xa1" + PATH) * 100_000)),
    "deep tags": b"\xd9\xd9\xf7" * 100_000 + manifest(A),
}
HOSTILE = {
    **SHAPES,
    **{f"version: {kind}": manifest(A, end=VERSION + value) for kind, value in INTEGERS.items()},
    **{f"size: {kind}": manifest(entry(size_bytes=value)) for kind, value in INTEGERS.items()},
    "size: negative": manifest(entry(size_bytes=b"\x20")),
    **{f"time: {kind}": manifest(entry(updated_at_ms=value)) for kind, value in INTEGERS.items()},
    "time: -2^63 - 1": manifest(entry(updated_at_ms=b"\x3b" + struct.pack(">Q", 2**63))),
    "time: long negative": manifest(entry(updated_at_ms=b"\x38\x17")),
    "time: longer negative": manifest(entry(updated_at_ms=b"\x3b" + struct.pack(">Q", 2**32 - 1))),
    **{f"path: {kind}": manifest(entry(path=value)) for kind, value in (TEXTS | PATHS).items()},
    **{f"hash: {kind}": manifest(entry(content_hash=value)) for kind, value in (TEXTS | HASHES).items()},
}


def test_the_hand_written_manifest_is_one() -> None:
    assert decode(manifest(A, B)) == [FileMetadata("a", HASH, 1, 2), FileMetadata("b", HASH, 1, 2)]
    assert decode(manifest()) == []


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_breaks_one_rule_is_refused(kind: str) -> None:
    with pytest.raises(ManifestError):
        decode(HOSTILE[kind])


@pytest.mark.parametrize(
    "version", [b"\x00", b"\x02", b"\x18\x18", b"\x19\x01\x00", b"\x1b\x7f" + b"\xff" * 7]
)
def test_another_version_is_told_from_damage(version: bytes) -> None:
    with pytest.raises(ManifestError, match="the version is unknown"):
        decode(manifest(A, B, end=VERSION + version))


# --- what an error says -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        manifest(entry(path=text("canary/"))),
        manifest(entry(path=text(b"canary\xff"))),
        manifest(entry(path=text("canary")), entry(path=text("canary"))),
        manifest(entry(path=text("canary"), content_hash=text("canary"))),
        manifest(entry(path=text("canary"), size_bytes=text("canary"))),
        manifest(A.replace(b"path", b"canary")),
        manifest(entry(path=text("canary")))[:-1],
        manifest(A) + b"canary",
    ],
)
def test_an_error_never_holds_content(data: bytes) -> None:
    with pytest.raises(ManifestError) as raised:
        decode(data)
    assert raised.value.__context__ is None  # an error in the context would hold the text that it is about
    shown = "".join(traceback.format_exception(raised.value)) + repr(raised.value) + raised.value.reason
    assert "canary" not in shown


def test_an_error_says_where() -> None:
    good = manifest(A, B)
    size = good.index(SIZE, good.index(B)) + len(SIZE)
    bad = good[:size] + b"\xf5" + good[size + 1 :]
    with pytest.raises(ManifestError, match=f"file 2, byte {size}: expected the size as an unsigned integer"):
        decode(bad)


def test_an_error_counts_bytes_from_the_start_however_far_it_is() -> None:
    files = [FileMetadata(f"{number:06d}", HASH, 0, 0) for number in range(20_000)]
    good = encode(files)
    where = good.rindex(b"version") - 1
    assert where > 1 << 21
    with pytest.raises(ManifestError, match=re.escape(f"byte {where}: expected the key 'version'")):
        decode(good[:where] + b"\x00" + good[where + 1 :])


def test_memory_is_bounded_whatever_the_lengths_claim() -> None:
    claims = [
        HOSTILE[kind] for kind in ("2^60 files", "path: a length of 2^63 - 1", "deep nesting", "deep maps")
    ]
    tracemalloc.start()
    try:
        for data in claims:
            with pytest.raises(ManifestError):
                decode(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20
