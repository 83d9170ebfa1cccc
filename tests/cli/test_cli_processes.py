"""``distfs`` as a process: pipes, signals, terminals, memory, exit codes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from agent_world_distfs.faces.cli.reader_gone import ended_with_the_reader
from cli.running import Distfs

MIB = 1 << 20
RSS_UNIT = 1 if sys.platform == "darwin" else 1024


def wait_until(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    """Wait for something another process does."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def stop(process: subprocess.Popen[bytes], number: signal.Signals) -> int:
    """Send a signal as a person would, again if nothing happens, and return the exit code.

    Python sees a signal that comes between its last look and a blocking read only when that read ends.
    """
    for _ in range(30):
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(2)
    process.send_signal(signal.SIGABRT)  # says where it is
    raise AssertionError(f"it did not stop: {process.communicate()[1].decode()}")


def test_the_installed_command_is_the_module(distfs: Distfs) -> None:
    script = Path(sys.executable).with_name("distfs")
    by_script = subprocess.run([script, "--version"], capture_output=True, check=True).stdout
    assert by_script == distfs.process("--version").stdout
    assert by_script.startswith(b"distfs 0.")


def test_bytes_go_through_pipes_exactly(distfs: Distfs) -> None:
    data = os.urandom(5 * MIB)
    distfs.process("write", "a", stdin=data)
    assert distfs.process("read", "a").stdout == data


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["ls"], 0),
        (["stat"], 2),
        (["stat", "nowhere"], 3),
        (["write", "a", "--if-match", "0" * 64], 4),
        (["audit", "--strict"], 5),
        (["read", "a", "/"], 2),
        (["read", "a", "x" * 300], 6),
        (["ls", "--store", "/"], 7),
    ],
)
def test_the_exit_code_reaches_the_shell(distfs: Distfs, arguments: list[str], code: int) -> None:
    distfs.write("a", b"1")
    distfs("put", stdin=b"orphan")
    distfs.process(*arguments, code=code)


def test_a_closed_pipe_is_silent(distfs: Distfs) -> None:
    with distfs.store() as store:
        content_hash = store.put_bytes(b"")
        for number in range(5_000):  # more than a pipe holds
            store.link_file(f"file-{number:05}", content_hash)
    distfs("write", "big", stdin=bytes(5 * MIB))
    for arguments in (["ls"], ["ls", "--json"], ["read", "big"]):
        with distfs.start(*arguments) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.read(10)
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(30) == 141


def test_a_reader_that_goes_when_all_is_done_does_not_make_a_failure_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = threading.Event()

    class Late:
        """A poll that learns that the reader is gone only when all is done: no pipe can be told to."""

        def register(self, *_: object) -> None:
            pass

        def poll(self, _: int) -> list[tuple[int, int]]:
            begun.set()
            time.sleep(0.3)
            return [(1, select.POLLERR)]

    ended: list[bool] = []
    read_end, write_end = os.pipe()
    with open(write_end, "w") as output, open(read_end, "rb"):
        monkeypatch.setattr(sys, "stdout", output)
        monkeypatch.setattr(select, "poll", Late)
        with ended_with_the_reader(lambda: ended.append(True)):
            assert begun.wait(10)
        monkeypatch.undo()
    assert ended == []


def test_a_watch_ends_when_its_reader_is_gone_though_nothing_happens(distfs: Distfs) -> None:
    distfs.write("a", b"1")
    with distfs.start("watch", "--since", "0") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().endswith(b"added     a\n")
        process.stdout.close()
        assert process.wait(30) == 141
        assert process.stderr.read() == b""


def test_an_error_that_nobody_reads_keeps_its_exit_code(distfs: Distfs) -> None:
    distfs("init")
    ours, theirs = os.pipe()
    os.close(ours)
    distfs.process("stat", "nowhere", stderr=theirs, code=3)
    os.close(theirs)


def test_output_that_cannot_be_written_is_no_success(distfs: Distfs) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    distfs.write("a", b"1")
    for arguments in (["ls"], ["read", "a"], ["stat", "a", "--json"]):
        with open("/dev/full", "wb") as full:
            assert (
                "standard output: No space left on device"
                in distfs.process(*arguments, stdout=full, code=6).stderr
            )


def test_output_that_is_cut_short_is_no_success_without_a_buffer_either(
    distfs: Distfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")  # as is usual in containers
    with distfs.store() as store:
        store.write_file("big", bytes(5 * MIB))
    assert len(distfs.process("read", "big").stdout) == 5 * MIB
    with distfs.start("read", "big") as process:
        assert process.stdout is not None
        assert process.stdout.read(10)
        process.stdout.close()
        assert process.wait(30) == 141
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)  # takes what fits, and then nothing
    assert distfs.process("read", "big", stdout=theirs, code=6).stderr
    os.close(ours)
    os.close(theirs)


def test_closed_standard_streams_are_an_error_and_no_crash(distfs: Distfs) -> None:
    distfs.write("a", b"1")
    command = f"exec {sys.executable} -m agent_world_distfs"
    for arguments, closed in (("read a", ">&-"), ("ls", ">&-"), ("write b", "<&-")):
        words = ["sh", "-c", f"{command} {arguments} --store {distfs.location} {closed}"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (6, 1), done
        assert "Bad file descriptor" in done.stderr


def test_ctrl_c_exits_with_130_quietly_and_changes_nothing(distfs: Distfs) -> None:
    distfs.write("a", b"before")
    pipe = distfs.place / "pipe"
    os.mkfifo(pipe)
    with distfs.start("write", "a", pipe) as process, pipe.open("wb", buffering=0) as source:  # once it reads
        source.write(b"half")
        assert stop(process, signal.SIGINT) == 130
        assert process.stdout is not None
        assert process.stderr is not None
        assert (process.stdout.read(), process.stderr.read()) == (b"", b"")
    assert distfs("read", "a").stdout == b"before"


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_read_that_is_stopped_leaves_its_target_and_nothing_beside_it(
    distfs: Distfs, number: signal.Signals, code: int
) -> None:
    with distfs.store() as store, open("/dev/zero", "rb") as zeros:
        store.write_file_stream("big", cast(BinaryIO, _Limited(zeros, 512 * MIB)))
    target = distfs.file("target", b"old")
    with distfs.start("read", "big", target) as process:
        wait_until(lambda: len(os.listdir(distfs.place)) == 2)
        assert stop(process, number) == code
    assert os.listdir(distfs.place) == ["target"]
    assert target.read_bytes() == b"old"


class _Limited(io.RawIOBase):
    """The first bytes of an endless stream."""

    def __init__(self, endless: BinaryIO, size_bytes: int) -> None:
        self._endless = endless
        self._left = size_bytes

    def read(self, size: int = -1, /) -> bytes:
        size = min(size if size >= 0 else self._left, self._left)
        self._left -= size
        return self._endless.read(size)


def test_a_big_stream_takes_little_memory(distfs: Distfs, tmp_path: Path) -> None:
    # As ru_maxrss of a child; the test's own children, in a process of its own, so that no other counts.
    script = """
import resource, subprocess, sys
command = [sys.executable, "-m", "agent_world_distfs", "--store", sys.argv[1]]
subprocess.run([*command, "ls"], stdout=subprocess.DEVNULL, check=True)
before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
with open(sys.argv[2], "rb") as source:
    subprocess.run([*command, "write", "big"], stdin=source, stdout=subprocess.DEVNULL, check=True)
subprocess.run([*command, "read", "big"], stdout=subprocess.DEVNULL, check=True)
subprocess.run([*command, "read", "big", sys.argv[3]], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss - before)
"""
    distfs("init")
    source = distfs.file("source", b"")
    os.truncate(source, 512 * MIB)
    words = [sys.executable, "-c", script, str(distfs.location), str(source), str(tmp_path / "target")]
    grown = int(subprocess.run(words, capture_output=True, check=True).stdout)
    assert grown * RSS_UNIT < 64 * MIB
    assert (tmp_path / "target").stat().st_size == 512 * MIB


def test_a_listing_begins_before_it_ends(distfs: Distfs) -> None:
    with distfs.store() as store:
        content_hash = store.put_bytes(b"")
        for number in range(5_000):
            store.link_file(f"file-{number:05}", content_hash)
    document = json.loads(distfs.process("ls", "--json").stdout)
    assert len(document["files"]) == 5_000
    with distfs.start("ls", "--json") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b'{"files": [\n'
        assert process.poll() is None  # it waits for us: the rest does not fit into the pipe
        process.stdout.read()


def without(name: str) -> list[str]:
    """A Python that cannot import ``name``, running the command's entry point."""
    code = f"import sys; sys.modules[{name!r}] = None; from agent_world_distfs.__main__ import main; main()"
    return [sys.executable, "-c", code, "ls"]


def test_without_its_packages_the_command_names_the_extra_and_exits_with_1() -> None:
    done = subprocess.run(without("click"), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == 'distfs: click is not installed: pip install "agent-world-distfs[cli]"\n'


def test_the_library_does_not_need_what_the_command_needs() -> None:
    code = (
        "import sys; sys.modules['click'] = sys.modules['rich'] = None\n"
        "import agent_world_distfs, agent_world_distfs.__main__"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- progress ---------------------------------------------------------------------------------


def on_a_terminal(distfs: Distfs, *arguments: str, slowly: bytes) -> str:
    """Run with a terminal as standard error, feeding ``slowly`` in pieces; what the terminal saw."""
    ours, theirs = pty.openpty()
    seen = b""
    with distfs.start(*arguments, stderr=theirs, env={"TERM": "xterm", "COLUMNS": "100"}) as process:
        os.close(theirs)
        assert process.stdin is not None
        for byte in slowly:
            process.stdin.write(bytes([byte]) * MIB)
            process.stdin.flush()
            time.sleep(0.2)
        process.stdin.close()
        while select.select([ours], [], [], 30)[0]:
            try:
                seen += os.read(ours, 65536)
            except OSError:  # Linux says so when the other side is closed
                break
            if not seen:
                break
        assert process.wait(30) == 0
    os.close(ours)
    return seen.decode()


def test_progress_shows_on_a_terminal_when_the_work_is_long(distfs: Distfs) -> None:
    distfs("init")
    assert "write" in on_a_terminal(distfs, "write", "a", slowly=b"0123456789")


def test_no_progress_shows_with_json_or_when_the_work_is_quick(distfs: Distfs) -> None:
    distfs("init")
    assert on_a_terminal(distfs, "write", "a", "--json", slowly=b"0123456789") == ""
    assert on_a_terminal(distfs, "write", "a", slowly=b"0") == ""


def test_no_progress_shows_in_a_pipe(distfs: Distfs) -> None:
    distfs("init")
    with distfs.start("write", "a") as process:
        assert process.stdin is not None
        for _ in range(10):
            process.stdin.write(bytes(MIB))
            process.stdin.flush()
            time.sleep(0.1)
        _, stderr = process.communicate(timeout=30)
    assert stderr == b""
