"""A checkout that fails, or is killed anywhere, leaves the target as it was or as it was to be."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent_world_distfs import HashAlgorithm, LocalCasStore, StorageFullError, StorageIOError, restore_backup
from children import MakeDisk, Start
from killing import killed_at_lines
from trees import CONTENTS, LARGE, files_of, interrupt_at, write_all

pytestmark = pytest.mark.usefixtures("no_descriptor_is_left_open")


@pytest.mark.parametrize("number", [1, len(CONTENTS)])
def test_interrupted_it_leaves_nothing_and_the_target_as_it_was(
    store: LocalCasStore, place: Path, number: int
) -> None:
    write_all(store, CONTENTS)
    (place / "out").mkdir()
    (place / "out" / "mine").write_bytes(b"mine")
    with pytest.raises(KeyboardInterrupt):
        store.checkout(place / "out", replace=True, progress=interrupt_at(number))
    assert files_of(place) == {"out/mine": b"mine"}
    write_all(store, dict.fromkeys(CONTENTS, b"other"))
    store.prune_orphan_blobs()
    assert store.audit_file_index().is_clean()  # nothing is leased any more


FAILURES = [KeyboardInterrupt(), OSError(errno.EIO, os.strerror(errno.EIO))]


@pytest.mark.parametrize("failure", FAILURES, ids=["interrupt", "error"])
@pytest.mark.parametrize(
    ("number", "is_late"),
    [(1, False), (2, False), (2, True), (3, False), (3, True)],
    ids=["at once", "before the old one goes", "after it", "before the new one comes", "after it came"],
)
def test_when_a_rename_fails_the_old_one_is_back(
    store: LocalCasStore,
    place: Path,
    number: int,
    is_late: bool,
    failure: BaseException,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_all(store, {"new": b"new"})
    (place / "out").mkdir()
    (place / "out" / "mine").write_bytes(b"mine")
    calls, genuine = [0], os.rename

    def rename(*arguments: Any, **options: Any) -> None:
        calls[0] += 1
        if calls[0] == number and not is_late:
            raise failure
        genuine(*arguments, **options)
        if calls[0] == number:
            raise failure

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises((KeyboardInterrupt, StorageIOError)):
        store.checkout(place / "out", replace=True)
    if (number, is_late) == (3, True):  # it was done
        (previous,) = place.glob("out.before-*")
        assert files_of(place) == {"out/new": b"new", f"{previous.name}/mine": b"mine"}
    else:
        assert files_of(place) == {"out/mine": b"mine"}
        assert os.listdir(place) == ["out"]


def test_killed_between_the_two_renames_both_are_there(
    store: LocalCasStore, location: Path, place: Path, start: Start
) -> None:
    write_all(store, {"new": b"new"})
    (place / "out").mkdir()
    (place / "out" / "mine").write_bytes(b"mine")
    child = start(
        """
        genuine = os.rename
        def rename(*arguments, **options):
            genuine(*arguments, **options)
            kill_me()
        os.rename = rename
        LocalCasStore(location).checkout(sys.argv[2], replace=True)
        """,
        location,
        place / "out",
    )
    assert child.wait() == -signal.SIGKILL
    (previous,), (staging,) = place.glob("out.before-*"), place.glob("out.staging-*")
    assert files_of(previous) == {"mine": b"mine"}
    assert files_of(staging) == {"tree/new": b"new"}
    assert not (place / "out").exists()
    store.checkout(place / "out")
    assert files_of(place / "out") == {"new": b"new"}


@pytest.mark.parametrize("name", ["n" * 255, "n" * 238 + "o", "\u00e9" * 127, "n" + "\U0001f600" * 63])
def test_a_target_may_have_as_long_a_name_as_any(
    store: LocalCasStore, place: Path, tmp_path: Path, name: str
) -> None:
    write_all(store, CONTENTS)
    store.snapshot("kept")
    assert store.checkout(place / name).previous is None
    write_all(store, {"new": b"new"})
    assert files_of(place / name) == CONTENTS
    previous = store.checkout(place / name, replace=True).previous
    assert previous is not None
    assert files_of(Path(previous)) == CONTENTS
    assert files_of(place / name) == CONTENTS | {"new": b"new"}
    assert {entry.name for entry in place.iterdir()} == {name, Path(previous).name}
    assert name.startswith(Path(previous).name.partition(".before-")[0])
    for kind in ("fork", "backup", "restored"):
        (tmp_path / kind).mkdir()
    store.fork(tmp_path / "fork" / name, "kept")
    store.backup(tmp_path / "backup" / name)
    restore_backup(tmp_path / "backup" / name, tmp_path / "restored" / name)
    for kind in ("fork", "backup", "restored"):
        with LocalCasStore(tmp_path / kind / name, create=False) as made:
            assert made.audit_file_index(verify=True).is_clean()
            assert [entry.name for entry in (tmp_path / kind).iterdir()] == [name]


def test_a_full_disk_leaves_nothing(store: LocalCasStore, make_disk: MakeDisk) -> None:
    disk = make_disk(1 << 20)
    write_all(store, {f"dir/{number}": os.urandom(100_000) for number in range(20)})
    (disk / "out").mkdir()
    (disk / "out" / "mine").write_bytes(b"mine")
    with pytest.raises(StorageFullError):
        store.checkout(disk / "out", replace=True)
    assert files_of(disk) == {"out/mine": b"mine"}


def test_a_store_on_a_full_disk_can_be_checked_out_elsewhere(
    make_disk: MakeDisk, pristine: dict[HashAlgorithm, Path], place: Path
) -> None:
    disk = make_disk(4 << 20)
    with LocalCasStore(shutil.copytree(pristine[HashAlgorithm.BLAKE3], disk / "store")) as store:
        write_all(store, CONTENTS)
        with pytest.raises(OSError, match="No space"):
            (disk / "filler").write_bytes(bytes(8 << 20))
        store.checkout(place / "out")
        assert files_of(place / "out") == CONTENTS


def test_killed_anywhere_the_target_is_the_old_or_the_new_and_it_can_be_run_again(
    store: LocalCasStore, location: Path, place: Path
) -> None:
    contents = {"a": b"a", "dir/large": LARGE, "z": b"z"}
    write_all(store, contents)
    store.close()
    old = {"mine": b"mine"}

    def prepare() -> Callable[[], object]:
        shutil.rmtree(place)
        (place / "out").mkdir(parents=True)
        (place / "out" / "mine").write_bytes(b"mine")
        return run

    def run() -> None:
        with LocalCasStore(location) as mine:
            mine.checkout(place / "out", replace=True)

    for _ in killed_at_lines(prepare, 47):
        left = {path.name.partition(".")[2].partition("-")[0]: files_of(path) for path in place.iterdir()}
        target, previous = left.get(""), left.get("before")
        assert (target, previous) in [(old, None), (None, old), (contents, old)]
        assert left.keys() <= {"", "before", "staging"}
        with LocalCasStore(location) as again:
            again.checkout(place / "out", replace=True)
            assert files_of(place / "out") == contents
            assert again.audit_file_index(verify=True).is_clean()
