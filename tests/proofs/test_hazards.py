"""Hazards that have corrupted stores of this kind, each with the rule that keeps it away.

Not here, because they have a place of their own: bit rot that SQLite does not see
(``test_damage.py``, ``tests/test_audit.py``), interrupts between any two lines
(``test_interrupts.py``), full disks (``test_limits.py``).
"""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from agent_world_distfs import FileIndexManifestRef, IncompatibleStoreError, LocalCasStore
from calls import EXCHANGES, READS, WRITES, fill
from children import Start

on_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="looks into /proc, and asks for locks as Linux lays them out"
)

PENDING_BYTE = 0x40000000
SHARED_FIRST, SHARED_SIZE = PENDING_BYTE + 2, 510
"""SQLite's file format: a connection with something read holds a lock in this range of the database."""

# --- the log that two processes shorten -------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "is_taken"),
    [
        ("3.7.0", False),
        ("3.40.1", False),
        ("3.44.5", False),
        ("3.44.6", False),
        ("3.50.7", False),
        ("3.51.2", False),
        ("3.51.3", True),
        ("3.52.0", True),
        ("4.0.0", True),
    ],
)
def test_a_library_that_can_corrupt_a_shared_log_is_refused(
    version: str, is_taken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: version)
    if is_taken:
        LocalCasStore(tmp_path / "store").close()
        return
    with pytest.raises(IncompatibleStoreError, match=version):
        LocalCasStore(tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


def test_the_library_that_is_installed_is_taken(tmp_path: Path) -> None:
    LocalCasStore(tmp_path / "store").close()
    assert tuple(map(int, apsw.sqlite_lib_version().split("."))) >= (3, 51, 3)


def refill(store: LocalCasStore) -> FileIndexManifestRef:
    """What ``fill`` gives, with no manifest of before among the pins."""
    for content_hash in store.list_pins():
        store.unpin(content_hash)
    return fill(store)


def use_everything(store: LocalCasStore, after_each: Callable[[str], None]) -> None:
    """Every call, on a store that has something for each."""
    other = Path(store.location).parent / "other"
    other.mkdir()
    for name, call in {**READS, **WRITES}.items():
        refill(store)
        call(store)
        after_each(name)
    for name, exchange in EXCHANGES.items():
        exchange(store, refill(store))
        after_each(name)
    store.checkout(other / "tree")
    after_each("checkout")
    store.import_tree(other / "tree", "imported")
    after_each("import_tree")
    with LocalCasStore(other / "store") as second:
        second.pull_index(store)
        store.pull_index(second)
    after_each("pull_index")
    LocalCasStore(store.location).close()
    after_each("open and close a second one")
    store.audit_file_index(verify=True)
    after_each("audit")


@on_linux
def test_the_database_is_never_mapped_into_memory(location: Path) -> None:
    def look(name: str) -> None:
        maps = Path("/proc/self/maps").read_text()
        mapped = {line.split()[-1] for line in maps.splitlines() if "catalog.db" in line}
        assert mapped <= {str(location / "catalog.db-shm")}, name

    opened: list[apsw.Connection] = []
    apsw.connection_hooks.append(opened.append)
    try:
        with LocalCasStore(location) as store:
            use_everything(store, look)
            assert {connection.pragma("mmap_size") for connection in opened if is_open(connection)} == {0}
    finally:
        apsw.connection_hooks.remove(opened.append)


def is_open(connection: apsw.Connection) -> bool:
    try:
        connection.db_filename("main")
    except apsw.ConnectionClosedError:
        return False
    return True


# --- locks that are lost by closing a file ----------------------------------------------------

USE_EVERYTHING = """
sys.path[:0] = sys.argv[2:]
from test_hazards import use_everything

store = LocalCasStore(location)
store.list_files()

def after_each(name):
    say(name)
    hear()

opened = []
sys.addaudithook(lambda event, values: opened.append(values[0]) if event == "open" else None)
use_everything(store, after_each)
# SQLite's locks are on the database and on the shared memory; none is on the log that a closing could drop.
locked = location + "/catalog.db", location + "/catalog.db-shm"
say("opened", *sorted({str(name) for name in opened if str(name) in locked}))
hear()
"""


def is_locked(database: Path) -> bool:
    """Whether another process holds SQLite's lock. This one has no connection that closing could harm."""
    with database.open("r+b") as file:
        wanted = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, SHARED_FIRST, SHARED_SIZE, 0)
        answer = struct.unpack("hhqqi", fcntl.fcntl(file, fcntl.F_GETLK, wanted))
    return bool(answer[0] != fcntl.F_UNLCK)


@on_linux
def test_nothing_but_sqlite_opens_the_database_and_its_locks_are_held_all_the_time(
    location: Path, start: Start
) -> None:
    here = Path(__file__).parent
    child = start(USE_EVERYTHING, location, here, here.parent)
    done = []
    while not (said := child.hear()).startswith("opened"):
        assert is_locked(location / "catalog.db"), f"{said} has dropped the locks"
        done.append(said)
        child.tell()
    assert said == "opened", "by Python, whose closing it drops the locks of the process"
    assert len(done) == len(READS) + len(WRITES) + len(EXCHANGES) + 5
    child.kill()
    assert not is_locked(location / "catalog.db")


@on_linux
def test_the_lock_of_a_process_that_opens_and_closes_the_database_is_seen_to_be_lost(
    location: Path, start: Start
) -> None:
    """The hazard itself; so the test before this one can fail."""
    child = start(
        """
        store = LocalCasStore(location)
        store.list_files()
        say("ready")
        hear()
        open(location + "/catalog.db", "rb").close()
        say("closed")
        hear()
        """,
        location,
    )
    assert child.hear() == "ready"
    assert is_locked(location / "catalog.db")
    child.tell()
    assert child.hear() == "closed"
    assert not is_locked(location / "catalog.db")
    child.tell()
    child.finish()


# --- a second SQLite --------------------------------------------------------------------------

IMPORT_EVERYTHING = """
import importlib, pkgutil, sys
import agent_world_distfs

for module in pkgutil.walk_packages(agent_world_distfs.__path__, "agent_world_distfs."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
with agent_world_distfs.LocalCasStore(sys.argv[1]) as store:
    store.write_file("a", b"a")
    with open("/proc/self/maps") as maps:
        print(*{line.split()[-1] for line in maps if "sqlite" in line or "apsw" in line}, sep="\\n")
print(*{"sqlite3", "_sqlite3"} & sys.modules.keys())
"""


@on_linux
def test_one_process_has_one_sqlite_library(location: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_EVERYTHING, location],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    *libraries, imported = done.stdout.split("\n")[:-1]
    assert imported == ""
    assert len([name for name in libraries if Path(name).suffix == ".so"]) == 1, libraries
