"""What stands where a blob of the original should be, and a place that fails."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_world_distfs.errors import (
    BlobHashInvalidError,
    BlobNotFoundError,
    CatalogError,
    CorruptError,
    IncompatibleStoreError,
    StorageError,
    StorageIOError,
    UnavailableError,
)
from agent_world_distfs.operations.original import find_algorithm, read_snapshot
from original_stores import CONTENT, NAME, OTHER, Original, pack

NOT_REGULAR = "is not a regular file"

pytestmark = pytest.mark.usefixtures("no_descriptor_is_left_open")


@pytest.fixture
def original(tmp_path: Path) -> Original:
    return Original(tmp_path / "original")


# --- what stands where a blob should be -------------------------------------------------------


def make_symlink(path: Path) -> None:
    path.with_name("elsewhere").write_bytes(CONTENT)
    path.symlink_to("elsewhere")


def make_socket(path: Path) -> None:
    here = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            os.fchdir(here)
            listener.bind(path.name)  # by its short name: a socket's path has 108 bytes at most
    finally:
        os.close(here)


def make_dangling_symlink(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("make", [make_symlink, make_dangling_symlink, make_socket, os.mkfifo, os.mkdir])
def test_what_is_no_regular_file_is_no_blob(
    original: Original, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(original.root)
    make(original.path_of(NAME))
    snapshot = read_snapshot(original.root)
    assert list(snapshot.blobs) == [NAME]
    with pytest.raises(CorruptError, match=NOT_REGULAR):
        original.read()
    assert find_algorithm(original.root, snapshot) is None


@pytest.mark.parametrize("make", [make_symlink, os.mkfifo, os.mkdir])
@pytest.mark.parametrize("name", ["files_index.json", "pins.json"])
def test_what_is_no_regular_file_is_no_index(
    original: Original, make: Callable[[Path], None], name: str
) -> None:
    make(original.root / name)
    with pytest.raises(CatalogError, match=f"{name} {NOT_REGULAR}"):
        read_snapshot(original.root)


def test_the_directory_of_blobs_is_no_symlink(original: Original) -> None:
    original.put(CONTENT)
    (original.root / "blobs").rename(original.root / "elsewhere")
    (original.root / "blobs").symlink_to("elsewhere")
    with pytest.raises(IncompatibleStoreError, match="blobs is not a directory"):
        read_snapshot(original.root)
    with pytest.raises(CorruptError, match="blobs is not a directory"):
        original.read()


def test_a_blob_that_is_not_there(original: Original) -> None:
    with pytest.raises(BlobNotFoundError):
        original.read(OTHER)
    (original.root / "blobs").rmdir()
    with pytest.raises(BlobNotFoundError):
        original.read(OTHER)


@pytest.mark.parametrize("name", ["", "../" + NAME, NAME.upper(), NAME + "\n", NAME + ".blob"])
def test_a_name_that_is_no_hash_reaches_no_file(original: Original, name: str) -> None:
    with pytest.raises(BlobHashInvalidError):
        original.read(name)


# --- failures of the place --------------------------------------------------------------------


@pytest.mark.parametrize("stored", [CONTENT, pack(CONTENT)], ids=["plain", "packed"])
def test_a_read_error_is_ours(original: Original, stored: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int, buffers: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    original.put(stored)
    monkeypatch.setattr(os, "readv", fail)
    with pytest.raises(StorageIOError) as raised:
        original.read()
    assert raised.value.path == str(original.path_of(NAME))


def test_a_directory_that_may_not_be_read_is_told_so(
    original: Original, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    original.put(CONTENT)
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StorageError, match="Permission denied"):
        read_snapshot(original.root)
    with pytest.raises(StorageError, match="Permission denied"):
        original.read()


def test_without_zstandard_plain_blobs_are_read_and_packed_ones_name_the_extra(
    original: Original, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    original.put(CONTENT)
    assert original.read() == CONTENT
    original.put(pack(CONTENT))
    with pytest.raises(UnavailableError, match=r'pip install "agent-world-distfs\[adopt\]"'):
        original.read()
