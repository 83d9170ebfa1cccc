"""Who runs against whom under forced schedules, and what must hold whatever the order was.

python tests/proofs/schedule_scenarios.py NAME SCHEDULE     runs one schedule again
python tests/proofs/schedule_scenarios.py NAME              counts the schedules of a scenario
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from crowd import place_for
from schedule_newer import NEWER, NEWER_LONG, make_damage, make_history, make_turns
from schedule_parts import (
    COPY,
    COPY_EITHER,
    COPY_OLD,
    DELETE,
    DELETE_AND_PRUNE,
    EXPORT,
    IMPORT,
    KEPT,
    LARGE,
    LINK,
    LINK_OLD,
    LISTED,
    NEW,
    OLD,
    OPEN,
    OPEN_AND_READ,
    ORPHAN,
    OTHER,
    OVERWRITE_AND_PRUNE,
    PIN,
    PRUNE,
    READ,
    RENAME,
    SMALL_NEW,
    SMALL_ORPHAN,
    STRAY,
    SWAP_TO_ORPHAN,
    Part,
    puts,
    swaps,
)
from schedule_runs import Scenario
from schedule_snapshots import NAMED, NAMED_LONG, make_snapshot
from schedules import explore, replay, sample

from agent_world_distfs import LocalCasStore

TWO: dict[str, tuple[Part, ...]] = {
    "put small, prune": (puts("new", SMALL_NEW), PRUNE),
    "put large, prune": (puts("new", NEW), PRUNE),
    "put a small orphan, prune": (puts("new", SMALL_ORPHAN), PRUNE),
    "put a large orphan, prune": (puts("new", ORPHAN), PRUNE),
    "put a stray file, prune": (puts("new", STRAY), PRUNE),
    "stream an orphan, prune": (puts("new", ORPHAN, stream=True), PRUNE),
    "swap, prune": (SWAP_TO_ORPHAN, PRUNE),
    "delete, prune": (DELETE, PRUNE),
    "pin, prune": (PIN, PRUNE),
    "link, prune": (LINK, PRUNE),
    "copy, prune": (COPY, PRUNE),
    "rename, prune": (RENAME, PRUNE),
    "import, prune": (IMPORT, PRUNE),
    "export, prune": (EXPORT, PRUNE),
    "prune, prune": (PRUNE, PRUNE),
    "read, overwrite and prune": (READ, OVERWRITE_AND_PRUNE),
    "open and read, overwrite and prune": (OPEN_AND_READ, OVERWRITE_AND_PRUNE),
    "link, delete and prune": (LINK_OLD, DELETE_AND_PRUNE),
    "copy, delete and prune": (COPY_OLD, DELETE_AND_PRUNE),
    "copy, overwrite and prune": (COPY_EITHER, OVERWRITE_AND_PRUNE),
    "swap, swap": (swaps(NEW), swaps(SMALL_NEW)),
    "make, make": (swaps(NEW, None, "new"), swaps(OTHER, None, "new")),
    "swap, delete": (swaps(NEW), swaps(None)),
    "put the same twice": (puts("new", NEW), puts("newer", NEW)),
    **NEWER,
    **NAMED,
}

LONG: dict[str, tuple[Part, ...]] = {**NEWER_LONG, **NAMED_LONG}
"""Two processes, one of which makes so many steps that their orders are only drawn."""

THREE: dict[str, tuple[Part, ...]] = {
    "put a large orphan twice, prune": (puts("new", ORPHAN), puts("newer", ORPHAN), PRUNE),
    "stream and pin an orphan, prune": (puts("new", ORPHAN, stream=True), PIN, PRUNE),
    "swap, swap, prune": (SWAP_TO_ORPHAN, swaps(NEW), PRUNE),
    "swap, delete, prune": (SWAP_TO_ORPHAN, swaps(None), PRUNE),
    "link, delete, prune": (LINK, DELETE, PRUNE),
    "import, link, prune": (IMPORT, PIN, PRUNE),
    "export, put a large orphan, prune": (EXPORT, puts("new", ORPHAN), PRUNE),
    "put a large orphan, prune, prune": (puts("new", ORPHAN), PRUNE, PRUNE),
    "put a stray file, prune, prune": (puts("new", STRAY), PRUNE, PRUNE),
    "read, put, overwrite and prune": (READ, puts("new", OLD), OVERWRITE_AND_PRUNE),
}

COLD: dict[str, tuple[Part, ...]] = {
    "first write, prune": (puts("new", NEW), PRUNE),
    "first write, open": (puts("new", NEW), OPEN),
    "first stream, first write, open": (puts("new", NEW, stream=True), puts("newer", OTHER), OPEN),
}
"""Of processes that have no session yet: one begins while another tidies away what the dead left."""


def make_template(root: Path, name: str) -> None:
    """A closed store with some of everything, and what the scenario needs besides."""
    listed, stray = "import" in name, "stray" in name  # "listed": with orphans that a pinned manifest names
    with LocalCasStore(root) as store:
        store.write_file("kept/large", KEPT)
        store.write_file("kept/small", b"kept")
        store.write_file("old/large", OLD)
        if listed:
            store.write_file("listed", LISTED)
            store.export_file_index_manifest(pin=True)
            store.delete_file("listed")
        else:
            store.put_bytes(ORPHAN)
            store.put_bytes(SMALL_ORPHAN)
        if any(word in name for word in ("past", "undo")):
            make_history(store)
        if any(word in name for word in ("drop", "restore")):
            make_snapshot(store)
        if name in NEWER:
            make_turns(store)
        file = store.hash_bytes(STRAY)
        rotten = make_damage(store, root.parent / "store.source")
    if stray:  # as a crash between publishing and committing leaves it
        (root / "blobs" / file[:2]).mkdir(exist_ok=True)
        (root / "blobs" / file[:2] / file).write_bytes(STRAY)
    if "repair" in name:
        rotten.write_bytes(b"rotten" * 2_000)


def scenario(name: str, place: Path) -> Scenario:
    """A scenario by its name, with its template below ``place``."""
    parts = (TWO | LONG | THREE | COLD)[name]
    template = place / f"template {name}"
    if not template.exists():
        make_template(template, name)
    with LocalCasStore(template, create=False) as store:
        shards = frozenset(store.hash_bytes(data)[:2] for data in LARGE)

    def check(store: LocalCasStore, said: Sequence[str]) -> None:
        for part, word in zip(parts, said, strict=True):
            part.check(store, word, said)

    acts = tuple(part.act for part in parts)
    return Scenario(name, template, shards, acts, check, is_warm=name not in COLD)


def run(seed: int, most: int, drawn: int) -> Counter[str]:
    """Explore all scenarios up to ``most`` schedules each, and draw so many of those of three processes."""
    counts: Counter[str] = Counter()
    with place_for("schedules", in_memory=True) as place:
        for name in TWO:
            explored = explore(scenario(name, place), place, most)
            counts.update(schedules=explored.schedules, complete=explored.is_complete)
        for name in [*LONG, *THREE, *COLD]:
            counts["drawn"] += sample(scenario(name, place), place, drawn, seed).schedules
    return counts


def main(arguments: Sequence[str]) -> None:
    with place_for("schedules", in_memory=True) as place:
        chosen = scenario(arguments[0], place)
        if len(arguments) > 1:
            replay(chosen, place, arguments[1])
            return
        started = time.monotonic()
        print(explore(chosen, place, 100_000), f"{time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
