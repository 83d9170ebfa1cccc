"""What a traced run does, step by step, and what must be there after each."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from blake3 import blake3

from agent_world_distfs import ABSENT, FileIndexManifestRef, LocalCasStore
from agent_world_distfs.catalog import commit_queue

PATIENCE_S = 20


@dataclass(frozen=True)
class Content:
    """Bytes, named by a word and a size."""

    word: str
    size_bytes: int

    @property
    def data(self) -> bytes:
        word = self.word.encode() + b"."
        return (word * (self.size_bytes // len(word) + 1))[: self.size_bytes]

    @property
    def hash(self) -> str:
        return blake3(self.data).hexdigest()


@dataclass(frozen=True)
class Step:
    """One call. ``actor``: the process that does it; one whose name begins with "relaxed" opens so."""

    kind: str
    path: str = ""
    content: Content | None = None
    target: str = ""
    expected: Content | None = None
    paths: tuple[str, ...] = ()
    actor: str = "full"

    @property
    def bytes_given(self) -> Content:
        assert self.content is not None
        return self.content

    @property
    def is_durable(self) -> bool:
        return not self.actor.startswith("relaxed")

    def __str__(self) -> str:
        values = [self.path, self.target, *self.paths]
        if self.content is not None:
            values.append(f"{self.content.word}*{self.content.size_bytes}")
        return f"{self.actor}: {self.kind} {' '.join(filter(None, values))}".strip()


@dataclass(frozen=True)
class World:
    """What a store holds: paths and pins by hash, every blob that must be there, manifests that it knows."""

    files: dict[str, str] = field(default_factory=dict)
    pins: frozenset[str] = frozenset()
    blobs: frozenset[str] = frozenset()
    manifests: dict[str, dict[str, str]] = field(default_factory=dict)
    keeps_history: bool = False
    past: frozenset[str] = frozenset()
    """What the history keeps."""
    snapshots: dict[str, dict[str, str]] = field(default_factory=dict)
    """The files of each, by its name: they stay there, whatever becomes of the paths."""
    copies: dict[str, dict[str, str]] = field(default_factory=dict)
    """Other stores made from this one, by their place: their files."""
    is_damaged: bool = False
    """Whether a repair is still to be done."""

    def without(self, *paths: str) -> World:
        gone = self.remembering(*(self.files[path] for path in paths if path in self.files))
        return replace(gone, files={path: h for path, h in self.files.items() if path not in paths})

    def having(self, path: str, content_hash: str) -> World:
        files = {**self.files, path: content_hash}
        before = self.remembering(self.files[path]) if path in self.files else self
        return replace(before, files=files, blobs=self.blobs | {content_hash})

    def remembering(self, *hashes: str) -> World:
        return replace(self, past=self.past.union(hashes)) if self.keeps_history else self

    def storing(self, *hashes: str) -> World:
        return replace(self, blobs=self.blobs.union(hashes))

    def pruned(self) -> World:
        named = {content for files in (self.files, *self.snapshots.values()) for content in files.values()}
        return replace(self, blobs=self.blobs & (self.pins | self.past | named))


@dataclass
class Scene:
    """What one process has: the store's place, the store once it is open."""

    root: Path
    durability: str
    store: Any = None

    @property
    def location(self) -> Path:
        return self.root / "store"

    def open(self) -> str:
        self.store = LocalCasStore(self.location, durability=self.durability, lock_timeout_s=PATIENCE_S)  # type: ignore[arg-type]
        return ""

    def close(self) -> str:
        if self.store is not None:
            self.store.close()
        self.store = None
        return ""


OTHER: dict[str, Content] = {
    "pulled/small": Content("pulled", 300),
    "pulled/large": Content("pulled", 20_000),
    "pulled/again": Content("pulled", 300),
}
"""What the store beside holds, which is pulled from."""

TREE: dict[str, Content] = {
    f"t{n}": Content(f"tree{n}", size) for n, size in enumerate((0, 10, 8_192, 9_000, 30_000))
}
"""A small real directory to import."""

BIG_TREE: dict[str, Content] = {f"b{n:03}": Content(f"big{n}", 7_900) for n in range(560)}
"""One whose import makes the log so long that it is copied into the database."""

MANY: dict[str, Content] = {
    **{f"m{n:02}": Content(f"many{n}", 9_000 + 700 * n) for n in range(12)},
    "small": Content("many", 60),
    "again": Content("many3", 9_000 + 700 * 3),
    "kept": Content("kept", 20_000),
}
"""Files written in one call, enough of them large ones for a flush of the whole file system."""

MANY_OF_A_TREE: dict[str, Content] = {f"l{n:02}": Content(f"many of a tree{n}", 10_000) for n in range(10)}
"""A real directory of which the same is true."""

TOGETHER: dict[str, Content] = {
    f"t{n}": Content(f"together{n}", size) for n, size in enumerate((60, 20_000, 8_000))
}
"""What threads write that share a commit."""

Act = Callable[[Scene, Step], Any]
Effect = Callable[[World, Step, str], World]


def _pull(scene: Scene, _: Step) -> None:
    with LocalCasStore(scene.root / "other", create=False) as other:
        scene.store.pull_index(other)


def _write_together(scene: Scene, step: Step) -> None:
    """Each of them by a thread of its own, none of which gets the lock before all of them wait for it."""
    commit_queue.MAX_S = PATIENCE_S  # tracing is slow, and their commit would be over before it has all
    catalog: Any = scene.store._catalog
    may_go_on = threading.Event()
    with ThreadPoolExecutor(len(TOGETHER) + 1) as pool:
        holding = pool.submit(catalog.write_lazily, lambda _: may_go_on.wait())
        while catalog._gate.is_free:
            time.sleep(0.001)
        writing = [
            pool.submit(scene.store.write_file, step.path + name, TOGETHER[name].data) for name in TOGETHER
        ]
        while len(catalog._queue.line) < len(TOGETHER):
            time.sleep(0.001)
        may_go_on.set()
        for future in (holding, *writing):
            future.result()


def _export(scene: Scene, _: Step) -> str:
    ref = scene.store.export_file_index_manifest(pin=True)
    return f"{ref.content_hash}:{ref.size_bytes}"


def _import(scene: Scene, _: Step) -> str:
    for content_hash in scene.store.list_pins():
        data = scene.store.get(content_hash)
        if data.startswith(b"\xd9\xd9\xf7"):
            scene.store.import_file_index_manifest(FileIndexManifestRef(content_hash, len(data)))
            return str(content_hash)
    raise LookupError("no manifest is pinned")


def _exported(world: World, said: str) -> World:
    content_hash = said.partition(":")[0]
    manifests = {**world.manifests, content_hash: world.files}
    return replace(
        world, pins=world.pins | {content_hash}, blobs=world.blobs | {content_hash}, manifests=manifests
    )


def _filled(world: World, prefix: str, contents: dict[str, Content]) -> World:
    for name, content in contents.items():
        world = world.having(prefix + name, content.hash)
    return world


def _moved(world: World, step: Step) -> World:
    return world.having(step.target, world.files[step.path]).without(
        *({step.path} if step.path != step.target else ())
    )


KINDS: dict[str, tuple[Act, Effect]] = {
    "open": (lambda scene, _: scene.open(), lambda w, s, _: w),
    "close": (lambda scene, _: scene.close(), lambda w, s, _: w),
    "write": (
        lambda scene, s: scene.store.write_file(s.path, s.bytes_given.data),
        lambda w, s, _: w.having(s.path, s.bytes_given.hash),
    ),
    "stream": (
        lambda scene, s: scene.store.write_file_stream(s.path, io.BytesIO(s.bytes_given.data)),
        lambda w, s, _: w.having(s.path, s.bytes_given.hash),
    ),
    "write if": (
        lambda scene, s: scene.store.write_file_if_match(
            s.path, s.expected.hash if s.expected else ABSENT, s.bytes_given.data
        ),
        lambda w, s, _: w.having(s.path, s.bytes_given.hash),
    ),
    "put": (
        lambda scene, s: scene.store.put_bytes(s.bytes_given.data),
        lambda w, s, _: w.storing(s.bytes_given.hash),
    ),
    "delete": (lambda scene, s: scene.store.delete_file(s.path), lambda w, s, _: w.without(s.path)),
    "delete many": (lambda scene, s: scene.store.delete_files(s.paths), lambda w, s, _: w.without(*s.paths)),
    "link": (
        lambda scene, s: scene.store.link_file(s.path, s.bytes_given.hash),
        lambda w, s, _: w.having(s.path, s.bytes_given.hash),
    ),
    "copy": (
        lambda scene, s: scene.store.copy_file(s.path, s.target),
        lambda w, s, _: w.having(s.target, w.files[s.path]),
    ),
    "rename": (lambda scene, s: scene.store.rename_file(s.path, s.target), lambda w, s, _: _moved(w, s)),
    "pin": (
        lambda scene, s: scene.store.pin(s.bytes_given.hash),
        lambda w, s, _: replace(w, pins=w.pins | {s.bytes_given.hash}),
    ),
    "unpin": (
        lambda scene, s: scene.store.unpin(s.bytes_given.hash),
        lambda w, s, _: replace(w, pins=w.pins - {s.bytes_given.hash}),
    ),
    "prune": (lambda scene, _: scene.store.prune_orphan_blobs(), lambda w, s, _: w.pruned()),
    "export": (_export, lambda w, s, said: _exported(w, said)),
    "import": (_import, lambda w, s, said: replace(w, files=w.manifests[said])),
    "pull": (
        _pull,
        lambda w, s, _: replace(
            w.storing(*(c.hash for c in OTHER.values())), files={p: c.hash for p, c in OTHER.items()}
        ),
    ),
    "import tree": (
        lambda scene, s: scene.store.import_tree(f"{scene.root}.tree", "tree"),
        lambda w, s, _: _filled(w, "tree/", TREE),
    ),
    "import big tree": (
        lambda scene, s: scene.store.import_tree(f"{scene.root}.big", "big"),
        lambda w, s, _: _filled(w, "big/", BIG_TREE),
    ),
    "import large tree": (
        lambda scene, s: scene.store.import_tree(f"{scene.root}.large", "large"),
        lambda w, s, _: _filled(w, "large/", MANY_OF_A_TREE),
    ),
    "write many": (
        lambda scene, s: scene.store.write_files((s.path + name, MANY[name].data) for name in MANY),
        lambda w, s, _: _filled(w, s.path, MANY),
    ),
    "write together": (_write_together, lambda w, s, _: _filled(w, s.path, TOGETHER)),
    "stuck write": (lambda scene, s: scene.store.write_file(s.path, s.bytes_given.data), lambda w, s, _: w),
    "kill": (lambda scene, _: None, lambda w, s, _: w),
}
"""What each kind does, and what it makes of the world once it is done. ``said``: what it told."""


@cache
def kinds() -> dict[str, tuple[Act, Effect]]:
    """These and those of the newer operations."""
    from replay.named import NAMED
    from replay.newer import NEWER

    return KINDS | NEWER | NAMED


def act(scene: Scene, step: Step) -> str:
    """Do one step; what it tells: a text, empty for most, or ``!`` and the kind of error that it raised."""
    try:
        said = kinds()[step.kind][0](scene, step)
    except Exception as error:  # noqa: BLE001  # which it was is what it tells
        return f"!{type(error).__name__}"
    return said if isinstance(said, str) else ""


def after(worlds: Sequence[World], step: Step, said: str) -> list[World]:
    """The worlds that are possible after a step: two where its outcome is unknown."""
    effect = kinds()[step.kind][1]
    if said == "!OutcomeUnknownError":
        return [*worlds, *(effect(world, step, "") for world in worlds)]
    if said.startswith("!"):
        return list(worlds)
    return [effect(world, step, said) for world in worlds]
