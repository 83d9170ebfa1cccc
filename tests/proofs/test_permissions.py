"""Permissions: whoever may not do something is told so by one of our errors, and nothing is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from forked import in_child
from limited import CALLS, expect_usable, make_filled, outcome

from agent_world_distfs import LocalCasStore
from calls import READS, Call, fill
from children import cannot_run

pytestmark = pytest.mark.proof

NOBODY = 65534


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_filled(tmp_path_factory.mktemp("filled") / "store")


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that any user may enter, as those above it: the directories of pytest are private."""
    with tempfile.TemporaryDirectory(prefix="distfs-limits-") as place:
        os.chmod(place, 0o755)
        yield Path(place)


def _place_for(user: int, open_place: Path) -> Path:
    place = open_place / "place"
    place.mkdir()
    os.chown(place, user, user)
    return place


@pytest.mark.parametrize("user", [0, NOBODY], ids=["root", "nobody"])
@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o777], ids=lambda mask: f"{mask:03o}")
def test_any_umask_gives_a_store_or_an_error_of_ours(mask: int, user: int, open_place: Path) -> None:
    if os.geteuid() != 0:
        cannot_run("only root can be another user")

    def use(location: Path) -> str:
        _become(user)
        os.umask(mask)
        said = outcome(lambda: _fill_and_look(location))
        os.umask(0o022)
        return said

    place = _place_for(user, open_place)
    said = in_child(lambda: use(place / "store"))
    assert said == "ok" or (mask == 0o777 and user != 0 and said == "StorageReadOnlyError")
    modes = {path: path.lstat().st_mode & 0o777 for path in (place / "store").rglob("*")}
    assert not {path: oct(mode) for path, mode in modes.items() if mode & mask}
    if said == "ok":
        with LocalCasStore(place / "store") as store:
            assert store.audit_file_index(verify=True).is_sound()


def test_a_store_is_made_and_opened_in_a_directory_that_may_only_be_entered(open_place: Path) -> None:
    if os.geteuid() != 0:
        cannot_run("only root can be another user")
    place = _place_for(NOBODY, open_place)
    (place / "closed").mkdir()
    (place / "closed").chmod(0o733)  # as a shared place for what others are not to see

    def use() -> str:
        _become(NOBODY)
        return outcome(lambda: _fill_and_look(place / "closed" / "store"))

    assert in_child(use) == "ok"


def test_users_of_one_group_share_a_store(open_place: Path) -> None:
    if os.geteuid() != 0:
        cannot_run("only root can be other users")
    place = open_place / "shared"
    place.mkdir()
    os.chown(place, NOBODY, NOBODY)
    place.chmod(0o2775)

    def use(user: int, work: Callable[[LocalCasStore], object]) -> str:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(user)
        os.umask(0o002)
        with LocalCasStore(place / "store") as store:
            return outcome(lambda: work(store))

    def read_and_change(store: LocalCasStore) -> None:
        assert store.audit_file_index(verify=True).is_sound()
        store.update_file("n", lambda content: (content or b"") + b"x")
        store.write_file("large", bytes(100_000 + len(store.read_file("n"))))
        store.prune_orphan_blobs()

    works: list[Callable[[LocalCasStore], object]] = [fill, LocalCasStore.list_files, read_and_change]
    for number, work in enumerate([*works, read_and_change, read_and_change]):
        user = NOBODY - number % 2
        assert in_child(lambda: use(user, work)) == "ok", number  # noqa: B023  # done before they change
    modes = {path: path.lstat().st_mode & 0o777 for path in (place / "store").rglob("*")}
    assert {path: oct(mode) for path, mode in modes.items() if mode & 0o664 != 0o664} == {}


def _fill_and_look(location: Path) -> None:
    with LocalCasStore(location) as store:
        fill(store)
    with LocalCasStore(location) as store:
        assert store.audit_file_index(verify=True).is_sound()


def _become(user: int) -> None:
    if user:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)


LOCKS = ("gate", "turnstile", "handles")
PARTS = (
    ".",
    "blobs",
    "tmp",
    "locks",
    "catalog.db",
    "reserve",
    "locks/gate",
    "locks/turnstile",
    "locks/handles",
)


def _use_all(location: Path, user: int) -> dict[str, str]:
    """Every call on a store that may not be written in a part; opening may be refused already."""
    _become(user)
    said = {}
    for read_only in (True, False):
        for name, call in CALLS.items():

            def use(call: Call = call, read_only: bool = read_only) -> None:
                with LocalCasStore(location, read_only=read_only, lock_timeout_s=2) as store:
                    call(store)

            said[f"{name}, {read_only=}"] = outcome(use)
    return said


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_nobody_may_change_is_told(part: str, filled: Path, tmp_path: Path) -> None:
    location = Path(shutil.copytree(filled, tmp_path / "store"))
    done = subprocess.run(["chattr", "+i", location / part], capture_output=True, text=True, check=False)
    if done.returncode:
        cannot_run(f"nothing can be made immutable here: {done.stderr.strip()}")
    try:
        said = in_child(lambda: _use_all(location, 0))
    finally:
        subprocess.run(["chattr", "-i", location / part], check=True)
    assert {how for name, how in said.items() if "read_only=True" in name and "reading" in name} <= {"ok"}
    with LocalCasStore(location) as store:
        expect_usable(store)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_a_user_may_not_write_is_told(part: str, filled: Path, open_place: Path) -> None:
    if os.geteuid() != 0:
        cannot_run("only root can be another user")
    place = _place_for(NOBODY, open_place)
    location = Path(shutil.copytree(filled, place / "store"))
    for path in [location, *location.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    (location / part).chmod(0o555 if (location / part).is_dir() else 0o444)
    said = in_child(lambda: _use_all(location, NOBODY))
    assert all(said[f"{name}, read_only=True"] == "ok" for name in READS), said
    (location / part).chmod(0o755)
    with LocalCasStore(location) as store:
        expect_usable(store)
