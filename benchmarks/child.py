"""Steps that run in a process of their own: what they take of memory is theirs alone.

    python -m benchmarks.child STEP ARGS...

A child prepares, prints a line, waits for one, works, and prints its figures as JSON. Its memory is the
peak of the process less what that was before the work began: the interpreter, the package, an open store.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from agent_world_distfs import FileIndexManifestRef, LocalCasStore
from benchmarks.peers import commit_rows, open_sqlite

Told = dict[str, Any]
Work = Callable[[], Told | None]
ROOT = Path(__file__).resolve().parent.parent


class Child:
    """A child that is ready."""

    def __init__(self, step: str, arguments: tuple[object, ...]) -> None:
        command = [sys.executable, "-m", "benchmarks.child", step, *map(str, arguments)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._read()

    def begin(self) -> None:
        """Let it work."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self) -> Told:
        """What it tells when it is done."""
        told = self._read()
        self._process.communicate()
        return cast("Told", json.loads(told))

    def run(self) -> Told:
        """Both."""
        self.begin()
        return self.end()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a child has failed: exit {self._process.wait()}")
        return line


def start_step(step: str, *arguments: object) -> Child:
    """A child that has prepared a step."""
    return Child(step, arguments)


def in_child(step: str, *arguments: object) -> Told:
    """A step from its start to its end."""
    return Child(step, arguments).run()


# --- the steps: each prepares, and returns the work -------------------------------------------


def write_for(place: str, seconds: str) -> Work:
    store = LocalCasStore(Path(place, "store"))
    name = os.getpid()
    return lambda: _times_of(lambda n: store.write_file(f"{name}/{n}", os.urandom(1024)), float(seconds))


def commit_for(place: str, seconds: str) -> Work:
    connection = open_sqlite(Path(place))
    return lambda: _times_of(lambda _: commit_rows(connection, [os.urandom(1024)]), float(seconds))


def _times_of(write: Callable[[int], object], seconds: float) -> Told:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        write(len(times))
        times.append((time.perf_counter() - start) * 1e3)
    return {"times_ms": times}


def stream_in(root: str, source: str) -> Work:
    store = LocalCasStore(root)

    def work() -> None:
        with Path(source).open("rb") as file:
            store.write_file_stream("large", file)

    return work


def empty(root: str) -> Work:
    store = LocalCasStore(root)

    def work() -> None:
        while paths := [file.path for file in store.list_files(limit=10_000)]:
            store.delete_files(paths)
        store.close()

    return work


def export(root: str) -> Work:
    store = LocalCasStore(root)
    store.write_file("00000/000", os.urandom(16))  # another index than last time: else it is stored already
    return lambda: _nothing(store.export_file_index_manifest())


def import_(root: str, ref: str) -> Work:
    store = LocalCasStore(root)
    held = _watch_lock(store)

    def work() -> Told:
        store.import_file_index_manifest(FileIndexManifestRef.parse(ref))
        held.sort()
        return {
            "median lock_ms": held[len(held) // 2] * 1e3,
            "p99.9 lock_ms": held[int(len(held) * 0.999)] * 1e3,
            "longest lock_ms": held[-1] * 1e3,
            "times locked": len(held),
        }

    return work


def _watch_lock(store: LocalCasStore) -> list[float]:
    """How long the write lock was held each time."""
    gate = store._catalog._gate
    acquire, release, held = gate.acquire, gate.release, list[float]()

    def acquire_watched(waited_s: float = 0.0) -> None:
        acquire(waited_s)
        held.append(time.perf_counter())

    def release_watched() -> None:
        if gate.is_held_here():
            held[-1] = time.perf_counter() - held[-1]
        release()

    gate.acquire = acquire_watched  # type: ignore[method-assign]
    gate.release = release_watched  # type: ignore[method-assign]
    return held


def list_(root: str) -> Work:
    store = LocalCasStore(root)
    return lambda: _nothing(store.list_files())


def iterate(root: str) -> Work:
    store = LocalCasStore(root)
    return lambda: _nothing(sum(1 for _ in store.iter_files()))


def audit(root: str) -> Work:
    store = LocalCasStore(root)
    return lambda: _nothing(store.audit_file_index().is_sound() or sys.exit("not sound"))


def _nothing(_: object) -> None:
    """To be told."""


STEPS: dict[str, Callable[..., Work]] = {
    step.__name__: step
    for step in (write_for, commit_for, stream_in, empty, export, import_, list_, iterate, audit)
}


def peak_mib() -> float:
    """Of this process. Linux has it by itself; ``ru_maxrss`` there begins with that of the parent."""
    with suppress(FileNotFoundError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"))
        if found is not None:
            return int(found[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)  # bytes, on macOS


def main(step: str, *arguments: str) -> None:
    work = STEPS[step](*arguments)
    before = peak_mib()
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    told = work() or {}
    seconds = time.perf_counter() - start
    memory = {"memory_mib": peak_mib() - before, "peak_mib": peak_mib()}
    print(json.dumps({"seconds": seconds} | memory | told), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
