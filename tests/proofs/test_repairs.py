"""Accidents to the files of a closed store, and a repair with a healthy store beside it as the source.

What is repairable ends sound, with every answer that the undamaged store gave. Only where nothing is left
of the index may it be lost; then the report says so. Never is a wrong byte or an old entry given as
good, and files that were whole are the same files afterwards.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from again import command_of
from damage import Original, ask, injure, make_original
from forked import in_child

from agent_world_distfs import HashAlgorithm, LocalCasStore, repair_store
from agent_world_distfs.hashing import hash_function

pytestmark = pytest.mark.proof

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
SEED, CASES = 1, 1_000


@dataclass(frozen=True)
class Scene:
    """``peer``: a store of its own with the same files and pins. ``backup``: of the original."""

    original: Original
    peer: Path
    backup: Path


def make_scene(place: Path) -> Scene:
    original = make_original(place / "original")
    with LocalCasStore(place / "peer") as peer, LocalCasStore(original.root) as store:
        peer.pull_index(store)
        for content_hash in store.list_pins():
            peer.put_bytes(store.get(content_hash))
            peer.pin(content_hash)
        store.backup(place / "backup")
    return Scene(original, place / "peer", place / "backup")


def repaired(scene: Scene, root: Path) -> str:
    """Repair a damaged store; in a word what became of it, or in a sentence what is wrong about it."""
    whole = {path: path.stat().st_ino for path in root.glob("blobs/*/*") if is_whole(path)}
    report = repair_store(root, [scene.peer, scene.backup])
    with LocalCasStore(root) as store:
        found = ask(store, scene.original.contents, scene.original.blobs)
        audit = store.audit_file_index(verify=True)
    changed = sorted(key for key in found if found[key] != scene.original.answers.get(key))
    touched = [path for path, inode in whole.items() if not path.exists() or path.stat().st_ino != inode]
    if not audit.is_sound():
        return f"not sound: {audit}"
    if touched:
        return f"touched though whole: {touched}"
    if changed and report.is_whole():
        return f"answers otherwise, and says it is whole: {changed[:5]}"
    if changed and report.salvaged_files:
        return f"answers otherwise, though there was something to go by: {changed[:5]} {report}"
    if changed:
        return "index lost"
    return "mended" if report.salvaged_files is None else "built anew"


def is_whole(path: Path) -> bool:
    """Whether the file has the bytes that its name says."""
    return path.is_file() and path.name == hash_function(HashAlgorithm.BLAKE3)(path.read_bytes())


def examine_case(scene: Scene, place: Path, seed: int, number: int) -> tuple[str, str]:
    """The so-manieth case of a seed: one to three accidents, and what became of it."""
    chance = random.Random(f"repairs {seed} {number}")
    root = Path(shutil.copytree(scene.original.root, place / f"case-{seed}-{number}"))
    told = []
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        try:
            told.append(injure(root, chance))
        except (OSError, ValueError, IndexError):  # of what an accident before has left nothing
            break
    outcome = str(in_child(lambda: repaired(scene, root)))
    if outcome in OUTCOMES:
        shutil.rmtree(root)
    return "; ".join(told), outcome


OUTCOMES = ("mended", "built anew", "index lost")


def run(seed: int, cases: int, first: int = 0) -> dict[str, int]:
    """So many cases; what they came to. Fails at any that is wrong."""
    place = Path(tempfile.mkdtemp(prefix="distfs-repairs-", dir=MEMORY))
    scene = make_scene(place)
    counts: Counter[str] = Counter()
    bugs = []
    for number in range(first, first + cases):
        told, outcome = examine_case(scene, place, seed, number)
        counts[outcome if outcome in OUTCOMES else "wrong"] += 1
        if outcome not in OUTCOMES:
            bugs.append(f"{told}\n    {outcome}\n    {command_of(__file__, seed, 1, number)}")
    assert not bugs, f"kept in {place}\n" + "\n".join(bugs[:10])
    shutil.rmtree(place)
    return dict(counts)


def test_every_repairable_store_ends_sound_with_the_right_bytes() -> None:
    counts = run(SEED, CASES)
    assert sum(counts.values()) == CASES
    assert counts["mended"] > CASES // 4
    assert counts["built anew"] > CASES // 20
    assert counts.get("index lost", 0) < CASES // 10  # catalog.db is gone, or most of it


if __name__ == "__main__":
    print(run(*map(int, sys.argv[1:])))
