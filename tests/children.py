"""Child processes of tests: real Python processes that take and give lines."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any, NoReturn

import pytest

PATIENCE_S = 60.0
"""How long a child may be silent before the test fails instead of hanging."""

NO_SKIPS = "DISTFS_TESTS_MAY_NOT_SKIP"
"""The variable of the environment that says so where it is set."""

PRELUDE = """
import os, signal, sys, threading, time
from agent_world_distfs import *

location = sys.argv[1]

def say(*words):
    # In one system call: lines of several threads and forked processes stay whole.
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def hear():
    line = b""
    while not line.endswith(b"\\n"):
        byte = os.read(0, 1)
        if not byte:
            os._exit(0)  # nobody is listening any more
        line += byte
    return line.decode().strip()

def kill_me():
    os.kill(os.getpid(), signal.SIGKILL)
"""


class Child:
    """A process that runs ``program`` after PRELUDE; the first of its ``arguments`` is the location."""

    def __init__(self, program: str, *arguments: object, under: Sequence[str] = (), **options: Any) -> None:
        command = [*under, sys.executable, "-c", PRELUDE + dedent(program), *map(str, arguments)]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed by end()
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, bufsize=0, **options
        )
        self._heard = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, line: object = "") -> None:
        """Give the child a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    def hear(self) -> str:
        """The next line that the child says, without its end."""
        while b"\n" not in self._heard:
            if not self._more():
                self._fail("ended without a word")
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode()

    def hear_all(self) -> list[str]:
        """The whole lines that it says until its end, which may be by a signal."""
        while self._more():
            pass
        self._process.wait()
        *lines, _ = self._heard.decode().split("\n")
        return lines

    def _more(self) -> bool:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], PATIENCE_S)[0]:
            self._fail(f"said nothing for {PATIENCE_S:g} s")
        part = os.read(self._process.stdout.fileno(), 1 << 16)
        self._heard += part
        return bool(part)

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Let it run no further, as if the machine had no time for it, until ``go_on``."""
        os.kill(self.pid, signal.SIGSTOP)
        deadline = time.monotonic() + PATIENCE_S
        while _state(self.pid) != "T" and time.monotonic() < deadline:
            time.sleep(0.001)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def wait(self) -> int:
        """Its exit code, negative for a signal."""
        try:
            return self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._fail("did not end")

    def finish(self) -> None:
        """Wait for its end, which must be a good one."""
        if self.wait() != 0:
            self._fail(f"ended with {self._process.returncode}")

    def end(self) -> None:
        """Kill it if it still runs; give everything back."""
        if self._process.poll() is None:
            self.go_on()
            self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._errors.close()

    def _fail(self, what: str) -> NoReturn:
        if self._process.poll() is None:
            self.go_on()
            self.kill()
        self._errors.seek(0)
        raise AssertionError(f"the child {what}; standard error:\n{self._errors.read().decode()}")


def _state(pid: int) -> str:
    """One letter, as in proc_pid_stat(5)."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
        return stat.read().rpartition(")")[2].split()[0]


Start = Callable[..., Child]
"""Starts a child process that runs a program; it ends with the test if it has not ended before."""

MakeDisk = Callable[[int], Path]
"""Makes a file system of so many bytes."""


def require_strace() -> None:
    """Give the test up where there is no strace."""
    if shutil.which("strace") is None:
        cannot_run("strace is not installed")


def faulty(calls: str, fault: str, *, path: Path | None = None) -> list[str]:
    """What to start a child ``under`` for a fault (as of strace's ``inject``) in system calls, on a path."""
    require_strace()
    only = [] if path is None else ["-P", str(path)]
    what = ["-e", f"trace={calls}", "-e", f"inject={calls}:{fault}"]
    return ["strace", "-f", "-q", "-o", os.devnull, *only, *what]


def forbid_skips() -> None:
    """From here on, in this process and those that it starts, what cannot run fails."""
    os.environ[NO_SKIPS] = "1"


def cannot_run(reason: str) -> None:
    """Skip the test where a person develops, fail it in CI: there a skipped proof is a lost one."""
    if NO_SKIPS in os.environ:
        pytest.fail(f"cannot run here, and CI may not skip it: {reason}")
    pytest.skip(reason)
