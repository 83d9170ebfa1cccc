"""Store paths: relative, ``/``-separated, normalized; otherwise opaque text.

Normalization is the original's: ``.`` and empty segments are dropped (``./a//b/`` becomes ``a/b``).
No Unicode folding: two spellings are two paths.
"""

from __future__ import annotations

import re

from agent_world_distfs.errors import InvalidInputError, PathInvalidError

MAX_PATH_BYTES = 4096
MAX_NAME_BYTES = 255

# Segments that are not empty, "." or "..", without NUL, with one slash between them.
_SEGMENT = r"(?!\.{1,2}(?:/|\Z))[^/\0]+"
_is_normal = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*").fullmatch


def normalize_path(path: str) -> str:
    """The one form of ``path`` that the index knows.

    Raises:
        TypeError: not a str; a PathLike wants ``.as_posix()`` first.
        PathInvalidError: empty, absolute, with a ``..`` segment or a NUL, not UTF-8, or longer than
            4,096 bytes.
    """
    if type(path) is not str:
        path = _as_plain_str(path)
    if path.isascii() and len(path) <= MAX_PATH_BYTES and _is_normal(path):
        return path
    return _normalize(path)


def is_path(text: str) -> bool:
    """Whether ``text`` is a path in its one form. Whatever is in an index is, unless it was tampered with."""
    try:
        return normalize_path(text) == text
    except PathInvalidError:
        return False


def _normalize(path: str) -> str:
    if not path.isascii():
        _require_utf8(path)
    if path.startswith("/"):
        raise PathInvalidError(path, "absolute; store paths are relative")
    if "\0" in path:
        raise PathInvalidError(path, "contains NUL")
    segments = [segment for segment in path.split("/") if segment not in ("", ".")]
    if not segments:
        raise PathInvalidError(path, "empty")
    if ".." in segments:
        raise PathInvalidError(path, "contains a '..' segment")
    normal = "/".join(segments)
    if len(normal) * 4 > MAX_PATH_BYTES and len(normal.encode()) > MAX_PATH_BYTES:
        raise PathInvalidError(path, f"longer than {MAX_PATH_BYTES} bytes")
    return normal


def check_name(name: str) -> str:
    """Return ``name`` if it can be a snapshot's: one plain segment of a path, of at most 255 bytes.

    Raises:
        TypeError: not a str.
        InvalidInputError: empty, ``.`` or ``..``, with a slash or NUL, not UTF-8, or longer.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a snapshot is a str, not {type(name).__name__}")
    try:
        is_plain = normalize_path(name) == name and "/" not in name and len(name.encode()) <= MAX_NAME_BYTES
    except PathInvalidError:
        is_plain = False
    if not is_plain:
        raise InvalidInputError(f"no name of a snapshot, which is one plain segment of a path: {name[:80]!r}")
    return name


def check_prefix(prefix: str) -> str:
    """Return ``prefix``, a plain string prefix of paths, if it can be one.

    Raises:
        TypeError: not a str.
        PathInvalidError: not UTF-8.
    """
    prefix = _as_plain_str(prefix)
    _require_utf8(prefix)
    return prefix


def _as_plain_str(path: object) -> str:
    if isinstance(path, str):
        return str.__str__(path)  # its text; str() may give another, as of a member of an Enum
    hint = "; pass path.as_posix()" if hasattr(path, "__fspath__") else ""
    raise TypeError(f"a store path is a str, not {type(path).__name__}{hint}")


def _require_utf8(path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise PathInvalidError(path, "not representable as UTF-8 (lone surrogate)") from None
