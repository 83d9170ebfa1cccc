"""Who is compared at single writes, reading, removing, and one large file."""

from __future__ import annotations

import hashlib
import io
import os
import random
from pathlib import Path
from typing import Any

import apsw
from blake3 import blake3
from contestants import (
    DURABLE,
    MIB,
    Corpus,
    Timed,
    contestant,
    files_of,
    fill_cache,
    flush_file_system,
    open_cache,
    run,
)

from agent_world_distfs import LocalCasStore

# --- single durable writes -----------------------------------------------------------------------

WRITES = "durable writes of 1 KiB, one by one"


@contestant(WRITES, "distfs", DURABLE)
def _writes(corpus: Corpus, place: Path) -> Timed:
    store = LocalCasStore(place / "store")
    return lambda: [store.write_file(f"{n % 100}/{n}", os.urandom(1024)) for n in range(corpus.writes)]


@contestant(WRITES, "bare SQLite commits", "WAL, synchronous=FULL")
def _commits(corpus: Corpus, place: Path) -> Timed:
    connection = apsw.Connection(str(place / "bare.db"))
    connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, content BLOB)")

    def commit() -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO rows (content) VALUES (?)", (os.urandom(1024),))
        connection.execute("COMMIT")

    return lambda: [commit() for _ in range(corpus.writes)]


@contestant(WRITES, "write + fsync", "the file, not its name")
def _fsyncs(corpus: Corpus, place: Path) -> Timed:
    def write(number: int) -> None:
        with (place / str(number)).open("wb") as file:
            file.write(os.urandom(1024))
            file.flush()
            os.fsync(file.fileno())

    return lambda: [write(number) for number in range(corpus.writes)]


@contestant(WRITES, "diskcache", "SQLite synchronous=NORMAL", needs="diskcache")
def _cache_writes(corpus: Corpus, place: Path) -> Timed:
    cache = open_cache(place)
    return lambda: [cache.set(f"{n % 100}/{n}", os.urandom(1024)) for n in range(corpus.writes)]


# --- reading and removing ------------------------------------------------------------------------

READ, DELETE = "read in random order", "delete half, give the space back"


def _shuffled(corpus: Corpus) -> list[str]:
    paths = sorted(path for path, _ in files_of(corpus.small))
    random.Random(1).shuffle(paths)
    return paths


@contestant(READ, "distfs", "verified")
def _read(corpus: Corpus, place: Path) -> Timed:
    store, paths = LocalCasStore(place / "store"), _shuffled(corpus)
    store.import_tree(corpus.small)
    return lambda: [store.read_file(path) for path in paths]


@contestant(READ, "files", "not verified")
def _read_files(corpus: Corpus, _: Path) -> Timed:
    paths = _shuffled(corpus)
    return lambda: [(corpus.small / path).read_bytes() for path in paths]


@contestant(READ, "files and BLAKE3", "hashed")
def _read_hashed(corpus: Corpus, _: Path) -> Timed:
    paths = _shuffled(corpus)
    return lambda: [blake3((corpus.small / path).read_bytes()).digest() for path in paths]


@contestant(READ, "diskcache", "not verified", needs="diskcache")
def _read_cache(corpus: Corpus, place: Path) -> Timed:
    cache, paths = _filled_cache(corpus, place), _shuffled(corpus)
    return lambda: [cache[path] for path in paths]


def _filled_cache(corpus: Corpus, place: Path) -> Any:
    cache = open_cache(place)
    fill_cache(cache, corpus.small)
    return cache


@contestant(DELETE, "distfs", DURABLE)
def _delete(corpus: Corpus, place: Path) -> Timed:
    store, paths = LocalCasStore(place / "store"), _shuffled(corpus)
    store.import_tree(corpus.small)
    half = paths[: len(paths) // 2]
    return lambda: (store.delete_files(half), store.prune_orphan_blobs())


@contestant(DELETE, "diskcache", "SQLite synchronous=NORMAL", needs="diskcache")
def _delete_cached(corpus: Corpus, place: Path) -> Timed:
    cache, paths = _filled_cache(corpus, place), _shuffled(corpus)

    def delete() -> None:
        with cache.transact():
            for path in paths[: len(paths) // 2]:
                del cache[path]

    return delete


# --- one large file ------------------------------------------------------------------------------

LARGE, LARGE_OUT = "one large file in", "one large file out"


@contestant(LARGE, "distfs", DURABLE)
def _large(corpus: Corpus, place: Path) -> Timed:
    store = LocalCasStore(place / "store")

    def write() -> None:
        with corpus.large.open("rb") as source:
            store.write_file_stream("large", source)

    return write


@contestant(LARGE, "cp and syncfs", DURABLE)
def _large_cp(corpus: Corpus, place: Path) -> Timed:
    return lambda: (run("cp", "--reflink=never", corpus.large, place / "copy"), flush_file_system(place))


@contestant(LARGE, "BLAKE3 alone", "reads and hashes")
def _large_hash(corpus: Corpus, _: Path) -> Timed:
    return lambda: _read_through(corpus.large.open("rb"), blake3())


def _read_through(source: Any, hasher: Any = None) -> None:
    with source:
        while chunk := source.read(MIB):
            if hasher is not None:
                hasher.update(chunk)


@contestant(LARGE_OUT, "distfs", "verified")
def _large_out(corpus: Corpus, place: Path) -> Timed:
    store = LocalCasStore(place / "store")
    with corpus.large.open("rb") as source:
        store.write_file_stream("large", source)
    return lambda: _read_through(store.open_file("large"))


@contestant(LARGE_OUT, "read, then BLAKE3", "hashed")
def _large_read(corpus: Corpus, _: Path) -> Timed:
    return lambda: _read_through(io.FileIO(corpus.large), blake3())


@contestant(LARGE_OUT, "read, then SHA-256", "hashed")
def _large_read_sha(corpus: Corpus, _: Path) -> Timed:
    return lambda: _read_through(io.FileIO(corpus.large), hashlib.sha256())
