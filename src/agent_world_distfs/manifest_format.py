"""The manifest: a whole index as one run of deterministic CBOR; the same index gives the same bytes.

Layout, by bytes (hexadecimal, ASCII in quotes; a *head* is a CBOR initial byte with its argument)::

    d9 d9f7                         tag 55799, "this is CBOR"
    a2                              map of two keys
      65 "files"    array head      that many entries, each of them:
        a4                          map of four keys, in this order
          64 "path"           text head, then UTF-8: normalized, 1 to 4,096 bytes
          6a "size_bytes"     unsigned integer head: 0 to 2^63 - 1
          6c "content_hash"   78 40, then 64 lowercase hexadecimal digits
          6d "updated_at_ms"  integer head: -2^63 to 2^63 - 1
      67 "version"  01

Entries ascend strictly by the bytes of ``path``. Every head has its shortest form, every length is
definite, keys are in the order that deterministic encoding gives them, nothing follows. So each
index has exactly one manifest, its hash names the index, and comparing two is comparing hashes.

The reader is the grammar above and not a CBOR decoder whose result is checked: what is not
canonical cannot be parsed, and no more than one entry is ever held, whatever the lengths claim.
The price is that the reader knows this format and no other CBOR.

Source: RFC 8949 section 4.2 (Core Deterministic Encoding Requirements), section 3.4.6 (tag 55799).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from typing import Final

from agent_world_distfs.errors import ManifestError, PathInvalidError
from agent_world_distfs.hashing import CHUNK_BYTES, is_content_hash
from agent_world_distfs.paths import MAX_PATH_BYTES, normalize_path
from agent_world_distfs.records import FileMetadata, Readable

MANIFEST_VERSION: Final = 1

_UNSIGNED, _NEGATIVE, _TEXT, _ARRAY = 0, 1, 3, 4
"""CBOR major types."""

_MAX_ENTRY_BYTES = MAX_PATH_BYTES + 256
"""More than any entry takes: all but the path takes 131 at most."""

_WRITE_BYTES = 1 << 16

_unpack = {struct.calcsize(form): struct.Struct(form).unpack for form in (">B", ">xB", ">xH", ">xI", ">xQ")}
_pack_2, _pack_4, _pack_8 = (struct.Struct(form).pack for form in (">BH", ">BI", ">BQ"))
_short_heads = tuple(
    tuple(bytes((major << 5 | n,)) if n < 24 else bytes((major << 5 | 24, n)) for n in range(256))
    for major in range(_ARRAY + 1)
)

_find_named = re.compile(rb"lcontent_hashx@([0-9a-f]{64})").findall
_NAMED_BYTES = 79

# --- writing ----------------------------------------------------------------------------------


def encode_manifest(files: Iterable[FileMetadata], count: int) -> Iterator[bytes]:
    """The manifest of ``files``, in pieces of about 64 KiB; ``files`` are read as the pieces are taken.

    ``files``: exactly ``count``, ascending by the UTF-8 bytes of their paths, unique, the paths
    normalized (which the index holds them as, and which is not checked again here).

    Raises:
        ValueError: the files are not so, or a field is none that a manifest can hold.
    """
    buffer = bytearray(b"\xd9\xd9\xf7\xa2\x65files" + _head(_ARRAY, count))
    previous = b""
    written = 0
    for file in files:
        path = file.path.encode()
        if path <= previous:
            raise ValueError(f"file {written + 1}: paths must be unique and ascend by their UTF-8 bytes")
        previous = path
        written += 1
        buffer += _encode_entry(file, path)
        if len(buffer) >= _WRITE_BYTES:
            yield bytes(buffer)
            buffer.clear()
    if written != count:
        raise ValueError(f"{written} files, {count} announced")
    yield bytes(buffer + b"\x67version" + _head(_UNSIGNED, MANIFEST_VERSION))


def _encode_entry(file: FileMetadata, path: bytes) -> bytes:
    time_ms = file.updated_at_ms
    if not is_content_hash(file.content_hash):
        raise ValueError("a content hash must be 64 lowercase hexadecimal characters")
    return b"\xa4\x64path%b%b\x6asize_bytes%b\x6ccontent_hash\x78\x40%b\x6dupdated_at_ms%b" % (
        _head(_TEXT, len(path)),
        path,
        _head(_UNSIGNED, file.size_bytes),
        file.content_hash.encode(),
        _head(_UNSIGNED, time_ms) if time_ms >= 0 else _head(_NEGATIVE, -1 - time_ms),
    )


def _head(major: int, argument: int) -> bytes:
    """A CBOR head in its shortest form."""
    if 0 <= argument < 1 << 8:
        return _short_heads[major][argument]
    if 0 <= argument < 1 << 16:
        return _pack_2(major << 5 | 25, argument)
    if 0 <= argument < 1 << 32:
        return _pack_4(major << 5 | 26, argument)
    if 0 <= argument < 1 << 63:
        return _pack_8(major << 5 | 27, argument)
    raise ValueError("a size or a count is negative, or a number does not fit into 64 bits with a sign")


# --- reading ----------------------------------------------------------------------------------


def _head_pattern(major: int) -> bytes:
    """Matches a head of this major type in its shortest form, arguments up to 2^63 - 1."""
    first = major << 5
    return (
        rb"[\x%02x-\x%02x]|\x%02x[\x18-\xff]|\x%02x(?!\0)..|\x%02x(?!\0\0)....|\x%02x(?!\0{4})[\0-\x7f].{7}"
    ) % (first, first | 23, first | 24, first | 25, first | 26, first | 27)


_Grammar = tuple[tuple[str, bytes], ...]
"""Items that follow one another: what it is, in words, and the pattern that it matches."""

_START: _Grammar = (
    ("tag 55799", rb"\xd9\xd9\xf7"),
    ("a map of two keys", rb"\xa2"),
    ("the key 'files'", rb"\x65files"),
    ("the number of files as an array head in shortest form", rb"(%b)" % _head_pattern(_ARRAY)),
)
_PATH: _Grammar = (
    ("a map of four keys", rb"\xa4"),
    ("the key 'path'", rb"\x64path"),
    ("the length of the path as a text head in shortest form", rb"(%b)" % _head_pattern(_TEXT)),
)
_REST: _Grammar = (
    ("the key 'size_bytes'", rb"\x6asize_bytes"),
    ("the size as an unsigned integer below 2^63 in shortest form", rb"(%b)" % _head_pattern(_UNSIGNED)),
    ("the key 'content_hash'", rb"\x6ccontent_hash"),
    ("the content hash as text of 64 bytes", rb"\x78\x40"),
    ("64 lowercase hexadecimal digits", rb"([0-9a-f]{64})"),
    ("the key 'updated_at_ms'", rb"\x6dupdated_at_ms"),
    (
        "the time as an integer of 64 bits in shortest form",
        rb"(%b|%b)" % (_head_pattern(_UNSIGNED), _head_pattern(_NEGATIVE)),
    ),
)
_END: _Grammar = (
    ("the key 'version'", rb"\x67version"),
    ("the version as an unsigned integer in shortest form", rb"(%b)" % _head_pattern(_UNSIGNED)),
)


def _compile(grammar: _Grammar) -> re.Pattern[bytes]:
    return re.compile(b"".join(pattern for _, pattern in grammar), re.DOTALL)


_match_path = _compile(_PATH).match
_match_rest = _compile(_REST).match


def decode_manifest(source: Readable) -> Iterator[FileMetadata]:
    """The files of the manifest that ``source`` holds from here to its end, in the manifest's order.

    Lazy, in bounded memory whatever the bytes claim; ``source`` is not closed. A manifest is valid only once
    the iterator has reached its end: files returned before are well-formed, what follows them need not be.
    Whether the blobs exist is not checked. An error that ``source`` raises passes through.

    Raises:
        ManifestError: the bytes are anything but one manifest in its canonical form and of version
            1. The reason names positions and kinds of fault, never content.
    """
    window = _Window(source)
    yield from _decode_files(window, _decode_count(window))
    _decode_end(window)


def scan_hashes(source: Readable) -> Iterator[str]:
    """Every content hash that a manifest names, some of them often; perhaps some more, from within paths.

    For bytes that are a manifest for certain: nothing is checked. Many times as fast as decoding.
    """
    tail = b""
    while part := source.read(CHUNK_BYTES):
        window = tail + part
        for content_hash in _find_named(window):
            yield content_hash.decode()
        tail = window[1 - _NAMED_BYTES :]  # one that the window cuts is whole in the next


class _Window:
    """Part of the source. Filled, it holds a largest entry from ``position`` on, or all that is left."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._ended = False
        self._dropped = 0
        self.data = b""
        self.position = 0

    def fill(self) -> None:
        """Read on, if less than the largest entry is at hand."""
        while len(self.data) - self.position < _MAX_ENTRY_BYTES and not self._ended:
            chunk = self._source.read(CHUNK_BYTES)
            self._ended = not chunk
            self._dropped += self.position
            self.data = self.data[self.position :] + chunk
            self.position = 0

    def take(self, grammar: _Grammar, where: str) -> re.Match[bytes]:
        """Match the items here and move behind them."""
        self.fill()
        found = _compile(grammar).match(self.data, self.position)
        if found is None:
            raise self.fault(grammar, self.position, where)
        self.position = found.end()
        return found

    def fault(self, grammar: _Grammar, position: int, where: str) -> ManifestError:
        """Which item of the grammar, matched from ``position`` on, is not there."""
        for expected, pattern in grammar:
            found = re.compile(pattern, re.DOTALL).match(self.data, position)
            if found is None:
                return self.error(f"expected {expected}", position, where)
            position = found.end()
        raise AssertionError("items that match one by one match in sequence: each is told by its first byte")

    def error(self, kind: str, position: int, where: str) -> ManifestError:
        """The error that says what is wrong and where."""
        at = f"{where}, byte {self._dropped + position}: {kind}"
        if self._ended and len(self.data) < position + _MAX_ENTRY_BYTES:
            at += f" (the input ends at byte {self._dropped + len(self.data)})"
        return ManifestError(at)


def _decode_count(window: _Window) -> int:
    return _argument(window.take(_START, "start")[1])


def _decode_files(window: _Window, count: int) -> Iterator[FileMetadata]:
    previous = b""
    for number in range(1, count + 1):
        window.fill()
        start = window.position
        file, path = _decode_entry(window, number)
        if path <= previous:
            raise window.error("the path is not above the one before it", start, f"file {number}")
        previous = path
        yield file


def _decode_entry(window: _Window, number: int) -> tuple[FileMetadata, bytes]:
    data = window.data
    head = _match_path(data, window.position)
    if head is None:
        raise window.fault(_PATH, window.position, f"file {number}")
    begin = head.end()
    end = begin + _argument(head[1])
    if end - begin > MAX_PATH_BYTES:
        raise window.error(f"the path is longer than {MAX_PATH_BYTES} bytes", begin, f"file {number}")
    rest = _match_rest(data, end)
    if rest is None:
        raise window.fault(_REST, end, f"file {number}")
    raw_path = data[begin:end]
    path = _decode_path(raw_path)
    if path is None:
        raise window.error("the path is not normalized, or not UTF-8", begin, f"file {number}")
    window.position = rest.end()
    size, content_hash, time = rest.groups()
    time_ms = _argument(time) if time[0] < 0x20 else -1 - _argument(time)
    return FileMetadata(path, content_hash.decode(), _argument(size), time_ms), raw_path


def _decode_path(raw_path: bytes) -> str | None:
    """The path, None if it is not one: an error made here would carry it in its context."""
    try:
        path = raw_path.decode()
        return path if normalize_path(path) == path else None
    except (UnicodeDecodeError, PathInvalidError):
        return None


def _argument(head: bytes) -> int:
    argument: int
    (argument,) = _unpack[len(head)](head)
    return argument & 0x1F if len(head) == 1 else argument


def _decode_end(window: _Window) -> None:
    version = window.take(_END, "end")
    if _argument(version[1]) != MANIFEST_VERSION:
        kind = f"the version is unknown, this reads version {MANIFEST_VERSION}"
        raise window.error(kind, version.start(1), "end")
    if window.position < len(window.data):  # what was filled for the end reaches far beyond it
        raise window.error("bytes follow the manifest", window.position, "end")
