"""Bugs of what is accepted from outside: manifests, paths, hashes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from agent_world_distfs import hashing, manifest_format, paths
from agent_world_distfs.records import FileMetadata
from seeded.patching import replace


def accept_bytes_behind_the_end() -> None:
    """A manifest may be followed by anything."""

    def decode_end(window: Any) -> None:
        window.take(manifest_format._END, "end")

    replace(manifest_format, "_decode_end", decode_end)


def _decode_files(is_fine: Any) -> Any:
    def decode_files(window: Any, count: int) -> Iterator[FileMetadata]:
        previous = b""
        for number in range(1, count + 1):
            window.fill()
            file, path = manifest_format._decode_entry(window, number)
            if not is_fine(previous, path):
                raise window.error("the path is not above the one before it", window.position, "file")
            previous = path
            yield file

    return decode_files


def accept_any_order() -> None:
    """Files of a manifest may come in any order."""
    replace(manifest_format, "_decode_files", _decode_files(lambda previous, path: previous != path))


def accept_a_path_twice() -> None:
    """A path may stand in a manifest more than once."""
    replace(manifest_format, "_decode_files", _decode_files(lambda previous, path: previous <= path))


def accept_a_line_feed_behind_a_hash() -> None:
    """``$`` where it should be the very end."""
    replace(hashing, "_is_content_hash", re.compile(r"[0-9a-f]{64}$", re.ASCII).match)


def climb_out() -> None:
    """``..`` is a segment like any other."""
    replace(paths, "_is_normal", re.compile(r"(?!\.(?:/|\Z))[^/\0]+(?:/[^/\0]+)*").fullmatch)
