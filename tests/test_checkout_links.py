"""Checkouts whose files share their bytes with the store, and fall back to copies where that cannot be."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_world_distfs import BlobHashMismatchError, InvalidInputError, Link, LocalCasStore
from agent_world_distfs.records import LINKS
from children import MakeDisk

LARGE, OTHER = b"large" * 5_000, b"other" * 5_000
CONTENTS = {"dir/large": LARGE, "dir/sub/large again": LARGE, "other": OTHER, "small": b"small", "empty": b""}


@pytest.fixture(autouse=True)
def contents(store: LocalCasStore) -> None:
    store.write_files(CONTENTS.items())


@pytest.fixture(autouse=True)
def no_descriptor_is_left_open(store: LocalCasStore) -> Iterator[None]:
    before = len(os.listdir("/dev/fd"))
    yield
    store.list_files()
    assert len(os.listdir("/dev/fd")) <= before + 2  # the store's own


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def blob_of(location: Path, store: LocalCasStore, data: bytes) -> Path:
    content_hash = store.hash_bytes(data)
    return location / "blobs" / content_hash[:2] / content_hash


@pytest.mark.parametrize("link", LINKS)
def test_however_it_is_made_it_holds_what_the_index_holds(
    store: LocalCasStore, tmp_path: Path, link: Link
) -> None:
    report = store.checkout(tmp_path / "out", link=link)
    assert files_of(tmp_path / "out") == CONTENTS
    assert (report.total_files, report.total_bytes) == (5, sum(map(len, CONTENTS.values())))
    assert report.linked_files in ({"copy": (0,), "hardlink": (3,), "reflink": (0, 3)}[link])
    assert store.audit_file_index(verify=True).is_clean()


def test_another_way_is_refused_before_anything_is_done(store: LocalCasStore, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="copy, reflink, hardlink"):
        store.checkout(tmp_path / "out", link="symlink")  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("link", ["copy", "reflink"])
def test_what_is_written_to_a_copy_or_a_clone_does_not_reach_the_store(
    store: LocalCasStore, tmp_path: Path, link: Link
) -> None:
    store.checkout(tmp_path / "out", link=link)
    with (tmp_path / "out" / "other").open("r+b") as file:
        file.write(b"CHANGED")
    assert store.read_file("other") == OTHER
    assert store.audit_file_index(verify=True).is_clean()


# --- hard links -------------------------------------------------------------------------------


def test_a_hard_link_is_the_blobs_file_and_read_only(
    store: LocalCasStore, location: Path, tmp_path: Path
) -> None:
    store.checkout(tmp_path / "out", link="hardlink")
    blob = blob_of(location, store, LARGE)
    for path in ("dir/large", "dir/sub/large again"):
        assert (tmp_path / "out" / path).samefile(blob)
        assert (tmp_path / "out" / path).stat().st_mode & 0o222 == 0
    assert blob.stat().st_nlink == 3
    assert (tmp_path / "out" / "small").stat().st_mode & 0o200


def test_the_store_works_on_with_files_that_are_linked(
    store: LocalCasStore, location: Path, tmp_path: Path
) -> None:
    store.checkout(tmp_path / "out", link="hardlink")
    store.write_file("again", LARGE)
    with (tmp_path / "out" / "other").open("rb") as linked:
        store.write_file_stream("stream", linked)
    assert store.read_file("stream") == OTHER
    store.delete_files([file.path for file in store.list_files()])
    store.prune_orphan_blobs()
    assert list(location.glob("blobs/*/*")) == []
    assert files_of(tmp_path / "out") == CONTENTS


def test_the_audit_finds_what_was_written_through_a_hard_link(store: LocalCasStore, tmp_path: Path) -> None:
    store.checkout(tmp_path / "out", link="hardlink")
    (tmp_path / "out" / "other").chmod(0o600)
    with (tmp_path / "out" / "other").open("r+b") as file:
        file.write(b"CHANGED")
    report = store.audit_file_index(verify=True)
    assert report.corrupt_blob_hashes == (store.hash_bytes(OTHER),)
    with pytest.raises(BlobHashMismatchError):
        store.read_file("other")
    store.write_file("other", OTHER)  # heals, and does not touch what is out
    assert store.audit_file_index(verify=True).is_sound()
    assert (tmp_path / "out" / "other").read_bytes() != OTHER


def test_on_another_file_system_there_is_nothing_to_link_to_and_it_is_copied(
    store: LocalCasStore, make_disk: MakeDisk
) -> None:
    for link in ("hardlink", "reflink"):
        target = make_disk(4 << 20) / "out"
        report = store.checkout(target, link=link)
        assert (report.linked_files, files_of(target)) == (0, CONTENTS)
        assert (target / "other").stat().st_mode & 0o200


def test_a_blob_that_has_as_many_names_as_it_can_is_copied(
    store: LocalCasStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))

    monkeypatch.setattr(os, "link", link)
    report = store.checkout(tmp_path / "out", link="hardlink")
    assert (report.linked_files, files_of(tmp_path / "out")) == (0, CONTENTS)


def test_a_store_that_is_open_read_only_is_not_touched(
    store: LocalCasStore, location: Path, tmp_path: Path
) -> None:
    before = blob_of(location, store, LARGE).stat()
    with LocalCasStore(location, read_only=True) as reader:
        assert reader.checkout(tmp_path / "out", link="hardlink").linked_files == 0
    after = blob_of(location, store, LARGE).stat()
    assert (before.st_mode, before.st_nlink) == (after.st_mode, after.st_nlink)
    assert files_of(tmp_path / "out") == CONTENTS


@pytest.mark.parametrize("link", LINKS)
def test_rotten_bytes_do_not_come_out(
    store: LocalCasStore, location: Path, tmp_path: Path, link: Link
) -> None:
    blob_of(location, store, LARGE).write_bytes(LARGE[::-1])
    with pytest.raises(BlobHashMismatchError):
        store.checkout(tmp_path / "out", link=link)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]


@pytest.mark.parametrize("link", LINKS)
def test_a_symlink_in_the_place_of_a_blob_does_not_come_out(
    store: LocalCasStore, location: Path, tmp_path: Path, link: Link
) -> None:
    (tmp_path / "secret").write_bytes(LARGE)
    blob_of(location, store, LARGE).unlink()
    blob_of(location, store, LARGE).symlink_to(tmp_path / "secret")
    with pytest.raises(Exception, match="not a regular file|gone"):
        store.checkout(tmp_path / "out", link=link)
    assert not (tmp_path / "out").exists()
