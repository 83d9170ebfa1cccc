"""Which paths cannot coexist, or exist at all, in a real directory: found before the first byte is written.

The index takes any text as a path, ``a`` beside ``a/b`` included. A directory does not; and some file systems
take two names for one (``A`` and ``a``, or two spellings of an accent), refuse characters, or limit their
length. What this file system does is not looked up, but tried in the staging directory.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator

from agent_world_distfs.engine.directories import shared_length
from agent_world_distfs.errors import CatalogError, InvalidInputError
from agent_world_distfs.paths import is_path

MAX_SHOWN = 1_000
"""Problems listed in one error."""

MAX_CHARACTERS = 200
"""A path that is longer is shortened in a message."""

_REFUSALS = {errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG}
_DEVICE = r"(?!(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$))"
_is_plain = re.compile(_DEVICE + r"[a-z0-9_.-]{0,63}[a-z0-9_-]", re.ASCII | re.IGNORECASE).fullmatch
"""Names that every file system takes."""


def check_names(paths: Callable[[], Iterable[str]], directory: int) -> None:
    """Make sure that a directory can hold these paths together.

    ``paths`` gives them each time it is called: ascending by their UTF-8 bytes. ``directory``: an
    empty one on the same file system, where names can be tried.

    Raises:
        InvalidInputError: it cannot; all the paths that are in the way are listed.
        CatalogError: one is no path at all, as only a catalog has that was tampered with.
    """
    strange = next((path for path in paths() if not is_path(path)), None)
    if strange is not None:
        raise CatalogError(f"it has an entry of what can be no path: {strange[:80]!r}")
    problems = [*_find_clashes(paths()), *_find_refused(paths(), directory)]
    fold = _find_folding(directory)
    if fold is not None:
        problems.extend(_find_folded(paths(), fold, directory))
    if problems:
        more = len(problems) - MAX_SHOWN
        shown = problems[:MAX_SHOWN] + ([f"and {more} more"] if more > 0 else [])
        told = "these paths cannot stand in one directory (rename some, or check out a part of the index)"
        raise InvalidInputError(f"{told}: {'; '.join(shown)}")


def _shown(path: str) -> str:
    """A path in a message: of a long one beginning and end."""
    return repr(path if len(path) <= MAX_CHARACTERS else f"{path[:80]}...{path[-40:]}")


def _find_clashes(paths: Iterable[str]) -> Iterator[str]:
    """Files that are also directories."""
    above: list[str] = []  # files whose paths the current one begins with, be it only as text
    for path in paths:
        while above and not path.startswith(above[-1]):
            above.pop()
        for file in [file for file in above if path.startswith(file + "/")]:
            yield f"{_shown(file)} is a file and the directory of {_shown(path)}"
            above.remove(file)
        above.append(path)


def _new_prefixes(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each path, and each directory of one, once: with its last segment."""
    before: list[str] = []
    for path in paths:
        segments = path.split("/")
        for end in range(shared_length(before, segments), len(segments)):
            yield "/".join(segments[: end + 1]), segments[end]
        before = segments


# --- names that are refused ---------------------------------------------------------------------


def _find_refused(paths: Iterable[str], directory: int) -> Iterator[str]:
    longest = os.fpathconf(directory, "PC_NAME_MAX")
    for prefix, name in _new_prefixes(paths):
        if len(name) * 4 > longest and len(name.encode()) > longest:
            yield f"{_shown(prefix)} has a name of more than {longest} bytes"
        elif not _is_plain(name) and not _is_taken(name, directory):
            yield f"{_shown(prefix)} has a name that the file system refuses"


def _is_taken(name: str, directory: int) -> bool:
    """Whether the file system takes a name."""
    try:
        _touch(name, directory)
    except OSError as error:
        if error.errno in _REFUSALS:
            return False
        raise
    os.unlink(name.encode(), dir_fd=directory)
    return True


def _touch(name: str, directory: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(name.encode(), flags, 0o600, dir_fd=directory))


# --- names that are one -------------------------------------------------------------------------


def _find_folding(directory: int) -> Callable[[str], str] | None:
    """What to compare names by, where the file system does not compare them by their bytes.

    It may take more for equal than the file system does.
    """
    if are_one_name("a", "A", directory) or are_one_name("\u00e9", "e\u0301", directory):
        return lambda text: unicodedata.normalize("NFD", unicodedata.normalize("NFD", text).casefold())
    return None


def are_one_name(name: str, other: str, directory: int) -> bool:
    """Whether the file system takes two names for one."""
    try:
        _touch(name, directory)
    except OSError as error:
        if error.errno in _REFUSALS:
            return False
        raise
    try:
        with contextlib.suppress(OSError):
            os.stat(other.encode(), dir_fd=directory, follow_symlinks=False)
            return True
        return False
    finally:
        os.unlink(name.encode(), dir_fd=directory)


def _find_folded(paths: Iterable[str], fold: Callable[[str], str], directory: int) -> Iterator[str]:
    known: dict[str, str] = {}
    for prefix, _ in _new_prefixes(paths):
        other = known.setdefault(fold(prefix), prefix)
        pairs = zip(other.split("/"), prefix.split("/"), strict=True)
        if other != prefix and all(a == b or are_one_name(a, b, directory) for a, b in pairs):
            yield f"{_shown(other)} and {_shown(prefix)} are one name to the file system"
