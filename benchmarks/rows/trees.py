"""A tree of files in, and the same tree again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from agent_world_distfs import LocalCasStore
from benchmarks import peers
from benchmarks.bench import Bench, files_of
from benchmarks.contest import DURABLE, OURS, UNFLUSHED, Timed, row
from benchmarks.peers import GIT_BATCH, GIT_DEFAULT, GIT_EACH, run

SMALL = row("import", "import of 10,000 files of 1 KiB", each="files")
SMALL.goal("at most 0.6 of the time of `cp -r` that flushes nothing", to="cp -r", at_most=0.6)
SMALL.goal("at least 8 times as fast as git add", to="git add", at_least=8, is_rate=True)
MEDIUM = row("medium", "import of 2,000 files of 64 KiB", each="medium_files")
MEDIUM.goal("at most 1.2 times `cp -r` and syncfs", to="cp -r and syncfs", at_most=1.2)
AGAIN = row("again", "import of the 10,000 files again, unchanged", each="files")
AGAIN.goal("no slower than git add", to="git add", at_most=1)

PrepareTree = Callable[[Path, Path], Timed]
"""From the tree and an empty directory."""


def _both(name: str, settings: str, *, needs: str = "") -> Callable[[PrepareTree], PrepareTree]:
    """Enters one for each of the trees."""

    def enter(prepare: PrepareTree) -> PrepareTree:
        SMALL.contestant(name, settings, needs=needs)(lambda bench, place: prepare(bench.small, place))
        MEDIUM.contestant(name, settings, needs=needs)(lambda bench, place: prepare(bench.medium, place))
        return prepare

    return enter


@_both(OURS, DURABLE)
def _import(tree: Path, place: Path) -> Timed:
    store = LocalCasStore(place / "store")
    return lambda: store.import_tree(tree)


@_both("distfs, write_files", f"{DURABLE}, 1,000 to a commit")
def _write_files(tree: Path, place: Path) -> Timed:
    store = LocalCasStore(place / "store")
    return lambda: store.write_files((path, file.read_bytes()) for path, file in files_of(tree))


@_both("cp -r", UNFLUSHED)
def _cp(tree: Path, place: Path) -> Timed:
    return lambda: run("cp", "-r", tree, place / "copy")


@_both("cp -r and syncfs", DURABLE)
def _cp_flushed(tree: Path, place: Path) -> Timed:
    return lambda: (run("cp", "-r", tree, place / "copy"), peers.flush_file_system(place))


@_both("BLAKE3 alone", "reads and hashes")
def _hash(tree: Path, _: Path) -> Timed:
    return lambda: peers.hash_files(tree)


@_both("one SQLite commit of all rows", "durable; reads the tree, names nothing")
def _commit(tree: Path, place: Path) -> Timed:
    connection = peers.open_sqlite(place)
    return lambda: peers.commit_rows(connection, [file.read_bytes() for _, file in files_of(tree)])


@_both("diskcache", peers.CACHE_SETTINGS, needs="diskcache")
def _diskcache(tree: Path, place: Path) -> Timed:
    cache = peers.open_cache(place)
    return lambda: peers.fill_cache(cache, tree)


def _git(*settings: str) -> PrepareTree:
    def prepare(tree: Path, place: Path) -> Timed:
        git = peers.git_at(place, tree, settings)
        return lambda: run(*git, "add", "--all")

    return prepare


_both("git add", "defaults: objects not flushed", needs="$git")(_git(*GIT_DEFAULT))
_both("git add, flushed", "durable: core.fsync=all, fsyncMethod=batch", needs="$git")(_git(*GIT_BATCH))


@SMALL.contestant("git add, each flushed", "durable: core.fsync=all, fsyncMethod=fsync", needs="$git")
def _git_each(bench: Bench, place: Path) -> Timed:
    return _git(*GIT_EACH)(bench.small, place)


@_both("dulwich", f"one pack, {UNFLUSHED}", needs="dulwich")
def _dulwich(tree: Path, place: Path) -> Timed:
    from dulwich.objects import Blob
    from dulwich.repo import Repo

    (place / "dulwich").mkdir()
    store = Repo.init_bare(str(place / "dulwich")).object_store
    return lambda: store.add_objects(
        [(Blob.from_string(file.read_bytes()), path.encode()) for path, file in files_of(tree)]
    )


@_both("hashfs", UNFLUSHED, needs="hashfs")
def _hashfs(tree: Path, place: Path) -> Timed:
    import hashfs

    store = hashfs.HashFS(str(place / "hashfs"), depth=1, width=2)
    return lambda: [store.put(str(file)) for _, file in files_of(tree)]


@_both("dvc-data", UNFLUSHED, needs="dvc_data")
def _dvc(tree: Path, place: Path) -> Timed:
    dvc = peers.Dvc(place)
    return lambda: dvc.add(tree)


@_both("borg create", "durable at its end, no compression", needs="$borg")
def _borg(tree: Path, place: Path) -> Timed:
    settings = peers.borg_at(place)
    return lambda: peers.borg_create("all", settings, tree, ".")


@_both("restic backup", "each pack flushed", needs="$restic")
def _restic(tree: Path, place: Path) -> Timed:
    restic = peers.restic_at(place)
    return lambda: run(*restic, "backup", ".", cwd=tree, settings=peers.RESTIC)


@_both("cacache", UNFLUSHED, needs="node:cacache")
def _cacache(tree: Path, place: Path) -> Timed:
    return lambda: run("node", peers.CACACHE_SCRIPT, place / "cacache", tree)


# --- again ------------------------------------------------------------------------------------


@AGAIN.contestant(OURS, DURABLE)
def _again(bench: Bench, place: Path) -> Timed:
    store = LocalCasStore(place / "store")
    store.import_tree(bench.small)
    return lambda: store.import_tree(bench.small)


@AGAIN.contestant("distfs, all read again", DURABLE)
def _again_read(bench: Bench, place: Path) -> Timed:
    store = LocalCasStore(place / "store")
    store.import_tree(bench.small)
    return lambda: store.import_tree(bench.small, read_all=True)


@AGAIN.contestant("git add", "defaults", needs="$git")
def _again_git(bench: Bench, place: Path) -> Timed:
    git = peers.git_at(place, bench.small)
    run(*git, "add", "--all")
    return lambda: run(*git, "add", "--all")


@AGAIN.contestant("borg create", "durable at its end", needs="$borg")
def _again_borg(bench: Bench, place: Path) -> Timed:
    settings = peers.borg_at(place)
    peers.borg_create("all", settings, bench.small, ".")
    return lambda: peers.borg_create("again", settings, bench.small, ".")


@AGAIN.contestant("a stat of each", "looks, and compares nothing")
def _again_stat(bench: Bench, _: Path) -> Timed:
    return lambda: [file.stat() for _, file in files_of(bench.small)]
