"""What the tests share: stores, child processes, small disks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.register_assert_rewrite("agent_world_distfs.testing.contracts")

from agent_world_distfs import HashAlgorithm, LocalCasStore  # noqa: E402  # after the line above
from agent_world_distfs.catalog import commit_queue  # noqa: E402
from children import Child, MakeDisk, Start, cannot_run, forbid_skips, require_strace  # noqa: E402
from crowds import Crowd  # noqa: E402
from trees import CONTENTS, plant  # noqa: E402

if TYPE_CHECKING:
    from fault_points import Zygote

# That this is CI concerns these tests alone: pytest, where it knows, shows the whole difference of what
# should be equal, and for two catalogs that takes minutes.
if os.environ.pop("CI", None) == "true":
    forbid_skips()


@pytest.fixture(autouse=True)
def forget_exceptions() -> Iterator[None]:
    """Where a trace function has raised, the interpreter may go on to handle an earlier exception for good.

    All that was in its frames would live on, such as a store with a connection on loan: each fork of a later
    test would wait for that to come back.
    """
    yield
    error = sys.exc_info()[1]
    while error is not None:
        error.__traceback__ = None
        error = error.__context__


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> dict[HashAlgorithm, Path]:
    """An empty store of each algorithm: copying one costs a fraction of making one."""
    made = {}
    for algorithm in HashAlgorithm:
        made[algorithm] = tmp_path_factory.mktemp("pristine") / "store"
        LocalCasStore(made[algorithm], hash_algorithm=algorithm).close()
    return made


@pytest.fixture(params=list(HashAlgorithm), ids=lambda algorithm: algorithm.value)
def algorithm(request: pytest.FixtureRequest) -> HashAlgorithm:
    """Either algorithm."""
    chosen: HashAlgorithm = request.param
    return chosen


@pytest.fixture
def location(tmp_path: Path, pristine: dict[HashAlgorithm, Path]) -> Path:
    """Where an empty store is (BLAKE3)."""
    return shutil.copytree(pristine[HashAlgorithm.BLAKE3], tmp_path / "store")


@pytest.fixture
def store(location: Path) -> Iterator[LocalCasStore]:
    """An empty store (BLAKE3)."""
    with LocalCasStore(location) as store:
        yield store


@pytest.fixture
def crowd(store: LocalCasStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Crowd]:
    """Threads that are to share a commit of ``store``, which has one file; however slow the machine is."""
    monkeypatch.setattr(commit_queue, "MAX_S", 60.0)
    store.write_file("first", b"1")
    crowd = Crowd(store)
    yield crowd
    crowd.end()


@pytest.fixture
def either_store(
    tmp_path: Path, pristine: dict[HashAlgorithm, Path], algorithm: HashAlgorithm
) -> Iterator[LocalCasStore]:
    """An empty store of each algorithm in turn."""
    with LocalCasStore(shutil.copytree(pristine[algorithm], tmp_path / algorithm.value)) as store:
        yield store


@pytest.fixture
def kept(store: LocalCasStore) -> LocalCasStore:
    """A store that keeps its history."""
    store.set_setting("keep_history", True)
    return store


@pytest.fixture
def other_store(tmp_path: Path, pristine: dict[HashAlgorithm, Path]) -> Iterator[LocalCasStore]:
    """A second empty store (BLAKE3)."""
    with LocalCasStore(shutil.copytree(pristine[HashAlgorithm.BLAKE3], tmp_path / "other")) as store:
        yield store


@pytest.fixture
def no_descriptor_is_left_open() -> Iterator[None]:
    """Fails the test after which more is open than before."""
    before = len(os.listdir("/dev/fd"))
    yield
    assert len(os.listdir("/dev/fd")) <= before


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with a bit of everything, to go into a store."""
    return plant(tmp_path / "tree", CONTENTS)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty directory, for what goes out of a store."""
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts child processes."""
    children: list[Child] = []

    def start(program: str, *arguments: object, **options: Any) -> Child:
        children.append(Child(program, *arguments, **options))
        return children[-1]

    yield start
    for child in children:
        child.end()


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """Runs operations under strace, with faults."""
    from fault_points import Zygote

    require_strace()
    with Zygote() as running:
        yield running


@pytest.fixture(scope="module")
def fast_place() -> Iterator[Path]:
    """A directory of the module's own, in memory: a kill loses no page of the system's."""
    from crowd import place_for

    with place_for("proofs", in_memory=True) as directory:
        yield directory


@pytest.fixture
def make_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeDisk]:
    """Makes small file systems in memory (root only)."""
    mounted: list[Path] = []

    def make(size_bytes: int) -> Path:
        if os.geteuid() != 0:
            cannot_run("only root can mount a small file system")
        place = tmp_path_factory.mktemp("disk")
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "none", str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            cannot_run(f"no file system could be mounted: {done.stderr.strip()}")
        mounted.append(place)
        return place

    yield make
    for place in mounted:
        subprocess.run(["umount", "--lazy", place], check=True)
