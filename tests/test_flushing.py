"""Flushing, where the system has a call that goes down to the medium."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import sys
from pathlib import Path

import pytest

from agent_world_distfs import LocalCasStore, filesystem_kind, flushing

FULL_FLUSH = 51  # its number on macOS


@pytest.mark.parametrize("refused", [None, errno.ENOTSUP])
def test_the_medium_is_flushed_and_at_least_the_drive(
    refused: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[object] = []

    def control(descriptor: int, command: int) -> None:
        called.append(command)
        if refused is not None:
            raise OSError(refused, os.strerror(refused))

    monkeypatch.setattr(flushing, "_FULL_FLUSH", FULL_FLUSH)
    monkeypatch.setattr(fcntl, "fcntl", control)
    monkeypatch.setattr(os, "fsync", lambda _: called.append("fsync"))
    flushing.flush_directory(str(tmp_path))
    assert called == [FULL_FLUSH] if refused is None else [FULL_FLUSH, "fsync"]


def test_a_flush_that_fails_is_not_tried_another_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def control(*_: object) -> None:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(flushing, "_FULL_FLUSH", FULL_FLUSH)
    monkeypatch.setattr(fcntl, "fcntl", control)
    with pytest.raises(OSError, match="I/O error"):
        flushing.flush_directory(str(tmp_path))


def test_nothing_is_flushed_but_by_this_module() -> None:
    """A bare ``fsync`` elsewhere would leave the cache of the drive as it is, on macOS."""
    source = Path(flushing.__file__)
    texts = {path.name: path.read_text() for path in source.parent.rglob("*.py")}
    assert [name for name in texts if "os.fsync" in texts[name]] == [source.name]


# --- a whole file system ----------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="there is no such call elsewhere, and it is not used")
def test_a_file_system_is_flushed_through_any_descriptor_or_not_at_all(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    flushing.flush_file_system(descriptor)
    os.close(descriptor)
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        flushing.flush_file_system(descriptor)


@pytest.mark.parametrize(
    ("kind", "release", "is_trusted"),
    [
        ("ext4", "6.1.0-18-amd64", True),
        ("xfs", "5.17.0", True),
        ("tmpfs", "10.0", True),
        ("ext4", "5.16.20", False),  # it does not report a journal that has failed
        ("ext4", "unheard-of", False),
        ("overlay", "6.1.0", False),  # it does not report what failed below it
        ("vfat", "6.1.0", False),  # it leaves the drive's cache alone
        (None, "6.1.0", False),
    ],
)
def test_a_flush_of_a_whole_file_system_is_relied_on_only_where_it_tells_of_errors(
    kind: str | None, release: str, is_trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "host", release, "#1", "x86_64")))
    monkeypatch.setattr(filesystem_kind, "filesystem_type", lambda _: kind)
    assert filesystem_kind.is_flushed_as_one(str(tmp_path)) is is_trusted


def test_elsewhere_than_on_linux_it_is_not_relied_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not filesystem_kind.is_flushed_as_one(str(tmp_path))


# --- writing behind ---------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="no other system is given the hint")
@pytest.mark.parametrize("is_refused", [False, True])
def test_the_disk_begins_with_a_stream_before_its_end(
    store: LocalCasStore, is_refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: list[tuple[int, int]] = []
    advise = os.posix_fadvise

    def note(descriptor: int, offset: int, length: int, advice: int) -> None:
        parts.append((offset, length))
        if is_refused:
            raise OSError(errno.EPERM, "Operation not permitted")
        advise(descriptor, offset, length, advice)

    monkeypatch.setattr(os, "posix_fadvise", note)
    content = os.urandom(20 << 20)
    store.write_file_stream("large", io.BytesIO(content))
    assert [part[0] for part in parts] == [0, parts[0][1]]
    assert sum(part[1] for part in parts) <= len(content)
    store.write_file("small", b"s" * 100_000)
    assert len(parts) == 2
    assert store.read_file("large") == content
