"""Writers, collectors, importers and counters that are killed at random moments and started again.

Each writer has paths of its own and says what it is about to do, and that it is done. So after a
kill each of its paths may hold what was acknowledged last, or what was under way, and nothing else.
The counters increment one number together; which value came from whom shows whether one was lost or
counted twice.

    python tests/proofs/random_kills.py SEED KILLS
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import kill_work
from crowd import FAILED, Forked, Say, hear_some, place_for
from kill_model import CounterModel, WriterModel, body, check_store

from agent_world_distfs import LocalCasStore

WRITERS, COUNTERS = 4, 2
KILLS_BETWEEN_CHECKS = 60
CLEAN_EVERY = 5
"""Checks between two that also empty the store of orphans."""

LONELY_KILLS = 5
"""Of those between two checks: while nobody writes, so that an import gets as far as replacing the index."""

Bug = Callable[[], None]
"""Breaks the store of a child before it is opened: the tests of the harness bring one."""


class Slot:
    """One place in the crowd: as its child dies, the next one takes it."""

    def __init__(self, hear: Callable[[str], None], work: Callable[[Say, int], None]) -> None:
        self._hear, self._work = hear, work
        self._life = 0
        self.child: Forked | None = None

    def start(self) -> None:
        self._life += 1
        life = self._life
        self.child = Forked(lambda say: self._work(say, life))

    def listen(self, lines: list[str]) -> None:
        for line in lines:
            if line.startswith(FAILED):
                raise AssertionError(line.encode().decode("unicode_escape"))
            self._hear(line)

    def kill(self) -> None:
        child, self.child = self.child, None
        if child is not None:
            self.listen(child.kill())


class Crowd:
    """All who work on one store, and what they said."""

    def __init__(self, root: Path, seed: int, bug: Bug | None) -> None:
        self._root, self._seed, self._bug = root, seed, bug
        self.counts: Counter[str] = Counter()
        self.writers = [WriterModel(f"w{number}") for number in range(WRITERS)]
        self.counter = CounterModel()
        self.slots = [
            *(Slot(model.hear, self._writing(model)) for model in self.writers),
            *(Slot(self._counting(number), self._at(kill_work.count_up)) for number in range(COUNTERS)),
            Slot(self._note, self._at(kill_work.collect)),
            Slot(self._note, self._at(kill_work.exchange)),
        ]

    def _writing(self, model: WriterModel) -> Callable[[Say, int], None]:
        def work(say: Say, life: int) -> None:
            self._break()
            kill_work.write(self._root, say, model, life, random.Random(f"{self._seed} {model.name} {life}"))

        return work

    def _at(self, work: Callable[[Path, Say], None]) -> Callable[[Say, int], None]:
        def work_here(say: Say, _: int) -> None:
            self._break()
            work(self._root, say)

        return work_here

    def _break(self) -> None:
        if self._bug is not None:
            self._bug()

    def _counting(self, number: int) -> Callable[[str], None]:
        return lambda line: self.counter.hear(number, line)

    def pinned(self, store: LocalCasStore) -> set[str]:
        """The hashes that writers have pinned."""
        return {store.hash_bytes(body(token)) for model in self.writers for token in model.pinned()}

    def _note(self, line: str) -> None:
        self.counts[line] += 1

    def listen_for(self, seconds: float) -> None:
        """Hear everybody for a while, so that nobody waits for a full pipe."""
        of = {slot.child: slot for slot in self.slots if slot.child is not None}
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            for child, lines in hear_some(of, left):
                of[child].listen(lines)
            time.sleep(min(0.002, max(0.0, left)))


def run(seed: int, kills: int, bug: Bug | None = None) -> Counter[str]:
    """Kill so many times; what was done meanwhile, by kind. AssertionError if anything was lost."""
    with place_for("kills") as place:
        try:
            return _run(seed, kills, place / "store", bug)
        except AssertionError as error:
            again = f"python tests/proofs/random_kills.py {seed} {kills}"
            raise AssertionError(f"seed {seed}: {error}\nagain (moments will differ): {again}") from error


def _run(seed: int, kills: int, root: Path, bug: Bug | None) -> Counter[str]:
    chance = random.Random(seed)
    with LocalCasStore(root) as store:
        store.write_file(kill_work.COUNTER, b"0")
    crowd = Crowd(root, seed, bug)
    try:
        while crowd.counts["kills"] < kills:
            _kill_some(crowd, chance)
            _check(crowd, root)
    finally:
        for slot in crowd.slots:
            if slot.child is not None:
                slot.child.kill()
    crowd.counts["operations"] = sum(model.acknowledged for model in crowd.writers)
    crowd.counts["increments"] = crowd.counter.acknowledged
    return crowd.counts


def _kill_some(crowd: Crowd, chance: random.Random) -> None:
    """One after the other, each replaced at once; at the end all of them."""
    importer = crowd.slots[-1]
    importer.start()
    for _ in range(LONELY_KILLS):
        crowd.listen_for(chance.uniform(0.0, 0.08))
        importer.kill()
        importer.start()
    for slot in crowd.slots[:-1]:
        slot.start()
    last: Slot | None = None
    for _ in range(KILLS_BETWEEN_CHECKS - LONELY_KILLS - len(crowd.slots)):
        crowd.listen_for(chance.uniform(0.0, 0.05))
        # Often the one that was just started: it opens the store and tidies after the one before.
        victim = last if last is not None and chance.random() < 0.2 else chance.choice(crowd.slots)
        victim.kill()
        victim.start()
        last = victim
    crowd.listen_for(chance.uniform(0.0, 0.05))
    for slot in chance.sample(crowd.slots, len(crowd.slots)):
        slot.kill()
    crowd.counts["kills"] += KILLS_BETWEEN_CHECKS


def _check(crowd: Crowd, root: Path) -> None:
    crowd.counts["checks"] += 1
    with LocalCasStore(root, create=False, lock_timeout_s=5) as store:
        for model in crowd.writers:
            model.check(store)
        for content_hash in set(store.list_pins()) - crowd.pinned(store):
            store.unpin(content_hash)  # a killed importer's
        crowd.counter.check(int(store.read_file(kill_work.COUNTER)))
        check_store(store, root, is_emptied=crowd.counts["checks"] % CLEAN_EVERY == 0)


if __name__ == "__main__":
    print(dict(run(int(sys.argv[1]), int(sys.argv[2]))))
