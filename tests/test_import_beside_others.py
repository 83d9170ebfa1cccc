"""An import of a directory beside writers, collections, and whoever changes it: as it was, or not at all."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent_world_distfs import LocalCasStore, TreeImportReport, UnavailableError
from agent_world_distfs.engine import directories
from agent_world_distfs.operations import tree_in
from agent_world_distfs.operations.tree_in import scan
from meddling import meddle_with
from trees import CONTENTS, LARGE, held, plant

pytestmark = pytest.mark.usefixtures("no_descriptor_is_left_open")


def test_a_collection_beside_it_takes_nothing_of_it(store: LocalCasStore, location: Path, tree: Path) -> None:
    with LocalCasStore(location) as collector:

        def collect(_done: int, _total: int | None) -> None:
            collector.prune_orphan_blobs()

        store.import_tree(tree, progress=collect)
    assert held(store) == CONTENTS
    assert store.audit_file_index(verify=True).is_clean()


def test_what_it_does_not_store_again_is_kept_too(
    store: LocalCasStore, location: Path, tmp_path: Path
) -> None:
    contents = {"a": LARGE + b"a", "b": LARGE + b"b"}
    tree = plant(tmp_path / "tree", contents)
    store.import_tree(tree)

    def overwrite_and_collect(done: int, _: int | None) -> None:
        if done == 1:
            with LocalCasStore(location) as other:
                other.write_file("a", b"other")
                other.prune_orphan_blobs()

    store.import_tree(tree, progress=overwrite_and_collect)
    assert held(store) == contents


@pytest.fixture(params=["small", "large", "large and known"])
def changing(request: pytest.FixtureRequest, store: LocalCasStore, tmp_path: Path) -> Path:
    """A file of a directory that is to change while it is read."""
    data = b"0" * (100 if request.param == "small" else 20_000)
    tree = plant(tmp_path / "tree", {"before": b"b", "dir/file": data, "later": b"l"})
    if request.param == "large and known":
        store.write_file("dir/file", data)
    return tree / "dir" / "file"


def rewrite(file: Path) -> None:
    """Other bytes, no more and no fewer; the times show it, however coarse the clock is."""
    with file.open("r+b") as opened:
        was = os.fstat(opened.fileno())
        data = opened.read()
        opened.seek(0)
        opened.write(bytes(byte + 1 for byte in data))
        os.utime(opened.fileno(), ns=(was.st_atime_ns, was.st_mtime_ns + 1000))


CHANGES: dict[str, Callable[[Path], object]] = {
    "rewritten": rewrite,
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"more"),
    "shorter": lambda file: os.truncate(file, file.stat().st_size // 3),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_while_it_is_read_is_read_again(
    store: LocalCasStore, changing: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    meddle_with(monkeypatch, b"file", lambda: CHANGES[change](changing), times=2)
    store.import_tree(changing.parent.parent)
    assert store.read_file("dir/file") == changing.read_bytes()
    assert store.audit_file_index(verify=True).is_sound()


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_never_holds_still_is_not_named_and_nothing_else_is(
    store: LocalCasStore, changing: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = store.list_files()
    meddle_with(monkeypatch, b"file", lambda: CHANGES[change](changing))
    with pytest.raises(UnavailableError, match="dir/file"):
        store.import_tree(changing.parent.parent)
    assert store.list_files() == before
    store.prune_orphan_blobs()
    assert store.audit_file_index(verify=True).is_clean()


def import_scanned(store: LocalCasStore, tree: Path, meanwhile: Callable[[], object]) -> TreeImportReport:
    """Import with something happening between the look at the tree and the reading of it."""
    scanned = tree_in.scan_tree(tree, "", store.location)
    meanwhile()
    return tree_in.import_tree(
        store._catalog, store._blobs, scanned, options=tree_in.TreeOptions(), progress=None
    )


def becomes(kind: str, place: Path, secret: Path) -> None:
    """Put something else in the place of a file or directory."""
    place.rename(place.with_name("moved"))
    match kind:
        case "symlink":
            place.symlink_to(secret)
        case "fifo":
            os.mkfifo(place)
        case "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(place))
        case "directory":
            place.mkdir()
        case "file":
            place.write_bytes(b"secret")


@pytest.mark.parametrize("kind", ["nothing", "symlink", "fifo", "socket", "directory"])
def test_a_file_that_becomes_something_else_is_not_followed(
    store: LocalCasStore, tree: Path, tmp_path: Path, kind: str
) -> None:
    secret = plant(tmp_path, {"secret": b"secret"}) / "secret"
    with pytest.raises(UnavailableError, match=r"a\.txt"):
        import_scanned(store, tree, lambda: becomes(kind, tree / "a.txt", secret))
    assert store.list_files() == []


@pytest.mark.parametrize("kind", ["nothing", "symlink", "fifo", "file"])
def test_a_directory_that_becomes_something_else_is_not_followed(
    store: LocalCasStore, tree: Path, tmp_path: Path, kind: str
) -> None:
    outside = plant(
        tmp_path / "outside", {"sub/large.bin": b"secret", "sub/inline-at-most": b"", "a-b/c": b""}
    )
    with pytest.raises(UnavailableError, match="docs"):
        import_scanned(store, tree, lambda: becomes(kind, tree / "docs", outside))
    assert store.list_files() == []


def test_a_directory_that_goes_while_the_tree_is_looked_through_is_not_taken_for_empty(
    store: LocalCasStore, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.import_tree(tree)
    genuine = directories.opened_below

    def opened_below(root: int, segments: tuple[bytes, ...]) -> Any:
        if segments == (b"docs",):
            (tree / "docs").rename(tree / "elsewhere")
        return genuine(root, segments)

    monkeypatch.setattr(scan, "opened_below", opened_below)
    with pytest.raises(UnavailableError, match="docs"):
        store.import_tree(tree, mirror=True)
    assert held(store) == CONTENTS
