"""Processes that write while the power is cut, and what must be there afterwards.

Each writer has paths of its own and does one thing after another, so that after a cut its paths are
as they were after some number of its steps: no fewer than it had been acknowledged when the cut
came, no more than it had begun. The contents are few, so that writers meet at the same blobs, and
a collector takes those that nothing names.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import mmap
import os
import random
import signal
import struct
import time
from pathlib import Path

from replay.bugs import BUGS

from agent_world_distfs import LocalCasStore

WRITERS = 3
PATHS = 5
CONTENTS = tuple(
    f"content {n}.".encode() * repeats for n in range(4) for repeats in (1, 30, 900, 2_000, 9_000)
)

State = dict[str, bytes]


class Board:
    """Where writers show, in shared memory, how many steps they have begun and had acknowledged."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 4096)

    def show(self, writer: int, begun: int, acknowledged: int) -> None:
        # Not by pack_into, which makes zeros of both first, and would show them if killed.
        for place, number in ((16 * writer, begun), (16 * writer + 8, acknowledged)):
            self._memory[place : place + 8] = struct.pack("Q", number)

    def read(self, writer: int) -> tuple[int, int]:
        begun, acknowledged = struct.unpack_from("QQ", self._memory, 16 * writer)
        return begun, acknowledged


class Script:
    """The steps of one writer between two cuts: the same seed, the same steps."""

    def __init__(self, seed: str, writer: int) -> None:
        self._chance = random.Random(f"{seed}.{writer}")
        self._prefix = f"{writer}/"

    def next(self) -> tuple[str, bytes | None]:
        """The path of the next step and what it will hold; None: it is deleted."""
        path = f"{self._prefix}{self._chance.randrange(PATHS)}"
        return path, None if self._chance.random() < 0.15 else self._chance.choice(CONTENTS)


def _write(store: LocalCasStore, board: Board, seed: str, writer: int) -> None:
    script, number = Script(seed, writer), 0
    while True:
        path, content = script.next()
        board.show(writer, number + 1, number)
        if content is None:
            store.delete_file(path)
        elif number % 3:
            store.write_file(path, content)
        else:
            store.write_file_stream(path, io.BytesIO(content))
        number += 1
        board.show(writer, number, number)


def _collect(store: LocalCasStore, board: Board) -> None:
    number = 0
    while True:
        store.prune_orphan_blobs()
        number += 1
        board.show(WRITERS, number, number)


def start(location: Path, board: Board, seed: str, bug: str) -> list[int]:
    """Fork the writers and the collector; the process ids."""
    pids = []
    for writer in range(WRITERS + 1):
        board.show(writer, 0, 0)
        pid = os.fork()
        if pid == 0:
            faulthandler.disable()  # SQLite's shared memory goes with the power: some die of that
            with contextlib.suppress(BaseException):
                if bug:
                    BUGS[bug]()
                store = LocalCasStore(location, create=False)
                if writer < WRITERS:
                    _write(store, board, seed, writer)
                _collect(store, board)
            signal.pause()  # an error: the power is gone
        pids.append(pid)
    return pids


def wait_until_busy(board: Board, steps: int) -> None:
    """Until the writers have done so much together."""
    deadline = time.monotonic() + 60
    while sum(board.read(writer)[1] for writer in range(WRITERS)) < steps:
        assert time.monotonic() < deadline, "the writers do not write"
        time.sleep(0.0005)


def kill(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for pid in pids:
        os.waitpid(pid, 0)


def possible(before: State, seed: str, writer: int, least: int, most: int) -> list[State]:
    """What a writer's paths may hold after a number of steps from ``least`` to ``most``."""
    script, state = Script(seed, writer), {p: d for p, d in before.items() if p.startswith(f"{writer}/")}
    found = [dict(state)] if least == 0 else []
    for number in range(1, most + 1):
        path, content = script.next()
        if content is None:
            state.pop(path, None)
        else:
            state[path] = content
        if number >= least:
            found.append(dict(state))
    return found
