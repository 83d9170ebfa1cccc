"""Who is compared at taking in a tree, and the same tree again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from blake3 import blake3
from contestants import (
    DURABLE,
    UNFLUSHED,
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

# --- trees ---------------------------------------------------------------------------------------

TREES = {"import, small files": "small", "import, medium files": "medium"}
PrepareTree = Callable[[Path, Path], Timed]
"""From the tree and an empty directory."""


def with_trees(name: str, settings: str, *, needs: str = "") -> Callable[[PrepareTree], PrepareTree]:
    """Enters one for each of the trees."""

    def enter(prepare: PrepareTree) -> PrepareTree:
        for work, which in TREES.items():

            def prepared(corpus: Corpus, place: Path, which: str = which) -> Timed:
                return prepare(getattr(corpus, which), place)

            contestant(work, name, settings, needs=needs)(prepared)
        return prepare

    return enter


@with_trees("distfs", DURABLE)
def _import(tree: Path, place: Path) -> Timed:
    store = LocalCasStore(place / "store")
    return lambda: store.import_tree(tree)


@with_trees("distfs, write_files", f"{DURABLE}, 1,000 to a commit")
def _write_files(tree: Path, place: Path) -> Timed:
    store = LocalCasStore(place / "store")
    return lambda: store.write_files((path, file.read_bytes()) for path, file in files_of(tree))


@with_trees("cp -r", UNFLUSHED)
def _cp(tree: Path, place: Path) -> Timed:
    return lambda: run("cp", "-r", tree, place / "copy")


@with_trees("cp -r and syncfs", DURABLE)
def _cp_flushed(tree: Path, place: Path) -> Timed:
    return lambda: (run("cp", "-r", tree, place / "copy"), flush_file_system(place))


@with_trees("BLAKE3 alone", "reads and hashes")
def _hash(tree: Path, _: Path) -> Timed:
    return lambda: [blake3(file.read_bytes()).digest() for _, file in files_of(tree)]


@with_trees("git add", "core.fsync=all, fsyncMethod=batch", needs="$git")
def _git(tree: Path, place: Path) -> Timed:
    git = _git_at(place, tree, "batch")
    return lambda: run(*git, "add", "--all")


@with_trees("git add, each object", "core.fsync=all, fsyncMethod=fsync", needs="$git")
def _git_each(tree: Path, place: Path) -> Timed:
    git = _git_at(place, tree, "fsync")
    return lambda: run(*git, "add", "--all")


@with_trees("dulwich", f"one pack, {UNFLUSHED}", needs="dulwich")
def _dulwich(tree: Path, place: Path) -> Timed:
    from dulwich.objects import Blob
    from dulwich.repo import Repo

    (place / "dulwich").mkdir()
    store = Repo.init_bare(str(place / "dulwich")).object_store
    return lambda: store.add_objects(
        [(Blob.from_string(file.read_bytes()), path.encode()) for path, file in files_of(tree)]
    )


@with_trees("diskcache", "SQLite synchronous=NORMAL, files not flushed", needs="diskcache")
def _diskcache(tree: Path, place: Path) -> Timed:
    cache = open_cache(place)
    return lambda: fill_cache(cache, tree)


@with_trees("hashfs", UNFLUSHED, needs="hashfs")
def _hashfs(tree: Path, place: Path) -> Timed:
    import hashfs

    store = hashfs.HashFS(str(place / "hashfs"), depth=1, width=2)
    return lambda: [store.put(str(file)) for _, file in files_of(tree)]


def _git_at(place: Path, tree: Path, method: str) -> list[str]:
    run("git", "init", "--quiet", "--bare", place / "git")
    settings = ["-c", "core.fsync=all", "-c", f"core.fsyncMethod={method}", "-c", "core.bare=false"]
    return ["git", *settings, f"--git-dir={place / 'git'}", f"--work-tree={tree}", "-C", str(tree)]


# --- the same tree again -------------------------------------------------------------------------

AGAIN = "import again, unchanged"


@contestant(AGAIN, "distfs", DURABLE)
def _again(corpus: Corpus, place: Path) -> Timed:
    store = LocalCasStore(place / "store")
    store.import_tree(corpus.small)
    return lambda: store.import_tree(corpus.small)


@contestant(AGAIN, "distfs, read_all", DURABLE)
def _again_read(corpus: Corpus, place: Path) -> Timed:
    store = LocalCasStore(place / "store")
    store.import_tree(corpus.small)
    return lambda: store.import_tree(corpus.small, read_all=True)


@contestant(AGAIN, "git add", "core.fsync=all, fsyncMethod=batch", needs="$git")
def _again_git(corpus: Corpus, place: Path) -> Timed:
    git = _git_at(place, corpus.small, "batch")
    run(*git, "add", "--all")
    return lambda: run(*git, "add", "--all")
