"""The race: processes that write one file from the same start, each on the condition that it was first."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from agent_world_distfs import ABSENT, LocalCasStore
from agent_world_distfs.faces.tour.contender import decode, encode
from agent_world_distfs.faces.tour.facts import Contender, PromiseBrokenError, Raced, Refusal

COUNTER = "counter.json"
CONTENDERS = 2
TIMES_EACH = 100
"""Enough for hundreds of conflicts, few enough for a disk that takes 20 ms for a flush."""


def race(store: LocalCasStore) -> Raced:
    """Let processes count on one counter, and see whether any count was lost."""
    start = store.write_file_if_match(COUNTER, ABSENT, encode(0))
    with _started(store.location) as processes:
        for process in processes:
            if _pipe(process.stdout).readline() != "ready\n":
                raise _failure(process)
        for process in processes:
            _say_go(process)
        outcomes = {process.pid: _finish(process) for process in processes}
    return Raced(
        COUNTER,
        TIMES_EACH,
        tuple(
            Contender(process_id, outcome["acknowledged"], outcome["refused"])
            for process_id, outcome in outcomes.items()
        ),
        _refusal_at(store, start.content_hash, outcomes),
        decode(store.read_file(COUNTER)),
    )


def _refusal_at(store: LocalCasStore, start: str, outcomes: dict[int, dict[str, Any]]) -> Refusal | None:
    """The refusal of the write that was based on ``start``: of all who began there, one comes first."""
    for process_id, outcome in outcomes.items():
        refusal = outcome["first_refusal"]
        if refusal is not None and refusal["expected"] == start:
            return Refusal(
                process_id,
                start,
                store.get(start).decode(),
                refusal["actual"],
                store.get(refusal["actual"]).decode(),
                refusal["waited_s"],
            )
    return None


# --- processes ----------------------------------------------------------------------------------


@contextmanager
def _started(location: str) -> Iterator[list[subprocess.Popen[str]]]:
    """The processes that race; none of them is left when the block ends, however it ends."""
    processes: list[subprocess.Popen[str]] = []
    try:
        while len(processes) < CONTENDERS:
            with _signals_held_back():
                processes.append(_start(location))
        yield processes
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.communicate()


def _start(location: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-m", "agent_world_distfs.faces.tour.contender"]
    # They import what we import, and not what lies where the caller happens to stand (hence -P).
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [*command, location, COUNTER, str(TIMES_EACH)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Ctrl-C cannot hit between the start of a process and our noting it.

    What is started meanwhile never sees it at all: it is for us, who end them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _say_go(process: subprocess.Popen[str]) -> None:
    with suppress(BrokenPipeError):  # what it died of shows when it is waited for
        _pipe(process.stdin).write("go\n")
        _pipe(process.stdin).flush()


def _finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    line = _pipe(process.stdout).readline()
    if not line:
        raise _failure(process)
    process.wait()
    outcome: dict[str, Any] = json.loads(line)
    return outcome


def _failure(process: subprocess.Popen[str]) -> PromiseBrokenError:
    _, complaint = process.communicate()
    last = (complaint.strip().splitlines() or ["without a word"])[-1]
    return PromiseBrokenError(f"a process of the race ended with code {process.returncode}: {last}")


def _pipe(stream: Any) -> Any:
    assert stream is not None  # each is a pipe
    return stream
