"""Eight workers and a planner share a world; some of them die, and nothing is lost.

    python examples/shared_world.py [--seconds 60] [--workers 8] [--store DIR] [--picture world.svg]

The planner puts tasks up. A worker takes one by a transaction, writes its notes by a session, adds a
line to a board that all write to by an update, and hands the result in by another transaction. Every
now and then one is killed, and another takes its place and finishes what it had taken. A watcher follows
the changes; at the end it draws them. What must hold is checked: each task is in exactly one place, and
none was done twice.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

from agent_world_distfs import AgentSession, Change, FileConflictError, LocalCasStore, Retry, Transaction

PATIENT = Retry(deadline_s=600, max_attempts=10_000)

# --- who works --------------------------------------------------------------------------------


def plan(location: str, until: float) -> None:
    """Keep the board supplied: a few tasks at a time, all of a batch at once."""
    with LocalCasStore(location) as store:

        def put_up(tx: Transaction) -> None:
            number = int(tx.read_file("tasks/count"))
            for task in range(number, number + 3):
                tx.write_file(f"tasks/open/{task:05}", b"count to %d" % task)
            tx.write_file("tasks/count", b"%d" % (number + 3))

        while time.time() < until:
            if len(store.list_files(prefix="tasks/open/", limit=20)) < 20:
                store.run_transaction(put_up, retry=PATIENT, actor="planner", message="more to do")
            time.sleep(0.05)


def work(location: str, name: str, until: float) -> None:
    """Take tasks and do them; first those that one of this name had taken before it died."""
    chance = random.Random()
    with LocalCasStore(location) as store:
        session = store.session(actor=name)
        while time.time() < until:
            mine = store.list_files(prefix=f"tasks/taken/{name}/", limit=1)
            task = mine[0].path.rpartition("/")[2] if mine else take(store, name, chance)
            if task is None:
                time.sleep(0.02)
                continue
            time.sleep(chance.uniform(0, 0.05))  # thinking
            write_notes(session, name, task)
            write_on_board(store, f"{task} {name}")
            hand_in(store, name, task)


def take(store: LocalCasStore, name: str, chance: random.Random) -> str | None:
    """A task that is this worker's from now on, and nobody else's."""

    def fn(tx: Transaction) -> str | None:
        if tx.stat_file(f"tasks/open/{wanted}") is None:
            return None  # somebody was faster
        tx.rename_file(f"tasks/open/{wanted}", f"tasks/taken/{name}/{wanted}")
        return wanted

    choice = store.list_files(prefix="tasks/open/", limit=20)
    if not choice:
        return None
    wanted = chance.choice(choice).path.rpartition("/")[2]
    return store.run_transaction(fn, retry=PATIENT, actor=name, message=f"take {wanted}")


def write_notes(session: AgentSession, name: str, task: str) -> None:
    """What a model would do by a tool: it has no version at hand, and is told what it has missed."""
    path = f"notes/{name}.md"
    for _ in range(2):
        try:
            session.write_file(path, f"last seen at {task}\n".encode())
            return
        except FileConflictError:  # of an earlier life of this worker: read it first
            session.read_file(path)


def write_on_board(store: LocalCasStore, line: str) -> None:
    """One more line on the board, and no more than the last hundred."""

    def add_line(text: bytes | None) -> bytes:
        return b"\n".join([*(text or b"").split(b"\n")[-99:], line.encode()])

    store.update_file("board.md", add_line, retry=PATIENT)


def hand_in(store: LocalCasStore, name: str, task: str) -> None:
    """The result, and the number of all results, in one step."""

    def fn(tx: Transaction) -> None:
        if not tx.delete_file(f"tasks/taken/{name}/{task}"):
            return
        tx.write_file(f"tasks/done/{task}", f"by {name}".encode())
        tx.write_file("tasks/total", b"%d" % (int(tx.read_file("tasks/total")) + 1))

    store.run_transaction(fn, retry=PATIENT, actor=name, message=f"done {task}")


# --- who watches ------------------------------------------------------------------------------


class Watcher(threading.Thread):
    """Follows every change from the first one on."""

    def __init__(self, store: LocalCasStore) -> None:
        super().__init__()
        self.changes: list[Change] = []
        self.watch = store.watch(since=0)

    def run(self) -> None:
        with self.watch:
            for change in self.watch:
                self.changes.append(change)


def draw(changes: list[Change], deaths: list[tuple[float, str]], picture: Path) -> None:
    """The timeline: a lane for each actor, a tick for each of its transactions, a cross for each death."""
    lanes: dict[str, list[Change]] = defaultdict(list)
    for change in changes:
        if change.ordinal == 0 and change.actor:
            lanes[change.actor].append(change)
    names = sorted(lanes)
    first = min((change.at_ms for change in changes), default=0)
    width_ms = max(1, max((change.at_ms for change in changes), default=0) - first)
    height = 30 * len(names) + 50

    def x(at_ms: float) -> float:
        return 110 + 870 * (at_ms - first) / width_ms

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="1000" height="{height}"',
        '  font-family="sans-serif" font-size="12">',
        f'<rect width="1000" height="{height}" fill="white"/>',
    ]
    for row, name in enumerate(names):
        y = 30 + 30 * row
        parts.append(f'<text x="10" y="{y + 4}">{name}</text>')
        parts.append(f'<line x1="110" y1="{y}" x2="980" y2="{y}" stroke="#dddddd"/>')
        for change in lanes[name]:
            colour = COLOURS.get(change.message.partition(" ")[0], "#999999")
            parts.append(
                f'<rect x="{x(change.at_ms):.1f}" y="{y - 8}" width="1.5" height="16" fill="{colour}">'
                f"<title>{change.seq}: {change.message or change.path}</title></rect>"
            )
        marks = (x(at_s * 1000) - 5 for at_s, who in deaths if who == name)
        parts += [
            f'<text x="{at:.1f}" y="{y + 6}" fill="#d62728" font-size="18">\u00d7</text>' for at in marks
        ]
    parts.append(
        f'<text x="110" y="{height - 8}">{width_ms / 1000:.1f} s; blue: taken, green: done, orange: planned, '
        "grey: notes, red: died</text></svg>"
    )
    picture.write_text("\n".join(parts), "utf-8")


COLOURS = {"take": "#1f77b4", "done": "#2ca02c", "more": "#ff7f0e"}

# --- all of it --------------------------------------------------------------------------------


def run(location: str, seconds: float, workers: int, picture: Path) -> None:
    """Let them work, each for four seconds or so until it dies; check and draw what came of it."""
    with LocalCasStore(location) as store, store.transaction(actor="planner", message="begin") as tx:
        for path in ("tasks/count", "tasks/total"):
            if tx.stat_file(path) is None:  # else an earlier world goes on
                tx.write_file(path, b"0")
    until, deaths = time.time() + seconds, []
    start = multiprocessing.get_context("spawn").Process
    planner = start(target=plan, args=(location, until))
    team = {f"worker {n}": start(target=work, args=(location, f"worker {n}", until)) for n in range(workers)}
    for process in (planner, *team.values()):
        process.start()
    with LocalCasStore(location) as store:
        watcher = Watcher(store)
        watcher.start()
        while time.time() < until - 1:
            time.sleep(4 / workers)
            name = random.choice(list(team))
            team[name].kill()
            team[name].join()
            deaths.append((time.time(), name))
            team[name] = start(target=work, args=(location, name, until))
            team[name].start()
        for process in (planner, *team.values()):
            process.join()
        last = store.last_seq()
        while not watcher.changes or watcher.changes[-1].seq < last_of_the_index(store, last):
            time.sleep(0.01)
        watcher.watch.close()
        watcher.join()
        done = check(store)
    draw(watcher.changes, deaths, picture)
    print(f"{done} tasks done, {len(deaths)} deaths, {len(watcher.changes)} changes seen: {picture}")


def last_of_the_index(store: LocalCasStore, last: int) -> int:
    """The last transaction up to ``last`` that changed the index."""
    return max((change.seq for change in store.changes(since=max(0, last - 1000))), default=0)


def check(store: LocalCasStore) -> int:
    """Each task is in one place, as many as are counted; AssertionError if not."""
    count, total = int(store.read_file("tasks/count")), int(store.read_file("tasks/total"))
    places = [
        file.path for kind in ("open", "taken", "done") for file in store.list_files(prefix=f"tasks/{kind}/")
    ]
    tasks = sorted(path.rpartition("/")[2] for path in places)
    assert tasks == [f"{task:05}" for task in range(count)], "a task is lost, or in two places"
    assert total == len(store.list_files(prefix="tasks/done/")), "a task was counted twice, or not at all"
    assert store.audit_file_index(verify=True).is_sound()
    return total


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument(
        "--store", help="where to make the store; by default a place that is removed at the end"
    )
    parser.add_argument("--picture", type=Path, default=Path("world.svg"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        run(options.store or f"{place}/world", options.seconds, options.workers, options.picture)


if __name__ == "__main__":
    main()
