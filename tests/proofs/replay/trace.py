"""The system calls of a run, as ``strace -f -y -xx`` writes them.

With ``-xx`` every string and path is hexadecimal, so that commas and parentheses are the call's own.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

CHANGING = (
    "open,creat,openat,openat2,write,pwrite64,writev,pwritev,pwritev2,lseek,ftruncate,truncate,"
    "fallocate,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat,"
    "rmdir,fsync,fdatasync,sync,syncfs,copy_file_range,sendfile,splice,mmap,io_uring_setup,clone,"
    "clone3,fork,vfork"
)
"""What changes files, makes it durable, or tells whose descriptors are whose."""

_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+|0x[0-9a-f]+|\?)(?:<[^>]*>)?(?: ([A-Z]\w+))?.*", re.DOTALL)
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)", re.DOTALL)
_UNFINISHED = re.compile(r"(.*?),? ?<unfinished \.\.\.>", re.DOTALL)


@dataclass(frozen=True)
class Call:
    """One call of one thread. ``began`` and ``ended``: lines of the trace, which order all of them."""

    thread: int
    name: str
    arguments: tuple[str, ...]
    result: int
    error: str
    began: int
    ended: int


def strace(program: Sequence[str], trace: Path, options: Sequence[str] = ()) -> None:
    """Run a Python program to its end, tracing it and all it forks."""
    selected = f"trace={CHANGING}"
    command = ["strace", "-f", "-q", "-y", "-xx", "-s", "4000000", "-e", selected, "-e", "signal=none"]
    command += [*options, "-o", str(trace), sys.executable, *program]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the traced run failed:\n{done.stdout}{done.stderr}")


def read_calls(lines: Iterable[str]) -> Iterator[Call]:
    """The calls, in the order in which they ended."""
    pending: dict[int, tuple[int, str]] = {}
    for number, line in enumerate(lines):
        thread_text, _, rest = line.rstrip("\n").partition(" ")
        thread, rest, began = int(thread_text), rest.lstrip(), number
        if rest.startswith(("+++", "---")):
            continue
        if unfinished := _UNFINISHED.fullmatch(rest):
            pending[thread] = (number, unfinished[1])
            continue
        if resumed := _RESUMED.fullmatch(rest):
            began, start = pending.pop(thread)
            rest = start + ", " + resumed[2].lstrip(", ") if resumed[2][:1] != ")" else start + resumed[2]
        call = _parse(thread, rest, began, number)
        if call is not None:
            yield call


def _parse(thread: int, text: str, began: int, ended: int) -> Call | None:
    """None for a call that never returned: its process was killed in it."""
    match = _CALL.fullmatch(text)
    if match is None:
        raise ValueError(f"not understood in a trace: {text[:200]}")
    name, arguments, result, error = match.groups()
    if result == "?":
        return None
    return Call(thread, name, tuple(arguments.split(", ")), int(result, 0), error or "", began, ended)


def unquote(text: str) -> bytes:
    """The bytes of a string argument, or of the path behind a descriptor."""
    if "..." in text:
        raise ValueError("the trace has cut a string short")
    start, end = (text.index('"') + 1, text.rindex('"')) if '"' in text else (text.index("<") + 1, -1)
    return bytes.fromhex(text[start:end].replace("\\x", ""))


def descriptor(text: str) -> tuple[int, str]:
    """The number and the path of ``3</path>``."""
    number, _, _ = text.partition("<")
    return (-100 if number == "AT_FDCWD" else int(number)), unquote(text).decode("utf-8", "surrogateescape")
