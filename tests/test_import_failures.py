"""An import that is refused, fails or is killed anywhere names nothing, and can be run again."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent_world_distfs import (
    HashAlgorithm,
    InvalidInputError,
    LocalCasStore,
    NotFoundError,
    PathInvalidError,
    StorageError,
    StorageFullError,
    StorageIOError,
    StorageReadOnlyError,
    UnavailableError,
)
from agent_world_distfs.operations import tree_in
from agent_world_distfs.operations.tree_in import carrying
from children import MakeDisk
from killing import killed_at_lines
from meddling import meddle_with
from trees import CONTENTS, LARGE, held, plant

pytestmark = pytest.mark.usefixtures("no_descriptor_is_left_open")


# --- refusals ---------------------------------------------------------------------------------


def test_a_directory_that_is_missing_or_none_is_refused(store: LocalCasStore, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as raised:
        store.import_tree(tmp_path / "nothing")
    assert raised.value.filename == str(tmp_path / "nothing")
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "dangling").symlink_to("nothing")
    with pytest.raises(InvalidInputError, match="not a directory"):
        store.import_tree(tmp_path / "file")
    with pytest.raises(NotFoundError):
        store.import_tree(tmp_path / "dangling")
    for bad in ("", "a\0b", "\ud800"):
        with pytest.raises(InvalidInputError):
            store.import_tree(bad)
    with pytest.raises(TypeError):
        store.import_tree(7)  # type: ignore[arg-type]


def test_a_directory_that_goes_after_it_was_looked_through_is_missing(
    store: LocalCasStore, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = tree_in.scan_tree

    def scanned(*given: Any) -> Any:
        found = genuine(*given)
        shutil.rmtree(tree)
        return found

    monkeypatch.setattr(tree_in, "scan_tree", scanned)
    with pytest.raises(NotFoundError) as raised:
        store.import_tree(tree)
    assert raised.value.filename == str(tree)
    assert store.list_files() == []


@pytest.mark.parametrize("prefix", ["/docs", "..", "a/../b", ".", "a\0", "\ud800", "p" * 4097])
def test_a_prefix_that_is_no_directory_of_the_index_is_refused(
    store: LocalCasStore, tree: Path, prefix: str
) -> None:
    with pytest.raises(PathInvalidError):
        store.import_tree(tree, prefix)
    assert store.list_files() == []


def test_a_directory_may_be_named_through_a_symlink(store: LocalCasStore, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tree)
    store.import_tree(tmp_path / "link")
    assert held(store) == CONTENTS


REFUSED = {errno.EACCES: StorageError, errno.EIO: StorageIOError, errno.EMFILE: UnavailableError}


@pytest.mark.parametrize("code", REFUSED)
@pytest.mark.parametrize("name", [b"sub", b"large.bin"])
def test_what_cannot_be_read_is_refused_by_its_path(
    store: LocalCasStore, tree: Path, name: bytes, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = os.open

    def refuse(path: Any, *arguments: Any, **options: Any) -> int:
        if path == name:
            raise OSError(code, os.strerror(code), path)
        return genuine(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(REFUSED[code], match=name.decode()) as raised:
        store.import_tree(tree, mirror=True)
    assert not isinstance(raised.value, StorageReadOnlyError)
    assert store.list_files() == []


def test_a_file_that_fails_in_the_middle_is_refused_by_its_path(
    store: LocalCasStore, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    meddle_with(monkeypatch, b"large.bin", fail)
    with pytest.raises(StorageIOError, match=r"docs/sub/large\.bin"):
        store.import_tree(tree)
    assert store.list_files() == []


def test_a_store_that_is_read_only_says_so_and_is_not_touched(
    store: LocalCasStore, location: Path, tree: Path
) -> None:
    before = sorted(path for path in location.rglob("*"))
    with LocalCasStore(location, read_only=True) as reader, pytest.raises(StorageReadOnlyError):
        reader.import_tree(tree)
    assert sorted(path for path in location.rglob("*")) == before


def test_a_full_disk_names_nothing(
    make_disk: MakeDisk, pristine: dict[HashAlgorithm, Path], tmp_path: Path
) -> None:
    location = shutil.copytree(pristine[HashAlgorithm.BLAKE3], make_disk(4 << 20) / "store")
    tree = plant(tmp_path / "tree", {f"{number}": os.urandom(100_000) for number in range(60)})
    with LocalCasStore(location) as store:
        with pytest.raises(StorageFullError):
            store.import_tree(tree)
        assert store.list_files() == []
    with LocalCasStore(location) as store:
        store.prune_orphan_blobs()
        assert list(location.glob("tmp/*/*")) == []
        store.write_file("a", b"a" * 100_000)
        assert store.audit_file_index(verify=True).is_clean()


# --- interrupted ------------------------------------------------------------------------------


@pytest.mark.parametrize("is_at_once", [True, False])
def test_interrupted_it_names_nothing_and_keeps_nothing(
    store: LocalCasStore, tree: Path, monkeypatch: pytest.MonkeyPatch, is_at_once: bool
) -> None:
    monkeypatch.setattr(carrying, "AT_ONCE_FILES", 100 if is_at_once else 0)
    monkeypatch.setattr(carrying, "FULL_BLOBS", 1)

    def interrupt(done: int, _: int | None) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.import_tree(tree, progress=interrupt)
    assert store.list_files() == []
    assert (store.prune_orphan_blobs().pruned_blobs == 0) is is_at_once  # what a lease kept is an orphan now
    assert store.audit_file_index(verify=True).is_clean()


@pytest.mark.parametrize("is_at_once", [True, False])
def test_killed_anywhere_it_is_whole_or_not_at_all_and_can_be_run_again(
    pristine: dict[HashAlgorithm, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_at_once: bool
) -> None:
    monkeypatch.setattr(carrying, "AT_ONCE_FILES", 100 if is_at_once else 0)
    contents = {"a": b"a", "b/large": LARGE, "c": b"c"}
    tree, location = plant(tmp_path / "tree", contents), tmp_path / "store"

    def prepare() -> Callable[[], object]:
        shutil.rmtree(location, ignore_errors=True)
        shutil.copytree(pristine[HashAlgorithm.BLAKE3], location)
        with LocalCasStore(location) as store:
            store.write_file("old", b"old")
        return run

    def run() -> None:
        with LocalCasStore(location) as store:
            store.import_tree(tree, mirror=True)

    outcomes = set()
    for _ in killed_at_lines(prepare, 61):
        with LocalCasStore(location) as store:
            outcomes.add(tuple(file.path for file in store.list_files()))
            assert store.audit_file_index(verify=True).is_sound()
            store.import_tree(tree, mirror=True)
            assert held(store) == contents
            store.prune_orphan_blobs()
            assert store.audit_file_index(verify=True).is_clean()
    assert outcomes == {("old",), ("a", "b/large", "c")}
