"""One large file in and out."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

from blake3 import blake3

from agent_world_distfs import LocalCasStore
from benchmarks import peers
from benchmarks.bench import Bench
from benchmarks.child import start_step
from benchmarks.contest import DURABLE, OURS, UNFLUSHED, Timed, row
from benchmarks.peers import read_through, run

IN = row("large-in", "one file of 1 GiB in", is_large=True)
IN.goal("at most 1.15 times cp and syncfs", to="cp and syncfs", at_most=1.15)
IN.goal(
    "within 64 MiB of memory over the interpreter",
    to="",
    of=OURS,
    at_most=64,
    figures=("memory_mib", "memory_mib"),
)
OUT = row("large-out", "one file of 1 GiB out, verified")
OUT.goal("at most 1.3 times reading, then hashing", to="read, then BLAKE3", at_most=1.3)


@IN.contestant(OURS, f"{DURABLE}; a process of its own")
def _in(bench: Bench, place: Path) -> Timed:
    return start_step("stream_in", place / "store", str(bench.large)).run


@IN.contestant("cp and syncfs", DURABLE)
def _cp(bench: Bench, place: Path) -> Timed:
    return lambda: (run("cp", "--reflink=never", bench.large, place / "copy"), peers.flush_file_system(place))


@IN.contestant("BLAKE3 alone", "reads and hashes")
def _hash(bench: Bench, _: Path) -> Timed:
    return lambda: read_through(bench.large.open("rb"), blake3())


@IN.contestant("dvc-data", UNFLUSHED, needs="dvc_data")
def _dvc(bench: Bench, place: Path) -> Timed:
    dvc = peers.Dvc(place)
    return lambda: dvc.add(bench.large)


@IN.contestant("borg create", "durable at its end, no compression", needs="$borg")
def _borg(bench: Bench, place: Path) -> Timed:
    settings = peers.borg_at(place)
    return lambda: peers.borg_create("large", settings, bench.large.parent, bench.large.name)


# --- out --------------------------------------------------------------------------------------


@OUT.contestant(OURS, "verified")
def _out(bench: Bench, _: Path) -> Timed:
    store = bench.once("store of one large file", lambda place: _store_of_large(bench, place))
    return lambda: read_through(store.open_file("large"))


def _store_of_large(bench: Bench, place: Path) -> LocalCasStore:
    store = LocalCasStore(place / "store")
    with bench.large.open("rb") as source:
        store.write_file_stream("large", source)
    return store


@OUT.contestant("read, then BLAKE3", "hashed; MiB by MiB, one thread")
def _read(bench: Bench, _: Path) -> Timed:
    return lambda: read_through(io.FileIO(bench.large), blake3())


@OUT.contestant("read, then SHA-256", "hashed")
def _read_sha(bench: Bench, _: Path) -> Timed:
    return lambda: read_through(io.FileIO(bench.large), hashlib.sha256())


@OUT.contestant("read alone", "not verified")
def _read_only(bench: Bench, _: Path) -> Timed:
    return lambda: read_through(io.FileIO(bench.large))
