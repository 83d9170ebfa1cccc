"""Random workloads: the same seed gives the same steps."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import count

from replay.replaying import Counts, Workload, replay
from replay.steps import Content, Step

PATHS = ("old/small", "old/large", "kept/small", "kept/large", "since", "a", "b", "c")
CONTENTS = tuple(
    Content(word, size) for word in ("old", "kept", "x", "y") for size in (0, 40, 8_192, 8_193, 20_000)
)
NAMED = ("snapshot", "snapshot", "drop snapshot", "restore snapshot", "pull snapshots")
NAMES = ("one", "two", "theirs")
WRITES = ("write", "write", "write", "stream", "write if", "put", "link", "pin", "unpin")
OTHERS = (
    "delete",
    "delete many",
    "copy",
    "rename",
    "prune",
    "prune",
    "export",
    "import",
    "pull",
    "import tree",
    *NAMED,
)
ACTORS = (("full",), ("full",), ("full", "relaxed"), ("full", "full 2"), ("relaxed", "relaxed 2"))
ERRORS = frozenset(
    {
        *("!PathNotFoundError", "!BlobNotFoundError", "!FileConflictError", "!LookupError"),
        *("!SnapshotExistsError", "!SnapshotNotFoundError"),
    }
)
"""What a random step may run into: it may name what is not there, or is; or import where no manifest is."""

STATES_EACH = 300
"""States tried of one sequence before the next is traced."""


def sequence(seed: int) -> Workload:
    """Steps of one to two processes, full, relaxed or both; stores are closed and opened again."""
    chance = random.Random(seed)
    actors = chance.choice(ACTORS)
    steps = [Step("open", actor=actor) for actor in actors]
    for _ in range(chance.randrange(5, 16)):
        actor = chance.choice(actors)
        draw = chance.random()
        if draw < 0.12:
            steps += [Step("close", actor=actor), Step("open", actor=actor)]
        elif draw < 0.14:
            steps.append(Step("import big tree", actor=actor))
        else:
            steps.append(_step(chance, actor))
    return Workload(f"sequence {seed}", tuple(steps), errors=ERRORS)


def _step(chance: random.Random, actor: str) -> Step:
    kind = chance.choice(WRITES if chance.random() < 0.6 else OTHERS)
    if kind in NAMED:
        part = chance.choice(("", "old", "kept")) if kind == "restore snapshot" else ""
        return Step(kind, part, target=chance.choice(NAMES), actor=actor)
    return Step(
        kind,
        path=chance.choice(PATHS),
        content=chance.choice(CONTENTS) if kind in WRITES else None,
        target=chance.choice(PATHS) if kind in ("copy", "rename") else "",
        expected=chance.choice((None, *CONTENTS)) if kind == "write if" else None,
        paths=tuple(chance.sample(PATHS, 3)) if kind == "delete many" else (),
        actor=actor,
    )


def run(seed: int, budget: int, say: Callable[[str], object] = lambda _: None) -> Counts:
    """Crash random sequences in ``budget`` unique states altogether; the n-th has the seed ``seed + n``.

    ``say`` is told of each sequence: what a script that resumes puts on record.
    """
    counts = Counts()
    for number in count(seed):
        left = budget - counts.states
        if left <= 0 or counts.bad:
            return counts
        done = replay(sequence(number), number, min(left, STATES_EACH))
        say(f"sequence {number}: {done.states} states, {len(done.bad)} bad")
        counts += done
    raise AssertionError("unreachable")
