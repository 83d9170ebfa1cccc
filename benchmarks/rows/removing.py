"""Half of the files away, and their space given back."""

from __future__ import annotations

from pathlib import Path

from agent_world_distfs import LocalCasStore
from benchmarks import peers
from benchmarks.bench import Bench
from benchmarks.contest import DURABLE, OURS, UNFLUSHED, Timed, row
from benchmarks.peers import run

DELETE = row("delete", "half of 10,000 files of 1 KiB deleted and collected")
DELETE.goal("at most the time of diskcache", to="diskcache", at_most=1)


def _half(bench: Bench) -> list[str]:
    return bench.shuffled[: len(bench.shuffled) // 2]


@DELETE.contestant(OURS, DURABLE)
def _delete(bench: Bench, place: Path) -> Timed:
    store, half = LocalCasStore(place / "store"), _half(bench)
    store.import_tree(bench.small)
    return lambda: (store.delete_files(half), store.prune_orphan_blobs())


@DELETE.contestant("diskcache", f"one transaction, {peers.CACHE_SETTINGS}", needs="diskcache")
def _delete_cached(bench: Bench, place: Path) -> Timed:
    cache, half = peers.filled_cache(place, bench.small), _half(bench)

    def delete() -> None:
        with cache.transact():
            for path in half:
                del cache[path]

    return delete


@DELETE.contestant("diskcache, one by one", peers.CACHE_SETTINGS, needs="diskcache")
def _delete_each(bench: Bench, place: Path) -> Timed:
    cache, half = peers.filled_cache(place, bench.small), _half(bench)
    return lambda: [cache.delete(path) for path in half]


@DELETE.contestant("git rm and prune", "defaults", needs="$git")
def _delete_git(bench: Bench, place: Path) -> Timed:
    git = peers.git_at(place, bench.small)
    run(*git, "add", "--all")
    listed = place / "half"
    listed.write_text("\n".join(_half(bench)))
    return lambda: (
        run(*git, "rm", "--quiet", "--cached", f"--pathspec-from-file={listed}"),
        run(*git, "prune", "--expire=now"),
    )


@DELETE.contestant("dvc-data", UNFLUSHED, needs="dvc_data")
def _delete_dvc(bench: Bench, place: Path) -> Timed:
    dvc, gone = peers.Dvc(place), set(_half(bench))
    built = dvc.add(bench.small)
    used = {info for key, (_, info) in built.iteritems() if "/".join(key) not in gone}
    return lambda: dvc.collect(used)


@DELETE.contestant("borg delete and compact", DURABLE, needs="$borg")
def _delete_borg(bench: Bench, place: Path) -> Timed:
    settings = peers.borg_at(place)
    peers.borg_create("all", settings, bench.small, ".")
    peers.borg_create("half", settings, bench.small, *_half(bench))
    return lambda: (
        run("borg", "delete", "::all", settings=settings),
        run("borg", "compact", settings=settings),
    )
