"""Writers, readers, pins, snapshots, imports and collections on one store for as long as is wanted.

Nothing may dangle.

python tests/proofs/soak.py SEED SECONDS
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from crowd import FAILED, Forked, Say, hear_some, place_for
from soak_work import ROLES, Worker

from agent_world_distfs import LocalCasStore

CHECK_EVERY_S = 60.0
"""So often all stop, and the store is looked at in peace."""


def run(seed: int, seconds: float, bug: Callable[[], None] | None = None) -> Counter[str]:
    """Work for so long; what was done, by kind. AssertionError if anything dangled, or was mixed or cut."""
    counts: Counter[str] = Counter()
    end = time.monotonic() + seconds
    with place_for("soak", in_memory=True) as place:
        root = place / "store"
        LocalCasStore(root).close()
        try:
            while (left := end - time.monotonic()) > 0:
                shift = f"{seed}.{counts['shifts']}"
                counts += _work(root, shift, min(left, CHECK_EVERY_S), bug)
                _look(root)
                counts["shifts"] += 1
        except AssertionError as error:
            again = f"python tests/proofs/soak.py {seed} {seconds:g}"
            raise AssertionError(f"seed {seed}: {error}\nagain (moments will differ): {again}") from error
    return counts


def _work(root: Path, shift: str, seconds: float, bug: Callable[[], None] | None) -> Counter[str]:
    end = time.monotonic() + seconds
    children = [_start(root, role, shift, end, bug) for role in ROLES]
    counts: Counter[str] = Counter()
    try:
        while any(not child.is_over for child in children):
            for _, lines in hear_some(children, 5.0):
                for line in lines:
                    assert not line.startswith(FAILED), line.encode().decode("unicode_escape")
                    kind, number = line.split()
                    counts[kind] += int(number)
            assert time.monotonic() < end + 120, "somebody waits for ever"
    finally:
        for child in children:
            child.kill()
    return counts


def _start(root: Path, role: str, shift: str, end: float, bug: Callable[[], None] | None) -> Forked:
    def work(say: Say) -> None:
        if bug is not None:
            bug()
        with LocalCasStore(root, create=False) as store:
            name = f"{shift}.{role.replace(' ', '')}"
            worker = Worker(store, name, random.Random(name))
            while time.monotonic() < end:
                worker.do(ROLES[role])
            for content_hash, _ in worker.pinned:
                assert store.unpin(content_hash)
            for kept in worker.kept:
                store.drop_snapshot(kept)
            for kind, number in worker.counts.items():
                say(f"{kind} {number}")

    return Forked(work)


def _look(root: Path) -> None:
    with LocalCasStore(root, create=False) as store:
        report = store.audit_file_index(verify=True)
        assert report.is_sound(), report
        store.prune_orphan_blobs()
        report = store.audit_file_index(verify=True)
        assert report.is_clean(), report
        assert report.total_pins == 0, f"pins are left: {store.list_pins()}"
        assert store.list_snapshots() == [], "snapshots are left"


if __name__ == "__main__":
    print(dict(run(int(sys.argv[1]), float(sys.argv[2]))))
