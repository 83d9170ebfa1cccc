"""Bytes out: by path in random order, and all of them verified."""

from __future__ import annotations

from pathlib import Path

import apsw
from blake3 import blake3

from agent_world_distfs import LocalCasStore
from benchmarks import peers
from benchmarks.bench import Bench, files_of
from benchmarks.contest import OURS, Timed, row
from benchmarks.peers import run

READ = row("read", "read of 10,000 files of 1 KiB by path in random order", each="files")
READ.goal("at most 1.1 times diskcache, which verifies nothing", to="diskcache", at_most=1.1)
VERIFY = row("verify", "verification of 10,000 files of 1 KiB", each="files")
LOOP = "a loop over SQLite rows and BLAKE3"
VERIFY.goal("at most 4 times reading and hashing in one loop", to=LOOP, at_most=4)


def _imported(bench: Bench, place: Path) -> LocalCasStore:
    store = LocalCasStore(place / "store")
    store.import_tree(bench.small)
    return store


@READ.contestant(OURS, "verified")
def _read(bench: Bench, place: Path) -> Timed:
    store, paths = _imported(bench, place), bench.shuffled
    return lambda: [store.read_file(path) for path in paths]


@READ.contestant("files", "not verified")
def _read_files(bench: Bench, _: Path) -> Timed:
    root, paths = bench.small, bench.shuffled
    return lambda: [(root / path).read_bytes() for path in paths]


@READ.contestant("files and BLAKE3", "hashed")
def _read_hashed(bench: Bench, _: Path) -> Timed:
    root, paths = bench.small, bench.shuffled
    return lambda: [blake3((root / path).read_bytes()).digest() for path in paths]


@READ.contestant("diskcache", "not verified", needs="diskcache")
def _read_cache(bench: Bench, place: Path) -> Timed:
    cache, paths = peers.filled_cache(place, bench.small), bench.shuffled
    return lambda: [cache[path] for path in paths]


@READ.contestant("one SQLite query each", "not verified")
def _read_rows(bench: Bench, place: Path) -> Timed:
    connection = _rows_by_path(bench, place)
    sql = "SELECT content FROM named WHERE path = ?"
    return lambda: [connection.execute(sql, (path,)).fetchone() for path in bench.shuffled]


def _rows_by_path(bench: Bench, place: Path) -> apsw.Connection:
    connection = peers.open_sqlite(place)
    connection.execute("CREATE TABLE named (path TEXT PRIMARY KEY, content BLOB); BEGIN")
    rows = ((path, file.read_bytes()) for path, file in files_of(bench.small))
    connection.executemany("INSERT INTO named VALUES (?, ?)", rows)
    connection.execute("COMMIT")
    return connection


# --- all of them ------------------------------------------------------------------------------


@VERIFY.contestant(OURS, "audit with verify=True: index, checksums, every byte, SQLite's own check")
def _verify(bench: Bench, place: Path) -> Timed:
    store = _imported(bench, place)
    return lambda: store.audit_file_index(verify=True)


@VERIFY.contestant(LOOP, "every byte")
def _verify_rows(bench: Bench, place: Path) -> Timed:
    connection = _rows_by_path(bench, place)
    rows = "SELECT content FROM named"
    return lambda: [blake3(content).digest() for (content,) in connection.execute(rows)]


@VERIFY.contestant("a loop over files and BLAKE3", "every byte")
def _verify_files(bench: Bench, _: Path) -> Timed:
    return lambda: peers.hash_files(bench.small)


@VERIFY.contestant("pygit2", "every object read and checked", needs="pygit2")
def _verify_git(bench: Bench, place: Path) -> Timed:
    run(*peers.git_at(place, bench.small), "add", "--all")
    objects = peers.git_objects(place)
    return lambda: [objects.read(name) for name in objects]


@VERIFY.contestant("dvc-data", "every file hashed", needs="dvc_data")
def _verify_dvc(bench: Bench, place: Path) -> Timed:
    dvc = peers.Dvc(place)
    dvc.add(bench.small)
    return dvc.verify


@VERIFY.contestant("borg check", "repository, with --verify-data", needs="$borg")
def _verify_borg(bench: Bench, place: Path) -> Timed:
    settings = peers.borg_at(place)
    peers.borg_create("all", settings, bench.small, ".")
    return lambda: run("borg", "check", "--verify-data", settings=settings)
