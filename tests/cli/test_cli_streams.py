"""SOURCE and TARGET: replaced in one step, verified before, untouched on error."""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent_world_distfs.faces.cli.streams import open_source
from cli.running import Distfs

BIG = os.urandom(3_000_000)


@pytest.fixture
def umask() -> Iterator[None]:
    """A umask that no file of the tests has by accident."""
    before = os.umask(0o026)
    yield
    os.umask(before)


def names(directory: Path) -> set[str]:
    """What stands in ``directory``, private names included."""
    return set(os.listdir(directory))


def corrupt(distfs: Distfs, content_hash: str) -> None:
    """Flip a bit near the end of a large blob's file."""
    [blob] = distfs.location.rglob(content_hash)
    data = bytearray(blob.read_bytes())
    data[-100] ^= 1
    blob.chmod(0o600)
    blob.write_bytes(data)


def test_a_target_is_replaced_and_nothing_else_is_left(distfs: Distfs) -> None:
    target = distfs.file("target", b"old")
    distfs.write("a", BIG)
    distfs("read", "a", target)
    assert target.read_bytes() == BIG
    assert names(distfs.place) == {"target"}


def test_whoever_has_the_old_target_open_keeps_it_whole(distfs: Distfs) -> None:
    target = distfs.file("target", b"old")
    distfs.write("a", b"new")
    with target.open("rb") as reader:
        distfs("read", "a", target)
        assert reader.read() == b"old"


@pytest.mark.parametrize("command", ["read", "get"])
def test_corrupt_bytes_leave_the_target_untouched_and_exit_with_5(distfs: Distfs, command: str) -> None:
    content_hash = distfs.write("a", BIG)
    corrupt(distfs, content_hash)
    target = distfs.file("target", b"old")
    error = distfs.error(command, {"read": "a", "get": content_hash}[command], target, code=5)
    assert (error["kind"], error["expected"]) == ("BlobHashMismatchError", content_hash)
    assert target.read_bytes() == b"old"
    assert names(distfs.place) == {"target"}


def test_corrupt_bytes_on_standard_output_end_early_and_exit_with_5(distfs: Distfs) -> None:
    corrupt(distfs, distfs.write("a", BIG))
    outcome = distfs("read", "a", code=5)
    assert len(outcome.stdout) < len(BIG)
    assert "distfs repair" in outcome.stderr


def test_what_is_missing_leaves_no_target(distfs: Distfs) -> None:
    distfs("init")
    distfs("read", "nowhere", distfs.place / "target", code=3)
    assert names(distfs.place) == set()


def test_a_new_target_has_the_permissions_of_the_umask(distfs: Distfs, umask: None) -> None:
    distfs.write("a", b"data")
    distfs("read", "a", distfs.place / "target")
    assert stat.S_IMODE((distfs.place / "target").stat().st_mode) == 0o640


def test_a_target_that_was_private_stays_private(distfs: Distfs, umask: None) -> None:
    target = distfs.file("target", b"old")
    target.chmod(0o600)
    distfs.write("a", b"data")
    distfs("read", "a", target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


@pytest.mark.parametrize("is_dangling", [False, True])
def test_a_symbolic_link_stays_and_what_it_names_is_replaced(distfs: Distfs, is_dangling: bool) -> None:
    named = distfs.place / "dir" / "named"
    named.parent.mkdir()
    if not is_dangling:
        named.write_bytes(b"old")
    link = distfs.place / "link"
    link.symlink_to("dir/named")
    distfs.write("a", b"data")
    distfs("read", "a", link)
    assert link.is_symlink()
    assert named.read_bytes() == b"data"


def test_a_named_pipe_is_written_to_and_not_replaced(distfs: Distfs) -> None:
    pipe = distfs.place / "pipe"
    os.mkfifo(pipe)
    distfs.write("a", BIG)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    distfs("read", "a", pipe)
    reader.join()
    assert received == [BIG]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_is_written_to_and_not_replaced(distfs: Distfs) -> None:
    distfs.write("a", b"data")
    distfs("read", "a", "/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize("target", ["/dev/stdout", "/dev/fd/1"])
def test_a_descriptor_as_target_is_written_to_where_it_stands(distfs: Distfs, target: str) -> None:
    distfs.write("a", b"content")
    log = distfs.file("log", b"")
    with log.open("ab") as stream:
        stream.write(b"before, ")
        stream.flush()
        distfs.process("read", "a", target, stdout=stream)
        stream.write(b", after")
    assert log.read_bytes() == b"before, content, after"


def test_a_directory_as_target_is_refused_before_anything_is_written(distfs: Distfs) -> None:
    distfs.write("a", b"data")
    error = distfs.error("read", "a", distfs.place, code=2)
    assert (error["kind"], error["path"]) == ("IsADirectoryError", str(distfs.place))
    assert names(distfs.place) == set()


def test_a_target_in_a_directory_that_is_missing_exits_with_3(distfs: Distfs) -> None:
    distfs.write("a", b"data")
    target = distfs.place / "missing" / "target"
    error = distfs.error("read", "a", target, code=3)
    assert (error["kind"], error["path"]) == ("FileNotFoundError", str(target))


def test_a_target_that_cannot_be_written_exits_with_6(distfs: Distfs) -> None:
    distfs.write("a", b"data")
    target = distfs.file("no-directory", b"") / "target"
    assert distfs.error("read", "a", target, code=6)["kind"] == "NotADirectoryError"


def test_a_full_disk_below_the_target_leaves_it_untouched(
    distfs: Distfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    target = distfs.file("target", b"old")
    distfs.write("a", b"data")
    monkeypatch.setattr(os, "fsync", full)
    error = distfs.error("read", "a", target, code=6)
    assert (error["path"], error["errno"]) == (str(target), errno.ENOSPC)
    assert target.read_bytes() == b"old"
    assert names(distfs.place) == {"target"}


@pytest.mark.parametrize(
    ("command", "place", "number"),
    [
        ("read a /dev/full", "/dev/full", errno.ENOSPC),
        ("write b /proc/self/mem", "/proc/self/mem", errno.EIO),
        ("put /proc/self/mem", "/proc/self/mem", errno.EIO),
    ],
)
def test_an_error_while_it_is_read_or_written_names_the_file(
    distfs: Distfs, command: str, place: str, number: int
) -> None:
    if not os.path.exists(place):
        pytest.skip(f"needs {place}")
    distfs.write("a", b"data")
    error = distfs.error(*command.split(), code=6)
    assert (error["kind"], error["path"], error["errno"]) == ("OSError", place, number)


def test_a_directory_that_may_be_written_and_not_be_read_takes_a_target(
    distfs: Distfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = os.open

    def refuse(path: str, flags: int, *rest: Any, **options: Any) -> int:
        if path == str(distfs.place):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return genuine(path, flags, *rest, **options)

    distfs.write("a", b"data")
    monkeypatch.setattr(os, "open", refuse)
    distfs("read", "a", distfs.place / "target")
    assert (distfs.place / "target").read_bytes() == b"data"


@pytest.mark.parametrize("command", [["write", "a"], ["put"]], ids=["write", "put"])
def test_a_source_that_is_missing_exits_with_3_and_makes_no_store(distfs: Distfs, command: list[str]) -> None:
    source = distfs.place / "missing"
    error = distfs.error(*command, source, code=3)
    assert (error["kind"], error["path"]) == ("FileNotFoundError", str(source))
    assert distfs(*command, source, code=3).stderr == f"distfs: {source}: No such file or directory\n"
    assert not distfs.location.exists()


def test_a_source_that_is_a_directory_exits_with_2(distfs: Distfs) -> None:
    assert distfs.error("write", "a", distfs.place, code=2)["kind"] == "IsADirectoryError"


def test_whether_a_source_may_be_read_only_reading_tells(
    distfs: Distfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Asked before, it would be wrong usage; and who asks is not told of what else may let us read it.
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    distfs("write", "a", distfs.file("source", b"data"))
    assert distfs("read", "a").stdout == b"data"


def test_a_source_may_be_a_named_pipe(distfs: Distfs) -> None:
    pipe = distfs.place / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(BIG))
    writer.start()
    distfs("write", "a", pipe)
    writer.join()
    assert distfs("read", "a").stdout == BIG


def test_standard_input_that_does_not_block_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with os.fdopen(reading) as stdin, os.fdopen(writing, "wb", buffering=0) as pipe:
        monkeypatch.setattr(sys, "stdin", stdin)
        with open_source("-") as source:
            threading.Timer(0.2, lambda: pipe.write(b"late")).start()
            assert source.read(4) == b"late"
