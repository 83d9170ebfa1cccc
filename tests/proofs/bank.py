"""Transfers between accounts by processes that are killed and started again: the sum stays what it was.

python tests/proofs/bank.py SEED KILLS
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from again import command_of
from crowd import FAILED, Forked, Say, hear_some, place_for

from agent_world_distfs import LocalCasStore, Retry, Transaction, TransactionConflictError

ACCOUNTS, PROCESSES, EACH = 16, 8, 100
SUM = ACCOUNTS * EACH


def account(number: int) -> str:
    """The path of an account."""
    return f"accounts/{number:02}"


def balance(content: bytes) -> int:
    """What an account holds; some of them are written long, so that they are files."""
    return int(content.split(b" ")[0])


def run(seed: int, kills: int, bug: Callable[[], None] | None = None) -> Counter[str]:
    """So many kills; AssertionError unless the sum is right to all who ever look, and nothing is lost."""
    chance = random.Random(seed)
    again = command_of(__file__, seed, kills)
    counts: Counter[str] = Counter()
    with place_for("bank") as place:
        root = place / "store"
        with LocalCasStore(root) as store, store.transaction() as tx:
            for number in range(ACCOUNTS):
                tx.write_file(account(number), b"%d" % EACH)
        acknowledged: dict[int, int] = dict.fromkeys(range(PROCESSES), 0)

        def start(teller: int) -> Forked:
            life = chance.getrandbits(64)
            return Forked(lambda say: _work(root, teller, life, say, bug))

        def hear(teller: int, lines: list[str]) -> None:
            for line in lines:
                assert not line.startswith(FAILED), f"{line.encode().decode('unicode_escape')}\n{again}"
                acknowledged[teller] = max(acknowledged[teller], int(line))
                counts["transfers"] += 1

        _kill_and_start(start, hear, chance, kills)
        counts["kills"] = kills
        with LocalCasStore(root) as store:
            _check(store, acknowledged, again)
    return counts


def _kill_and_start(
    start: Callable[[int], Forked], hear: Callable[[int, list[str]], None], chance: random.Random, kills: int
) -> None:
    tellers = {teller: start(teller) for teller in range(PROCESSES)}
    try:
        for _ in range(kills):
            _listen(tellers, hear, time.monotonic() + chance.uniform(0, 0.1))
            victim = chance.randrange(PROCESSES)
            hear(victim, tellers[victim].kill())
            tellers[victim] = start(victim)
        for teller in list(tellers):
            hear(teller, tellers.pop(teller).kill())
    finally:
        for child in tellers.values():
            child.kill()


def _listen(tellers: dict[int, Forked], hear: Callable[[int, list[str]], None], until: float) -> None:
    numbers = {child: teller for teller, child in tellers.items()}
    while (left := until - time.monotonic()) > 0:
        for child, lines in hear_some(tellers.values(), left):
            hear(numbers[child], lines)


def _check(store: LocalCasStore, acknowledged: dict[int, int], again: str) -> None:
    found = sum(balance(store.read_file(file.path)) for file in store.list_files(prefix="accounts/"))
    assert found == SUM, f"the sum is {found}, not {SUM}\n{again}"
    for teller, number in acknowledged.items():
        held = int(store.read_file(f"done/{teller}")) if store.stat_file(f"done/{teller}") else 0
        assert held >= number, f"teller {teller} was told of transfer {number}, and {held} is there\n{again}"
    assert store.audit_file_index(verify=True).is_sound()
    store.prune_orphan_blobs()
    assert store.audit_file_index().is_clean()


def _work(root: Path, teller: int, life: int, say: Say, bug: Callable[[], None] | None) -> None:
    if bug is not None:
        bug()
    chance = random.Random(life)
    with LocalCasStore(root, create=False, durability="relaxed") as store:
        while True:
            if chance.random() < 0.1:
                _look(store)
            elif chance.random() < 0.02:
                store.prune_orphan_blobs()
            else:
                done = store.run_transaction(
                    lambda tx: _transfer(tx, teller, chance), retry=Retry(600, 10_000)
                )
                say(str(done))


def _transfer(tx: Transaction, teller: int, chance: random.Random) -> int:
    giver, taker = chance.sample(range(ACCOUNTS), 2)
    given, taken = balance(tx.read_file(account(giver))), balance(tx.read_file(account(taker)))
    amount = chance.randint(0, given)
    padding = b" " * 10_000 * (chance.random() < 0.1)
    tx.write_file(account(giver), b"%d " % (given - amount) + padding)
    tx.write_file(account(taker), b"%d " % (taken + amount) + padding)
    path = f"done/{teller}"
    done = (int(tx.read_file(path)) if tx.stat_file(path) else 0) + 1
    tx.write_file(path, b"%d" % done)
    return done


def _look(store: LocalCasStore) -> None:
    try:
        with store.transaction() as tx:
            found = sum(balance(tx.read_file(file.path)) for file in tx.list_files(prefix="accounts/"))
            assert found == SUM, f"a transaction saw {found}, not {SUM}"
    except TransactionConflictError:
        pass


if __name__ == "__main__":
    print(dict(run(int(sys.argv[1]), int(sys.argv[2]))))
