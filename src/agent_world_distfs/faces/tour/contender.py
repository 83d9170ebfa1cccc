"""One of the processes that race for a counter.

Run as ``python -m agent_world_distfs.faces.tour.contender LOCATION PATH TIMES``. It reads the counter and
prints a line; once it gets a line it begins to count, so that all who race begin from the same version.
At the end it prints what it met, as one line of JSON.
"""

from __future__ import annotations

import json
import random
import sys
import time

from agent_world_distfs import FileConflictError, FileMetadata, LocalCasStore

FIRST_WAIT_S = 0.001
LONGEST_WAIT_S = 0.1

Seen = tuple[FileMetadata, bytes]
"""The counter as it was read: what to count on from, and what to expect when writing."""


def main(location: str, path: str, times: int) -> None:
    """Take part in one race."""
    with LocalCasStore(location, create=False) as store:
        seen = store.read_file_with_metadata(path)
        print("ready", flush=True)
        if not sys.stdin.readline():
            return  # nobody is waiting for us any more
        print(json.dumps(count(store, path, times, seen)), flush=True)


def count(store: LocalCasStore, path: str, times: int, seen: Seen) -> dict[str, object]:
    """Add 1 to the counter at ``path``, ``times`` times, beginning from what was ``seen``."""
    refusals = 0
    first_refusal: dict[str, object] | None = None
    for _ in range(times):
        attempt = 0
        while (refused := add_one(store, path, seen)) is not None:
            wait_s = random.uniform(0, min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**attempt))  # noqa: S311 - jitter
            first_refusal = first_refusal or {**refused, "waited_s": wait_s}
            refusals, attempt = refusals + 1, attempt + 1
            time.sleep(wait_s)
            seen = store.read_file_with_metadata(path)
        seen = store.read_file_with_metadata(path)
    return {"acknowledged": times, "refused": refusals, "first_refusal": first_refusal}


def add_one(store: LocalCasStore, path: str, seen: Seen) -> dict[str, object] | None:
    """Write the next number if the counter still is what was seen; else say what was expected, and is."""
    meta, data = seen
    try:
        store.write_file_if_match(path, meta.content_hash, encode(decode(data) + 1))
    except FileConflictError as conflict:
        actual = conflict.actual and conflict.actual.content_hash
        return {"expected": conflict.expected, "actual": actual}
    return None


def encode(number: int) -> bytes:
    """The content of the counter file."""
    return json.dumps({"count": number}).encode()


def decode(data: bytes) -> int:
    """The number in it."""
    return int(json.loads(data)["count"])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
