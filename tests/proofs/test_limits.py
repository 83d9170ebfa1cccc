"""Where resources end: full disks of many sizes, the largest size of a file, descriptors.

Whatever is refused is refused by one of our errors, nothing that was acknowledged is lost, and the
handle can be used afterwards.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from forked import in_child
from limited import CALLS, expect_usable, make_filled, outcome

from agent_world_distfs import LocalCasStore, StorageFullError
from calls import READS, Call
from children import MakeDisk

pytestmark = pytest.mark.proof

MIB = 1 << 20

# --- full disks -------------------------------------------------------------------------------

FILLS: dict[str, Callable[[random.Random], int]] = {
    "small": lambda chance: chance.randrange(2_000, 8_192),
    "large": lambda chance: chance.randrange(8_193, 400_000),
    "mixed": lambda chance: chance.choice((10, 1_000, 8_192, 8_193, 60_000, 300_000)),
}
SIZES = (3, 4, 5, 6, 8, 12, 16, 24, 32, 48)

each_disk = pytest.mark.parametrize("kind", FILLS)
each_size = pytest.mark.parametrize("size_mib", SIZES)


def content(number: int, size_bytes: int) -> bytes:
    return random.Random(number).randbytes(size_bytes)


def fill_up(store: LocalCasStore, kind: str, seed: int) -> dict[str, bytes]:
    """Write until the disk is full, then ever less until nothing fits; what was acknowledged."""
    chance, written, refused = random.Random(seed), dict[str, bytes](), 0
    divisor = 1
    while refused < 12:
        number = len(written) + refused
        data = content(number, max(1, FILLS[kind](chance) // divisor))
        try:
            store.write_file(f"{kind}/{number}", data)
        except StorageFullError:
            refused += 1
            divisor *= 3
        else:
            written[f"{kind}/{number}"] = data
    return written


def expect_all(store: LocalCasStore, written: dict[str, bytes]) -> None:
    assert {file.path for file in store.list_files()} == written.keys()
    for path, data in written.items():
        assert store.read_file(path) == data
    report = store.audit_file_index(verify=True)
    assert report.is_sound(), report


@each_size
@each_disk
def test_a_full_disk_loses_nothing_and_can_be_read_and_copied(
    size_mib: int, kind: str, make_disk: MakeDisk, place: Path
) -> None:
    location = make_disk(size_mib * MIB) / "store"
    with LocalCasStore(location) as store:
        written = fill_up(store, kind, size_mib)
        assert sum(map(len, written.values())) > size_mib * MIB / 20
        expect_all(store, written)
        store.backup(place / "backup")
    for whole in (location, place / "backup"):
        with LocalCasStore(whole) as store:
            expect_all(store, written)


def win_back(store: LocalCasStore, written: dict[str, bytes]) -> None:
    """Remove half of the files, and write some again; nothing of the rest is lost."""
    gone = sorted(written)[::2]
    assert store.delete_files(gone[:5]) == 5
    for path in gone[5:]:
        assert store.delete_file(path) is True
    assert store.prune_orphan_blobs().freed_bytes > 0
    for path in gone:
        del written[path]
    again = {f"again/{number}": content(number, 5_000) for number in range(5)}
    again["again/large"] = content(9, 20_000)
    for path, data in again.items():
        store.write_file(path, data)
    expect_all(store, written | again)


@each_size
@each_disk
def test_on_a_full_disk_space_can_be_won_back(size_mib: int, kind: str, make_disk: MakeDisk) -> None:
    with LocalCasStore(make_disk(size_mib * MIB) / "store") as store:
        win_back(store, fill_up(store, kind, size_mib))


@pytest.mark.parametrize("size_mib", [4, 8, 24])
@each_disk
def test_after_a_crash_on_a_full_disk_space_can_be_won_back(
    size_mib: int, kind: str, make_disk: MakeDisk
) -> None:
    location = make_disk(size_mib * MIB) / "store"
    never_closed: list[LocalCasStore] = []

    def fill_and_die() -> dict[str, bytes]:
        never_closed.append(LocalCasStore(location))
        return fill_up(never_closed[0], kind, size_mib)

    written = in_child(fill_and_die)  # which ends at once, with the log as it is
    assert (location / "catalog.db-wal").stat().st_size > 0
    with LocalCasStore(location) as store:
        expect_all(store, written)
        win_back(store, written)


@pytest.mark.parametrize("size_kib", [1, 64, 300, 1_000, 1_200, 2_000])
def test_a_disk_too_small_for_a_store_is_refused_as_full(size_kib: int, make_disk: MakeDisk) -> None:
    location = make_disk(size_kib << 10) / "store"
    with contextlib.suppress(StorageFullError), LocalCasStore(location) as store:
        fill_up(store, "mixed", size_kib)
        assert store.audit_file_index(verify=True).is_sound()


# --- limits of the process --------------------------------------------------------------------


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_filled(tmp_path_factory.mktemp("filled") / "store")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory in memory, where there is one: flushing costs the time here, and is not what is tested."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="distfs-limits-", dir=memory) as made:
        yield Path(made)


@contextlib.contextmanager
def limited(kind: int, most: int) -> Iterator[None]:
    """Within it the process may have no more than ``most``."""
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


@pytest.mark.parametrize("most", [0, 1, 100, 4_096, 8_192, 10_000, 30_000, 100_000, 200_000])
def test_files_that_may_not_grow_are_a_full_disk(most: int, filled: Path, place: Path) -> None:
    def use(location: Path, call: Call) -> str:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with LocalCasStore(location) as store:
            with limited(resource.RLIMIT_FSIZE, most):
                said = outcome(lambda: call(store))
            expect_usable(store)
        return said

    said = {}
    for number, (name, call) in enumerate(CALLS.items()):
        location = Path(shutil.copytree(filled, place / str(number)))
        said[name] = in_child(lambda location=location, call=call: use(location, call))  # type: ignore[misc]
        shutil.rmtree(location)
    refused = {name for name, how in said.items() if how != "ok"}
    assert not refused & READS.keys() - {"read manifest"}, said
    assert refused or most >= 100_000, said


def test_a_store_opens_where_files_may_not_grow(filled: Path, place: Path) -> None:
    def use(location: Path, most: int) -> str:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with limited(resource.RLIMIT_FSIZE, most):
            said = outcome(lambda: LocalCasStore(location).close())
        with LocalCasStore(location) as store:
            expect_usable(store)
        return said

    for most in (0, 1, 4_096, 32_767, 32_768, 100_000):
        location = Path(shutil.copytree(filled, place / str(most)))
        in_child(lambda location=location, most=most: use(location, most))  # type: ignore[misc]


@contextlib.contextmanager
def few_descriptors(spare: int) -> Iterator[None]:
    """Within it the process may open no more than ``spare`` files, whatever gaps its table had."""
    plugs = [os.open(os.devnull, os.O_RDONLY)]
    while plugs[-1] < max(int(name) for name in os.listdir("/proc/self/fd")) - 1:
        plugs.append(os.dup(plugs[0]))
    try:
        with limited(resource.RLIMIT_NOFILE, max(plugs) + 1 + spare):
            yield
    finally:
        for plug in plugs:
            os.close(plug)


@pytest.mark.parametrize("is_warm", [True, False], ids=["used before", "just opened"])
def test_too_few_descriptors_are_told_and_change_nothing(is_warm: bool, filled: Path, place: Path) -> None:
    def use(location: Path, call: Call, spare: int) -> str:
        with LocalCasStore(location) as store:
            if is_warm:
                store.write_file("kept/warm", b"w" * 9_000)
                store.read_file("kept/large")
            with few_descriptors(spare):
                said = outcome(lambda: call(store))
            expect_usable(store)
        return said

    refused = succeeded = 0
    for number, (name, call) in enumerate(CALLS.items()):
        for spare in range(6):
            location = Path(shutil.copytree(filled, place / f"{number}-{spare}"))
            said = in_child(lambda: use(location, call, spare))  # noqa: B023  # done before they change
            shutil.rmtree(location)
            refused += said != "ok"
            succeeded += said == "ok"
            assert said in ("ok", "UnavailableError", "StorageError"), (name, spare, said)
    assert min(refused, succeeded) > 20


def test_a_store_opens_or_says_that_descriptors_are_too_few(filled: Path, place: Path) -> None:
    def use(location: Path, spare: int) -> str:
        before = len(os.listdir("/proc/self/fd"))
        with few_descriptors(spare):
            said = outcome(lambda: LocalCasStore(location).close())
        assert len(os.listdir("/proc/self/fd")) == before, "an opening that failed keeps descriptors"
        with LocalCasStore(location) as store:
            expect_usable(store)
        return said

    said = []
    for spare in range(14):
        location = Path(shutil.copytree(filled, place / str(spare)))
        said.append(in_child(lambda: use(location, spare)))  # noqa: B023
    assert said[0] != "ok"
    assert said[-1] == "ok"
