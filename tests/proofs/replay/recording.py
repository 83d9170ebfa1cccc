"""From system calls to a disk, and to the marks that the run has set.

A run tells what it does by writing lines to a descriptor outside of the disk: ``@BEGIN 3`` before a
step, ``@ACK 3 text`` once the store has acknowledged it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from replay.disk import Disk
from replay.trace import Call, descriptor, unquote

_IGNORED = ("-shm",)
"""SQLite's shared memory: it starts anew when the machine does, and is never read from the disk."""


class Recording:
    """A disk with its history. ``flushes``: when each ended; ``marks``: when and by whom, its words.

    ``data_flushes``: process and beginning of each fdatasync, the call that SQLite flushes by.
    """

    def __init__(self, root: Path) -> None:
        self.disk = Disk(root)
        self.flushes: list[int] = []
        self.marks: list[tuple[int, int, list[str]]] = []
        self.failed_flushes = 0
        self.data_flushes: list[tuple[int, int]] = []
        self.end = 0
        self._processes: dict[int, int] = {}
        self._positions: dict[tuple[int, int], int] = {}
        self._handlers: dict[str, Callable[[Call], None]] = {
            "open": self._open,
            "openat": self._open,
            "write": self._write,
            "pwrite64": self._pwrite,
            "sendfile": self._send,
            "lseek": self._seek,
            "ftruncate": self._truncate,
            "truncate": self._truncate,
            "rename": self._rename,
            "renameat": self._rename,
            "renameat2": self._rename,
            "link": self._link,
            "linkat": self._link,
            "unlink": self._unlink,
            "unlinkat": self._unlink,
            "rmdir": self._unlink,
            "mkdir": self._mkdir,
            "mkdirat": self._mkdir,
            "fsync": self._flush,
            "fdatasync": self._flush,
            "syncfs": self._flush_all,
            "mmap": self._map,
            "clone": self._clone,
            "clone3": self._clone,
            "fork": self._clone,
            "vfork": self._clone,
        }

    def take(self, calls: Iterable[Call]) -> None:
        """Replay the calls.

        Raises:
            NotImplementedError: one that touches the disk in a way this model does not know.
        """
        for call in calls:
            self.end = call.ended + 1
            if call.name in self._handlers:
                self._handlers[call.name](call)
            elif call.result >= 0 and any(self._is_here(path) for path in _all_paths(call)):
                raise NotImplementedError(f"{call.name} on the traced disk")

    def _is_here(self, path: str) -> bool:
        return self.disk.holds(path) and not path.endswith(_IGNORED)

    def _process(self, call: Call) -> int:
        return self._processes.get(call.thread, call.thread)

    # --- files ---------------------------------------------------------------------------------

    def _open(self, call: Call) -> None:
        if call.result < 0:
            return
        path, flags = _paths(call)[0], " ".join(call.arguments)
        if not self._is_here(path):
            return
        self._positions[self._process(call), call.result] = 0
        found = self.disk.find(path)
        if found is None:
            assert "O_CREAT" in flags, path
            self.disk.create(call.ended, path, is_directory=False)
        elif "O_TRUNC" in flags and self.disk.size_of(found):
            self.disk.resize(call.ended, found, 0)
        if "O_APPEND" in flags:
            self._positions[self._process(call), call.result] = _AT_THE_END

    def _write(self, call: Call) -> None:
        number, path = descriptor(call.arguments[0])
        if self._is_here(path):
            if call.result > 0:
                key = self._process(call), number
                if self._positions[key] == _AT_THE_END:
                    self._store(call, path, self.disk.size_of(self.disk.of_descriptor(path)))
                    return
                self._store(call, path, self._positions[key])
                self._positions[key] += call.result
        elif call.arguments[1].startswith(_MARKS):
            self.marks.append((call.began, self._process(call), unquote(call.arguments[1]).decode().split()))

    def _pwrite(self, call: Call) -> None:
        _, path = descriptor(call.arguments[0])
        if self._is_here(path) and call.result > 0:
            self._store(call, path, int(call.arguments[3]))

    def _send(self, call: Call) -> None:
        """Copying by the system; from the traced disk to another place it is reading."""
        if call.result > 0 and self._is_here(descriptor(call.arguments[0])[1]):
            raise NotImplementedError("sendfile to the traced disk")

    def _store(self, call: Call, path: str, offset: int) -> None:
        data = unquote(call.arguments[1])[: call.result]
        self.disk.write(call.ended, self.disk.of_descriptor(path), offset, data)

    def _seek(self, call: Call) -> None:
        number, path = descriptor(call.arguments[0])
        if self._is_here(path) and call.result >= 0:
            self._positions[self._process(call), number] = call.result

    def _truncate(self, call: Call) -> None:
        if call.result < 0:
            return
        if call.name == "truncate":
            path = _paths(call)[0]
        else:
            _, path = descriptor(call.arguments[0])
        if self._is_here(path):
            self.disk.resize(call.ended, self.disk.of_descriptor(path), int(call.arguments[1]))

    def _map(self, call: Call) -> None:
        if call.result < 0 or "MAP_SHARED" not in call.arguments[3] or "PROT_WRITE" not in call.arguments[2]:
            return
        if "<" in call.arguments[4] and self._is_here(descriptor(call.arguments[4])[1]):
            raise NotImplementedError("a file changed through memory")

    # --- names ---------------------------------------------------------------------------------

    def _rename(self, call: Call) -> None:
        source, target = _paths(call)
        if call.result >= 0 and self._is_here(target):
            self.disk.rename(call.ended, source, target)

    def _link(self, call: Call) -> None:
        source, target = _paths(call)
        if call.result >= 0 and self._is_here(target):
            self.disk.link(call.ended, self.disk.of_descriptor(source), target)

    def _unlink(self, call: Call) -> None:
        path = _paths(call)[0]
        if call.result >= 0 and self._is_here(path):
            self.disk.unlink(call.ended, path)

    def _mkdir(self, call: Call) -> None:
        path = _paths(call)[0]
        if call.result >= 0 and self._is_here(path):
            self.disk.create(call.ended, path, is_directory=True)

    # --- flushes and processes -----------------------------------------------------------------

    def _flush(self, call: Call) -> None:
        _, path = descriptor(call.arguments[0])
        if call.name == "fdatasync":
            self.data_flushes.append((self._process(call), call.began))
        if not self._is_here(path):
            return
        inode = self.disk.of_descriptor(path)
        if call.result < 0:
            self.failed_flushes += 1
            self.disk.fail_flush(call.began, inode)
            return
        self.disk.flush(call.began, call.ended, inode)
        self.flushes.append(call.ended)

    def _flush_all(self, call: Call) -> None:
        if not self._is_here(descriptor(call.arguments[0])[1]):
            return
        if call.result < 0:
            self.failed_flushes += 1
            self.disk.fail_flush_all(call.began)
            return
        self.disk.flush_all(call.began, call.ended)
        self.flushes.append(call.ended)

    def _clone(self, call: Call) -> None:
        if call.result <= 0:
            return
        parent = self._process(call)
        if any("CLONE_THREAD" in argument for argument in call.arguments):
            self._processes[call.result] = parent
            return
        for (process, number), position in list(self._positions.items()):
            if process == parent:
                self._positions[call.result, number] = position


_AT_THE_END = -1
"""As a position: of a descriptor that appends."""

_MARKS = tuple('"' + "".join(f"\\x{byte:02x}" for byte in mark) for mark in (b"@BEGIN ", b"@ACK "))


def _paths(call: Call) -> list[str]:
    """The paths of a call, each joined with the directory that it starts from."""
    found, base = [], "/"
    for argument in call.arguments:
        if argument.startswith('"'):
            text = unquote(argument).decode("utf-8", "surrogateescape")
            found.append(
                text if text.startswith("/") else f"{base}/{text}".replace("/./", "/").removesuffix("/.")
            )
        elif "<" in argument:
            base = descriptor(argument)[1]
    return found


def _all_paths(call: Call) -> list[str]:
    """Everything that may be a path or a descriptor's, of a call that is not known."""
    joined = [descriptor(a)[1] for a in call.arguments if re.fullmatch(r"(?:AT_FDCWD|\d+)<[^>]*>", a)]
    return joined + ([] if call.name == "writev" else _paths(call))
