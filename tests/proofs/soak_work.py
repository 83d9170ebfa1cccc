"""What everybody does in a soak: on paths that all share, so that each meets the others all the time."""

from __future__ import annotations

import contextlib
import io
import random
from collections import Counter
from collections.abc import Callable

from kill_model import body

from agent_world_distfs import (
    ABSENT,
    BlobNotFoundError,
    ConflictError,
    FileMetadata,
    LocalCasStore,
    NotFoundError,
)

PATHS = 150
SHARED = 12
"""Contents that everybody writes: a collection is always about to take some of them."""

PINNED = 6
KEPT = 3

Step = Callable[["Worker"], None]


class Worker:
    """One process: chooses steps by chance and counts them."""

    def __init__(self, store: LocalCasStore, name: str, chance: random.Random) -> None:
        self.store, self.chance = store, chance
        self.counts: Counter[str] = Counter()
        self.pinned: list[tuple[str, bytes]] = []
        self.kept: dict[str, list[FileMetadata]] = {}
        self.name = name

    def path(self) -> str:
        return f"p/{self.chance.randrange(PATHS)}"

    def content(self) -> bytes:
        kind = self.chance.random()
        if kind < 0.4:
            number = self.chance.randrange(SHARED)
            return body(f"shared{number}*{200 if number % 3 else 9_000 + number}")
        self.counts["contents"] += 1
        name = f"{self.name}.{self.counts['contents']}"
        return body(f"{name}*{self.chance.randint(100, 2_000) if kind < 0.9 else 20_000}")

    def do(self, steps: list[Step]) -> None:
        """One step; that the others were first is all that may be in its way."""
        with contextlib.suppress(NotFoundError, ConflictError):
            self.chance.choice(steps)(self)


def check_whole(data: bytes) -> None:
    """Content says what it is; what is not exactly that was mixed or cut."""
    name = data.partition(b"|")[0].decode()
    assert data == body(f"{name}*{len(data)}"), f"not what anybody wrote: {data[:60]!r}"


def _write(worker: Worker) -> None:
    worker.store.write_file(worker.path(), worker.content())
    worker.counts["writes"] += 1


def _stream(worker: Worker) -> None:
    worker.store.write_file_stream(worker.path(), io.BytesIO(worker.content()))
    worker.counts["writes"] += 1


def _swap(worker: Worker) -> None:
    path = worker.path()
    held = worker.store.stat_file(path)
    condition = ABSENT if held is None else held.content_hash
    worker.store.write_file_if_match(path, condition, worker.content())
    worker.counts["writes"] += 1


def _link(worker: Worker) -> None:
    worker.store.link_file(worker.path(), worker.store.hash_bytes(worker.content()))
    worker.counts["links"] += 1


def _copy(worker: Worker) -> None:
    worker.store.copy_file(worker.path(), worker.path())
    worker.counts["copies"] += 1


def _rename(worker: Worker) -> None:
    worker.store.rename_file(worker.path(), worker.path())
    worker.counts["renames"] += 1


def _delete(worker: Worker) -> None:
    worker.counts["deletes"] += worker.store.delete_files([worker.path(), worker.path()])


def _put(worker: Worker) -> None:
    worker.store.put_bytes(worker.content())
    worker.counts["writes"] += 1


def _read(worker: Worker) -> None:
    check_whole(worker.store.read_file(worker.path()))
    worker.counts["reads"] += 1


def _read_slowly(worker: Worker) -> None:
    with worker.store.open_file(worker.path()) as reader:
        head = reader.read(50)
        check_whole(head + reader.read())
    worker.counts["reads"] += 1


def _pin(worker: Worker) -> None:
    """What is pinned stays, whatever becomes of the paths, until it is unpinned by the one who did."""
    store = worker.store
    for content_hash, data in worker.pinned:
        assert store.get(content_hash) == data
    if len(worker.pinned) >= PINNED:
        assert store.unpin(worker.pinned.pop(0)[0])
    worker.counts["contents"] += 1
    data = body(f"pinned.{worker.chance.random()}*{worker.chance.choice([300, 12_000])}")
    content_hash = store.put_bytes(data)
    with contextlib.suppress(BlobNotFoundError):  # a collection was faster
        store.pin(content_hash)
        worker.pinned.append((content_hash, data))
        worker.counts["pins"] += 1


def _keep(worker: Worker) -> None:
    """What a snapshot names stays, whatever becomes of the paths, until the one who made it drops it."""
    store = worker.store
    for name, files in worker.kept.items():
        for file in worker.chance.sample(files, min(len(files), 5)):
            try:
                data = store.read_file_at(file.path, name)
            except NotFoundError as error:
                raise AssertionError(f"{name} is not what it was: {error}") from error
            assert store.hash_bytes(data) == file.content_hash
            check_whole(data)
    if len(worker.kept) >= KEPT:
        oldest = next(iter(worker.kept))
        store.drop_snapshot(oldest)
        del worker.kept[oldest]
    worker.counts["contents"] += 1
    name = f"{worker.name}.{worker.counts['contents']}"
    made = store.snapshot(name)
    worker.kept[name] = store.list_files_at(name)
    assert len(worker.kept[name]) == made.total_files
    worker.counts["snapshots"] += 1


def _restore(worker: Worker) -> None:
    if worker.kept:
        name = worker.chance.choice(list(worker.kept))
        worker.store.restore_snapshot(name, prefix=worker.chance.choice(["", "p"]))
        worker.counts["restores"] += 1


def _import(worker: Worker) -> None:
    ref = worker.store.export_file_index_manifest(pin=True)
    try:
        worker.store.import_file_index_manifest(ref)
        worker.counts["imports"] += 1
    finally:
        worker.store.unpin(ref.content_hash)


def _collect(worker: Worker) -> None:
    worker.counts["pruned"] += worker.store.prune_orphan_blobs().pruned_blobs
    worker.counts["prunes"] += 1


def _audit(worker: Worker) -> None:
    report = worker.store.audit_file_index()
    assert report.is_sound(), report
    worker.counts["audits"] += 1


WRITER: list[Step] = [
    *[_write] * 6,
    *[_stream] * 2,
    *[_swap] * 4,
    *[_link] * 2,
    _copy,
    *[_rename] * 2,
    _delete,
    _put,
]
ROLES: dict[str, list[Step]] = {
    "writer 1": [*WRITER, _read],
    "writer 2": [*WRITER, _read_slowly],
    "writer 3": WRITER,
    "reader": [_read, _read_slowly, _write, _swap],
    "pinner": [_pin],
    "keeper": [*[_keep] * 4, _restore],
    "importer": [*[_import] * 2, _write],
    "collector": [*[_collect] * 9, _audit],
}
