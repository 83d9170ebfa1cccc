r"""How results are written: text that is safe on a terminal, JSON that is exact.

Text: a path may hold anything but NUL, terminal escapes included. One that is not plainly printable is
shown as a JSON string (``"a\u001bb"``), so that no byte of it reaches the terminal raw, no two paths
look alike, and a line is always one line.

JSON: one document, ASCII only, so that every path is exact in every locale.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, BinaryIO, TextIO

from agent_world_distfs.errors import WorldError
from agent_world_distfs.records import FileIndexManifestRef, FileMetadata

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def standard_output() -> TextIO:
    """``sys.stdout``; an OSError if the caller closed it, since what is printed must arrive."""
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), "standard output")
    return sys.stdout


def standard_output_bytes() -> BinaryIO:
    """Standard output for content, in bytes."""
    return standard_output().buffer


def discard(stream: TextIO) -> None:
    """Drop what ``stream`` still holds: at exit the interpreter could only complain about it."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def print_line(line: str) -> None:
    """Write one line to standard output."""
    _write(line + "\n")


def _write(text: str) -> None:
    with named_in_errors():
        standard_output().write(text)


def flush() -> None:
    """Have what was written arrive, or raise an error that names standard output."""
    with named_in_errors():
        standard_output().flush()


@contextmanager
def named_in_errors(name: str = "standard output") -> Iterator[None]:
    """While what the caller calls so is read or written: the system's errors do not say what was full."""
    try:
        yield
    except OSError as error:
        if error.filename is None and not isinstance(error, WorldError):
            error.filename = name
        raise


def print_json(document: object) -> None:
    """Write ``document``, records included, as the one JSON document of this run."""
    print_line(json_text(document))


def print_json_array(name: str, items: Iterable[object]) -> None:
    """Write ``{"<name>": [...]}``, an element a line, in bounded memory however many there are."""
    _write(f"{{{json_text(name)}: [")
    separator = "\n"
    for item in items:
        _write(separator + json_text(item))
        separator = ",\n"
    _write("\n]}\n")


def json_text(value: object) -> str:
    r"""``value`` as ASCII JSON; records are objects, references ``HASH:SIZE``, enums their value.

    Bytes of the command line that are no text, for Python lone surrogates, are shown as ``\xff``: JSON could
    only hold what many parsers refuse.
    """
    return _surrogate.sub(_shown_byte, json.dumps(value, default=_jsonable))


_surrogate = re.compile(r"(\\\\|\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2})|\\u(d[89a-f][0-9a-f]{2})")
"""In JSON: an escaped backslash or a pair, which stay; or a lone one."""


def _shown_byte(match: re.Match[str]) -> str:
    if match[1]:
        return match[1]
    code = int(match[2], 16)
    return rf"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else rf"\\u{code:04x}"


def fields(record: Any) -> dict[str, object]:
    """The fields of a record, in order, as a document."""
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def _jsonable(value: object) -> object:
    if isinstance(value, FileIndexManifestRef):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value):
        return fields(value)
    return printable(str(value))


def printable(text: str) -> str:
    """``text`` with everything escaped that is no visible character: one line, harmless to a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return rf"\x{ord(char) - 0xDC00:02x}" if "\udc80" <= char <= "\udcff" else json.dumps(char)[1:-1]


def shown_path(path: str) -> str:
    """A path for people: as it is if it is plainly printable, else as a JSON string."""
    if path.isprintable() and path == path.strip() and path[:1] not in ("", '"') and _is_encodable(path):
        return path
    return json.dumps(path)


def _is_encodable(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def shown_time(updated_at_ms: int) -> str:
    """Milliseconds since 1970 as ``2026-01-31T12:00:00.000Z``; beyond the calendar as a plain number."""
    try:
        moment = _EPOCH + timedelta(milliseconds=updated_at_ms)
    except OverflowError:
        return f"{updated_at_ms}ms"
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def exact_size(size_bytes: int) -> str:
    """The exact size."""
    return "1 byte" if size_bytes == 1 else f"{size_bytes} bytes"


def file_row(file: FileMetadata) -> str:
    """A file as ``ls`` lists it."""
    time = shown_time(file.updated_at_ms)
    return f"{file.size_bytes:>12}  {time}  {file.content_hash}  {shown_path(file.path)}"


def shown_size(size_bytes: int) -> str:
    """A size for people, ``1.5 MiB``; below 1 KiB exact."""
    size = float(size_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return exact_size(size_bytes) if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def counted(count: int, noun: str) -> str:
    """``1 file``, ``2 files``, ``1,000 files``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def listed(items: Iterable[str], total: int, *, at_most: int = 20) -> Iterator[str]:
    """Indented lines for the first items of ``total``, and one for the rest."""
    for position, item in enumerate(items):
        if position == at_most:
            yield f"  ... and {total - at_most:,} more (--json lists all)"
            return
        yield f"  {item}"
