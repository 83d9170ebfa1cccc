"""The peers, each opened in a directory of its own, and the limits that several rows have."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path
from typing import Any

import apsw
from blake3 import blake3

from benchmarks.bench import MIB, files_of

CACACHE_SCRIPT = Path(__file__).with_name("cacache_put.cjs")
Settings = dict[str, str]
RESTIC: Settings = {"RESTIC_PASSWORD": "x"}
BORG: Settings = {
    "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
    "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
}


def run(*command: str | Path, cwd: Path | None = None, settings: Settings | None = None) -> None:
    """To its end; ``settings`` go into its environment."""
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | (settings or {}), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit {done.returncode}: {done.stderr.strip()}")


def flush_file_system(place: Path) -> None:
    descriptor = os.open(place, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
            raise OSError(ctypes.get_errno(), "syncfs")
    finally:
        os.close(descriptor)


def read_through(source: Any, hasher: Any = None) -> None:
    """A stream from its start to its end, and hashed."""
    with source:
        while chunk := source.read(MIB):
            if hasher is not None:
                hasher.update(chunk)


def hash_files(tree: Path) -> list[bytes]:
    """A limit: reading and hashing each."""
    return [blake3(file.read_bytes()).digest() for _, file in files_of(tree)]


# --- SQLite -----------------------------------------------------------------------------------


def open_sqlite(place: Path) -> apsw.Connection:
    """A database with a table of rows; a commit is durable."""
    connection = apsw.Connection(str(place / "bare.db"))
    connection.set_busy_timeout(60_000)
    connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, content BLOB)")
    return connection


def commit_rows(connection: apsw.Connection, contents: list[bytes]) -> None:
    """In one durable transaction."""
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT INTO rows (content) VALUES (?)", [(content,) for content in contents])
    connection.execute("COMMIT")


# --- diskcache --------------------------------------------------------------------------------

CACHE_SETTINGS = "SQLite synchronous=NORMAL, files not flushed"


def open_cache(place: Path) -> Any:
    import diskcache

    return diskcache.Cache(str(place / "cache"), eviction_policy="none", cull_limit=0, size_limit=1 << 40)


def fill_cache(cache: Any, tree: Path) -> None:
    with cache.transact():
        for path, file in files_of(tree):
            cache.set(path, file.read_bytes())


def filled_cache(place: Path, tree: Path) -> Any:
    cache = open_cache(place)
    fill_cache(cache, tree)
    return cache


# --- git, borg, restic ------------------------------------------------------------------------

GIT_DEFAULT: tuple[str, ...] = ()
GIT_BATCH = ("-c", "core.fsync=all", "-c", "core.fsyncMethod=batch")
GIT_EACH = ("-c", "core.fsync=all", "-c", "core.fsyncMethod=fsync")


def git_at(place: Path, tree: Path, settings: tuple[str, ...] = GIT_DEFAULT) -> list[str]:
    """The beginning of a command: a new repository, whose files are the tree."""
    run("git", "init", "--quiet", "--bare", place / "git")
    options = ["-c", "core.bare=false", "-c", "gc.auto=0", *settings]
    return ["git", *options, f"--git-dir={place / 'git'}", f"--work-tree={tree}", "-C", str(tree)]


def borg_at(place: Path) -> Settings:
    """The environment of a new repository."""
    settings = BORG | {"BORG_REPO": str(place / "borg"), "BORG_BASE_DIR": str(place)}
    run("borg", "init", "--encryption", "none", settings=settings)
    return settings


def borg_create(archive: str, settings: Settings, tree: Path, *paths: str | Path) -> None:
    run("borg", "create", "--compression", "none", f"::{archive}", *paths, cwd=tree, settings=settings)


def restic_at(place: Path) -> list[str]:
    """The beginning of a command."""
    command = ["restic", "--repo", str(place / "restic"), "--no-cache", "--quiet"]
    run(*command, "init", settings=RESTIC)
    return command


# --- dvc-data, pygit2 -------------------------------------------------------------------------


class Dvc:
    """An object database of dvc-data."""

    def __init__(self, place: Path) -> None:
        from dvc_data.hashfile.db.local import LocalHashFileDB
        from dvc_objects.fs.local import LocalFileSystem

        self.fs = LocalFileSystem()
        self.odb = LocalHashFileDB(self.fs, str(place / "dvc"), tmp_dir=str(place / "tmp"))

    def add(self, path: Path) -> Any:
        from dvc_data.hashfile.build import build
        from dvc_data.hashfile.transfer import transfer

        staging, _, built = build(self.odb, str(path), self.fs, "md5")
        transfer(staging, self.odb, {built.hash_info}, shallow=False)
        return built

    def verify(self) -> None:
        for name in list(self.odb.all()):
            self.odb.check(name, check_hash=True)

    def collect(self, used: set[Any]) -> None:
        from dvc_data.hashfile.gc import gc

        gc(self.odb, used)


def git_objects(place: Path) -> Any:
    """All objects of a repository: its names, and to be read."""
    import pygit2

    return pygit2.Repository(str(place / "git")).odb
