"""Is a history of transactions serializable? It is if no transaction depends on itself.

A transaction depends on whose version it read or replaced, comes before whoever replaced a version that
it read, and comes after all that had ended when it began (so what is searched for is strict
serializability). The order of the versions of a path is that of the store's change log.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise


@dataclass(frozen=True)
class Done:
    """One transaction, or plain write, that has committed. Every value is written once; None: no file."""

    name: str
    began: int
    ended: int
    reads: Mapping[str, str | None] = field(default_factory=dict)
    writes: Mapping[str, str] = field(default_factory=dict)


Edge = tuple[str, str, str]
"""From, to, and why."""


def find_cycle(history: Iterable[Done], versions: Mapping[str, list[str]]) -> list[Edge]:
    """A shortest cycle of dependencies, empty if there is none.

    ``versions``: for each path, what it held, first to last, without the absence before the first.

    Raises:
        AssertionError: something was read that nobody wrote, or is not in the log.
    """
    done = list(history)
    after: dict[str, dict[str, str]] = defaultdict(dict)
    for begin, end, why in [*_dependencies(done, versions), *_in_time(done)]:
        if begin != end:
            after[begin].setdefault(end, why)
    cycles = (_path_back(name, after) for name in sorted(_entangled(done, after)))
    return min((cycle for cycle in cycles if cycle), key=len, default=[])


def _dependencies(done: list[Done], versions: Mapping[str, list[str]]) -> Iterator[Edge]:
    writer = {(path, value): each.name for each in done for path, value in each.writes.items()}
    place = {(path, value): at for path, values in versions.items() for at, value in enumerate(values)}
    for path, values in versions.items():
        for first, second in pairwise(values):
            yield writer[path, first], writer[path, second], f"replaced {first} of {path}"
    for each in done:
        for path, value in each.writes.items():
            assert (path, value) in place, f"{each.name} wrote {value} to {path}, and it is not in the log"
        for path, read in each.reads.items():
            values = versions.get(path, [])
            following = 0 if read is None else place[path, read] + 1
            if read is not None:
                yield writer[path, read], each.name, f"read {read} of {path}"
            if following < len(values):
                yield each.name, writer[path, values[following]], f"had {read} of {path} replaced"


def _in_time(done: list[Done]) -> Iterator[Edge]:
    """From each to those that began after its end, but for what follows over another one."""
    by_begin = sorted(done, key=lambda each: each.began)
    for each in done:
        first_end = None
        for later in by_begin:
            if later.began <= each.ended:
                continue
            if first_end is not None and later.began > first_end:
                break
            yield each.name, later.name, "began later"
            first_end = later.ended if first_end is None else min(first_end, later.ended)


def _entangled(done: list[Done], after: Mapping[str, Mapping[str, str]]) -> set[str]:
    """Those that cannot be put into an order: on a cycle, or behind one."""
    waits_for: dict[str, int] = defaultdict(int)
    for ends in list(after.values()):
        for end in ends:
            waits_for[end] += 1
    left = {each.name for each in done}
    ready = deque(name for name in left if not waits_for[name])
    while ready:
        name = ready.popleft()
        left.discard(name)
        for end in after.get(name, {}):
            waits_for[end] -= 1
            if not waits_for[end]:
                ready.append(end)
    return left


def _path_back(name: str, after: Mapping[str, Mapping[str, str]]) -> list[Edge]:
    came_from: dict[str, str] = {}
    queue = deque([name])
    while queue:
        here = queue.popleft()
        for end in after.get(here, {}):
            if end == name:
                return _unwind(name, here, came_from, after)
            if end not in came_from:
                came_from[end] = here
                queue.append(end)
    return []  # it is behind a cycle


def _unwind(
    name: str, last: str, came_from: Mapping[str, str], after: Mapping[str, Mapping[str, str]]
) -> list[Edge]:
    steps = [name, last]
    while steps[-1] != name:
        steps.append(came_from[steps[-1]])
    steps.reverse()
    return [(begin, end, after[begin][end]) for begin, end in pairwise(steps)]
