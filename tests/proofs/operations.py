"""The operations that faults are injected into: what is there before, what is done, what must hold after."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from agent_world_distfs import (
    ABSENT,
    FileIndexManifestRef,
    InvalidInputError,
    LocalCasStore,
    ManifestError,
    adopt_original,
    repair_store,
    restore_backup,
)

SMALL, LARGE, OTHER = b"small", b"large" * 5_000, b"other" * 5_000
KEPT = {"kept/small": b"kept", "kept/large": b"kept" * 6_000}
PULLED = {"pulled/small": b"pulled", "pulled/large": b"pulled" * 4_000}
TREE = {"a": b"a", "deep/b": b"b" * 10_000, "deep/c": OTHER}
ORIGINAL = Path(__file__).parents[1] / "data" / "original-store" / "reference-store"


@dataclass(frozen=True)
class Operation:
    """``act`` runs in the child; ``after`` gives the files that must be there once it was acknowledged.

    ``before``: what they were; a fault may leave either, never anything else. ``beside``: what else has to be
    there, and what of it is to be looked at afterwards.
    """

    act: Callable[[LocalCasStore, Path], object]
    changes: dict[str, tuple[bytes | None, bytes | None]]
    beside: tuple[str, ...] = ()
    look: Callable[[Path, bool], None] = lambda _, __: None
    """Given the place and whether it was acknowledged: judge what is beside the store."""
    step: int = 1
    """Of many points that differ by the file only, each so-manieth in CI."""
    snapshots: dict[str, tuple[bool, bool]] = field(default_factory=dict)
    """Which of them are there before, and after."""


def _prepare(store: LocalCasStore) -> None:
    store.set_setting("keep_history", True)  # each operation does all that it does without one, and more
    store.write_file("undo/small", SMALL)
    store.write_file("undo/large", LARGE)
    with store.transaction(message="to be undone") as tx:
        tx.write_file("undo/small", OTHER)
        tx.delete_file("undo/large")
    *_, undone = store.changes()
    store.write_file("undo/id", undone.transaction_id.encode())
    session = store.session()
    session.write_file("session/small", SMALL)
    session.write_file("session/large", LARGE)
    store.write_file("session-id", session.session_id.encode())
    for path, data in KEPT.items():
        store.write_file(path, data)
    store.write_file("old/small", SMALL)
    store.write_file("old/large", LARGE)
    store.write_file("old/pinned", b"pinned" * 3_000)
    store.pin(store.hash_bytes(b"pinned" * 3_000))
    store.write_file("part/small", SMALL)
    store.write_file("part/large", b"part" * 5_000)
    store.write_files((f"part/many/{number}", b"%d" % number) for number in range(60))
    store.snapshot("earlier")
    store.snapshot("named", "before the part has changed")
    store.write_file("part/small", b"n")
    store.delete_file("part/large")
    store.put_bytes(b"orphan")
    store.put_bytes(b"orphan" * 3_000)


def prepare(root: Path) -> FileIndexManifestRef:
    """A store with some of everything, closed; beside it ``.other``, to pull from, and ``.tree``."""
    with LocalCasStore(root) as store:
        _prepare(store)
        ref = store.export_file_index_manifest(pin=True)
        store.write_file("new-since-manifest", b"n")
    with LocalCasStore(str(root) + ".other") as other:
        for path, data in PULLED.items():
            other.write_file(path, data)
        other.snapshot("theirs")
    for path, data in TREE.items():
        place = Path(f"{root}.tree", path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return ref


def _undo(store: LocalCasStore, _: Path) -> None:
    store.undo_transaction(store.read_file("undo/id").decode(), actor="reviewer")


def _manifest(store: LocalCasStore) -> FileIndexManifestRef:
    for content_hash in store.list_pins():
        ref = FileIndexManifestRef(content_hash, len(store.get(content_hash)))
        with contextlib.suppress(ManifestError):
            store.read_file_index_manifest(ref)
            return ref
    raise AssertionError("no manifest pinned")


def _pull(store: LocalCasStore, root: Path) -> None:
    with LocalCasStore(str(root) + ".other", create=False) as other:
        store.pull_index(other)


def _three_paths(store: LocalCasStore, _: Path) -> None:
    with store.transaction(actor="planner", message="three paths") as tx:
        tx.list_files(prefix="kept/")
        tx.write_file("new", tx.read_file("old/small") + OTHER)
        tx.rename_file("old/large", "moved")
        tx.write_file_if_match("newer", ABSENT, SMALL)
        tx.delete_file_if_match("old/small", store.hash_bytes(SMALL))
        tx.delete_file("new-since-manifest")


def _update(store: LocalCasStore, data: bytes) -> None:
    store.update_file("old/small", lambda content: (content or b"") + data)


def _in_session(store: LocalCasStore, _: Path) -> None:
    session = store.session(actor="agent")
    session.read_file("old/small")
    session.write_file("old/small", OTHER)


def _session_of_all(store: LocalCasStore, _: Path) -> None:
    """Each of these is a commit of its own; the last one counts."""
    session = store.session(actor="agent")
    session.overwrite_file("session/passing", SMALL)
    session.delete_file("session/passing")
    session.read_file("old/large")
    session.rename_file("old/large", "moved")


def _undo_session(store: LocalCasStore, _: Path) -> None:
    store.undo_session(store.read_file("session-id").decode())


def _scrub(store: LocalCasStore, _: Path) -> None:
    for _portion in range(2):
        store.audit_file_index(verify=True, max_bytes=30_000)


def _look_at_checkout(root: Path, is_done: bool) -> None:
    """There is all of it, or nothing under its name."""
    target = Path(f"{root}.out")
    assert target.exists() or not is_done
    if target.exists():
        assert {path: (target / path).read_bytes() for path in KEPT} == KEPT
        assert not (target / "undo" / "large").exists()


def _look_at_new(root: Path, is_done: bool) -> None:
    """It is there, or can be made."""
    with LocalCasStore(f"{root}.new", create=not is_done) as store:
        store.write_file("new", OTHER)
        assert store.audit_file_index(verify=True).is_clean()


def _look_at_adopted(root: Path, is_done: bool) -> None:
    """Begun anew it comes to its end, unless it had."""
    try:
        adopt_original(ORIGINAL, f"{root}.adopted")
    except InvalidInputError:
        is_done = True
    else:
        assert not is_done
    with LocalCasStore(f"{root}.adopted", create=False) as store:
        assert store.audit_file_index(verify=True).is_sound()
        assert [file.path for file in store.list_files()] == sorted(_adopted())


def _adopted() -> list[str]:
    return list(json.loads((ORIGINAL / "files_index.json").read_text("utf-8"))["files"])


def _lease_and_link(store: LocalCasStore, _: Path) -> None:
    with store.lease() as lease:
        store.link_file("new", lease.put_bytes(OTHER))


def _lease_more(store: LocalCasStore, _: Path) -> None:
    with store.lease() as lease:
        lease.keep(store.hash_bytes(LARGE))
        store.link_file("new", lease.put_stream(io.BytesIO(OTHER)).content_hash)


def _repair_store(_: LocalCasStore, root: Path) -> None:
    repair_store(str(root) + ".hurt", [str(root) + ".copy"])


def _create(store: LocalCasStore, _: Path) -> None:
    if _has(store, "new"):  # of an operation before, which was not interrupted early enough
        store.drop_snapshot("new")
    store.snapshot("new")


def _drop(store: LocalCasStore, _: Path) -> None:
    if not _has(store, "named"):
        store.snapshot("named")
    store.drop_snapshot("named")


def _drop_earlier(store: LocalCasStore, _: Path) -> None:
    if len(store.list_snapshots()) < 2:
        store.snapshot("earlier")
    store.prune_snapshots(keep_last=1)


def _pull_snapshots(store: LocalCasStore, root: Path) -> None:
    with LocalCasStore(str(root) + ".other", create=False) as other:
        store.pull_snapshots(other)


def _has(store: LocalCasStore, name: str) -> bool:
    return any(each.name == name for each in store.list_snapshots())


def _fork(store: LocalCasStore, root: Path) -> None:
    _look_at_fork(root, is_done=False)
    shutil.rmtree(str(root) + ".fork", ignore_errors=True)
    store.fork(str(root) + ".fork", "named")


def _look_at_fork(root: Path, is_done: bool) -> None:
    """There is none, or a whole one."""
    place = Path(f"{root}.fork")
    assert place.exists() or not is_done
    if place.exists():
        with LocalCasStore(place, create=False) as fork:
            assert fork.read_file("part/large") == b"part" * 5_000
            assert list(fork.diff("named")) == []
            assert fork.audit_file_index(verify=True).is_clean()


def _hash(store: LocalCasStore, data: bytes) -> str:
    return store.hash_bytes(data)


_AS_PULLED: dict[str, tuple[bytes | None, bytes | None]] = {
    **{path: (None, data) for path, data in PULLED.items()},
    "old/small": (SMALL, None),
    **{path: (data, None) for path, data in KEPT.items()},
}

OPERATIONS: dict[str, Operation] = {
    "put": Operation(lambda s, _: s.put(_hash(s, OTHER), OTHER), {}),
    "put-bytes": Operation(lambda s, _: s.put_bytes(SMALL + b"!"), {}),
    "put-stream": Operation(lambda s, _: s.put_stream(io.BytesIO(OTHER)), {}),
    "write-new-small": Operation(
        lambda s, _: s.write_file("new", SMALL + b"!"), {"new": (None, SMALL + b"!")}
    ),
    "write-new-large": Operation(lambda s, _: s.write_file("new", OTHER), {"new": (None, OTHER)}),
    "overwrite-small": Operation(lambda s, _: s.write_file("old/small", b"n"), {"old/small": (SMALL, b"n")}),
    "overwrite-large": Operation(
        lambda s, _: s.write_file("old/large", OTHER), {"old/large": (LARGE, OTHER)}
    ),
    "write-same-large": Operation(lambda s, _: s.write_file("new", LARGE), {"new": (None, LARGE)}),
    "write-stream": Operation(
        lambda s, _: s.write_file_stream("new", io.BytesIO(OTHER)), {"new": (None, OTHER)}
    ),
    "write-same-stream": Operation(
        lambda s, _: s.write_file_stream("new", io.BytesIO(LARGE)), {"new": (None, LARGE)}
    ),
    "write-if-match": Operation(
        lambda s, _: s.write_file_if_match("old/small", _hash(s, SMALL), b"n"), {"old/small": (SMALL, b"n")}
    ),
    "write-if-absent": Operation(
        lambda s, _: s.write_file_if_match("new", ABSENT, OTHER), {"new": (None, OTHER)}
    ),
    "write-files": Operation(
        lambda s, _: s.write_files(
            [("old/small", b"n"), ("new", LARGE), *((f"many/{n}", OTHER + b"%d" % n) for n in range(10))]
        ),
        {
            "old/small": (SMALL, b"n"),
            "new": (None, LARGE),
            **{f"many/{n}": (None, OTHER + b"%d" % n) for n in range(10)},
        },
    ),
    "delete": Operation(lambda s, _: s.delete_file("old/large"), {"old/large": (LARGE, None)}),
    "delete-if-match": Operation(
        lambda s, _: s.delete_file_if_match("old/large", _hash(s, LARGE)), {"old/large": (LARGE, None)}
    ),
    "delete-files": Operation(
        lambda s, _: s.delete_files(["old/large", "old/small"]),
        {"old/large": (LARGE, None), "old/small": (SMALL, None)},
    ),
    "link": Operation(lambda s, _: s.link_file("new", _hash(s, LARGE)), {"new": (None, LARGE)}),
    "copy": Operation(lambda s, _: s.copy_file("old/large", "new"), {"new": (None, LARGE)}),
    "rename": Operation(
        lambda s, _: s.rename_file("old/large", "new"), {"old/large": (LARGE, None), "new": (None, LARGE)}
    ),
    "transaction": Operation(
        _three_paths,
        {
            "new": (None, SMALL + OTHER),
            "newer": (None, SMALL),
            "old/large": (LARGE, None),
            "moved": (None, LARGE),
            "old/small": (SMALL, None),
            "new-since-manifest": (b"n", None),
        },
    ),
    "run-transaction": Operation(
        lambda s, _: s.run_transaction(lambda tx: tx.write_file("new", tx.read_file("old/small") + b"!")),
        {"new": (None, SMALL + b"!")},
    ),
    "update-small": Operation(lambda s, _: _update(s, b"!"), {"old/small": (SMALL, SMALL + b"!")}),
    "update-large": Operation(lambda s, _: _update(s, OTHER), {"old/small": (SMALL, SMALL + OTHER)}),
    "session-write": Operation(_in_session, {"old/small": (SMALL, OTHER)}),
    "session": Operation(_session_of_all, {"old/large": (LARGE, None), "moved": (None, LARGE)}),
    "undo-session": Operation(
        _undo_session, {"session/small": (SMALL, None), "session/large": (LARGE, None)}
    ),
    "lease": Operation(_lease_more, {"new": (None, OTHER)}),
    "lease-and-link": Operation(_lease_and_link, {"new": (None, OTHER)}),
    "pin": Operation(lambda s, _: s.pin(_hash(s, LARGE)), {}),
    "unpin": Operation(lambda s, _: s.unpin(_hash(s, b"pinned" * 3_000)), {}),
    "undo": Operation(_undo, {"undo/small": (OTHER, SMALL), "undo/large": (None, LARGE)}),
    "expire": Operation(lambda s, _: s.expire_history(max_transactions=2), {}),
    "forget-history": Operation(lambda s, _: s.set_setting("keep_history", False), {}),
    "prune": Operation(lambda s, _: s.prune_orphan_blobs(), {}),
    "export": Operation(lambda s, _: s.export_file_index_manifest(), {}),
    "import": Operation(
        lambda s, _: s.import_file_index_manifest(_manifest(s)), {"new-since-manifest": (b"n", None)}
    ),
    "pull": Operation(_pull, _AS_PULLED, (".other",)),
    "import-tree": Operation(
        lambda s, root: s.import_tree(f"{root}.tree", "tree"),
        {f"tree/{path}": (None, data) for path, data in TREE.items()},
        (".tree",),
    ),
    "adopt": Operation(
        lambda _, root: adopt_original(ORIGINAL, f"{root}.adopted"), {}, look=_look_at_adopted, step=4
    ),
    "checkout": Operation(lambda s, root: s.checkout(f"{root}.out"), {}, look=_look_at_checkout),
    "scrub": Operation(_scrub, {}),
    "snapshot": Operation(_create, {}, snapshots={"new": (False, True)}),
    "drop-snapshot": Operation(_drop, {}, snapshots={"named": (True, False)}),
    "prune-snapshots": Operation(_drop_earlier, {}, snapshots={"earlier": (True, False)}),
    "pull-snapshots": Operation(_pull_snapshots, {}, (".other",), snapshots={"theirs": (False, True)}),
    "restore-part": Operation(
        lambda s, _: s.restore_snapshot("named", prefix="part"),
        {"part/small": (b"n", SMALL), "part/large": (None, b"part" * 5_000)},
    ),
    "restore-snapshot": Operation(
        lambda s, _: s.restore_snapshot("named"),
        {
            "part/small": (b"n", SMALL),
            "part/large": (None, b"part" * 5_000),
            "new-since-manifest": (b"n", None),
        },
    ),
    "fork": Operation(_fork, {}, look=_look_at_fork),
    "audit": Operation(lambda s, _: s.audit_file_index(verify=True), {}),
    "close": Operation(lambda s, _: s.close(), {}),
    "make": Operation(lambda _, root: LocalCasStore(f"{root}.new").close(), {}, look=_look_at_new, step=2),
    "open": Operation(lambda _, root: LocalCasStore(root).close(), {}),
}

RECOVERIES: dict[str, Callable[[LocalCasStore, Path], object]] = {
    "repair": lambda s, root: s.repair([str(root) + ".copy"]),
    "repair-store": _repair_store,
    "backup": lambda s, root: s.backup(str(root) + ".backup"),
    "restore": lambda _, root: restore_backup(str(root) + ".kept", str(root) + ".restored"),
}
"""What is run again after a fault, on places beside the store: see ``test_recovery_faults.py``."""
