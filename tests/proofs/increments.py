"""Many processes increment one number by compare-and-set: in the end it is how often they did.

python tests/proofs/increments.py PROCESSES INCREMENTS
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from crowd import FAILED, Forked, Say, place_for

from agent_world_distfs import FileConflictError, LocalCasStore

COUNTER = "counter"


def run(processes: int, increments: int, bug: Callable[[], None] | None = None) -> Counter[str]:
    """Let so many processes make so many increments each; AssertionError unless every one counts, once."""
    started = time.monotonic()
    with place_for("increments") as place:
        root = place / "store"
        with LocalCasStore(root) as store:
            store.write_file(COUNTER, b"0")
        children = [Forked(lambda say: _count(root, increments, say, bug)) for _ in range(processes)]
        lines = [line for child in children for line in child.hear_all()]
        for child in children:
            child.reap()
        for line in lines:
            assert not line.startswith(FAILED), line.encode().decode("unicode_escape")
        with LocalCasStore(root) as store:
            value = int(store.read_file(COUNTER))
            assert store.audit_file_index(verify=True).is_sound()
    again = f"python tests/proofs/increments.py {processes} {increments}"
    assert value == processes * increments, f"{processes} x {increments} made {value}; again: {again}"
    conflicts = sum(int(line) for line in lines)
    return Counter(increments=value, conflicts=conflicts, seconds=round(time.monotonic() - started))


def _count(root: Path, increments: int, say: Say, bug: Callable[[], None] | None) -> None:
    if bug is not None:
        bug()
    conflicts = 0
    with LocalCasStore(root, create=False, lock_timeout_s=600) as store:
        for _ in range(increments):
            while True:
                meta, data = store.read_file_with_metadata(COUNTER)
                try:
                    store.write_file_if_match(COUNTER, meta.content_hash, b"%d" % (int(data) + 1))
                    break
                except FileConflictError:
                    conflicts += 1
    say(str(conflicts))


if __name__ == "__main__":
    print(dict(run(int(sys.argv[1]), int(sys.argv[2]))))
