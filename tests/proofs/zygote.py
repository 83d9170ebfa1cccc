"""Forks a child per request. Requests on standard input: ``start OPERATION ROOT``, then ``go``."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from operations import OPERATIONS, RECOVERIES

from agent_world_distfs import LocalCasStore


def child(operation: str, root: str, go: int, report: socket.socket) -> None:
    """Open, warm up, wait, act, report."""
    act = RECOVERIES.get(operation) or OPERATIONS[operation].act
    try:
        with LocalCasStore(root, lock_timeout_s=20) as store:
            store.write_file("warm/small", b"w")
            store.write_file("warm/large", b"w" * 20_000)
            report.send(b".")  # ready
            os.read(go, 1)
            try:
                act(store, Path(root))
            except Exception as error:  # noqa: BLE001  # the kind of it is the report
                report.send(type(error).__name__.encode())
            else:
                report.send(b"ok")
    except Exception as error:  # noqa: BLE001
        report.send(f" close:{type(error).__name__}".encode())


def main() -> None:
    """Serve requests until standard input ends."""
    for line in sys.stdin:
        _, operation, root = line.split(maxsplit=2)
        go_read, go_write = os.pipe()
        # A socket, so that reporting is no system call that a fault may hit.
        reported, report = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            os.close(go_write)
            child(operation, root.strip(), go_read, report)
            os._exit(0)
        os.close(go_read)
        report.close()
        reported.recv(1)
        print(pid, flush=True)
        sys.stdin.readline()
        os.write(go_write, b"x")
        said = b""
        while part := reported.recv(100):
            said += part
        _, status = os.waitpid(pid, 0)
        os.close(go_write)
        reported.close()
        print(said.decode() or "nothing", status, flush=True)


if __name__ == "__main__":
    main()
