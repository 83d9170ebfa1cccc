"""The index out into a real directory: what comes out, and which targets are taken."""

from __future__ import annotations

import os
import resource
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from agent_world_distfs import (
    CheckoutReport,
    InvalidInputError,
    LocalCasStore,
    NotFoundError,
    PathNotFoundError,
)
from trees import CONTENTS, DEPTH, LARGE, files_of, interrupt_at, looks, once, write_all

pytestmark = pytest.mark.usefixtures("no_descriptor_is_left_open")


# --- what comes out ---------------------------------------------------------------------------


def test_the_directory_holds_what_the_index_holds(either_store: LocalCasStore, place: Path) -> None:
    write_all(either_store, CONTENTS)
    report = either_store.checkout(place / "out")
    assert report == CheckoutReport(len(CONTENTS), sum(map(len, CONTENTS.values())), None)
    assert files_of(place / "out") == CONTENTS
    assert os.listdir(place) == ["out"]


def test_what_goes_out_comes_back_in_unchanged(store: LocalCasStore, place: Path) -> None:
    write_all(store, CONTENTS)
    before = store.export_file_index_manifest()
    store.checkout(place / "out")
    report = store.import_tree(place / "out", mirror=True)
    assert (report.added, report.changed, report.removed) == (0, 0, 0)
    assert store.export_file_index_manifest() == before


def test_a_prefix_is_a_directory(store: LocalCasStore, place: Path) -> None:
    write_all(store, {"docs/a": b"1", "docs/sub/b": b"2", "docs2/c": b"3", "docs": b"4", "docs-": b"5"})
    for number, prefix in enumerate(("docs", "docs/", "./docs//")):
        assert store.checkout(place / str(number), prefix).total_files == 2
        assert files_of(place / str(number)) == {"a": b"1", "sub/b": b"2"}


@pytest.mark.parametrize("prefix", ["doc", "docs/a", "docs2", "docs/sub/b/c"])
def test_a_prefix_that_has_nothing_below_it_is_refused(
    store: LocalCasStore, place: Path, prefix: str
) -> None:
    write_all(store, {"docs/a": b"1", "docs/sub/b": b"2"})
    with pytest.raises(PathNotFoundError) as raised:
        store.checkout(place / "out", prefix)
    assert raised.value.path == f"{prefix}/"
    assert os.listdir(place) == []


def test_an_empty_index_is_an_empty_directory(store: LocalCasStore, place: Path) -> None:
    assert store.checkout(place / "out") == CheckoutReport(0, 0)
    assert os.listdir(place / "out") == []


def test_files_have_the_times_of_the_index(store: LocalCasStore, place: Path) -> None:
    times = {"past": -1_500, "zero": 0, "now": 1_700_000_000_123}
    far = {"far": 2**63 - 1, "long ago": -(2**63)}
    blob = store.put_bytes(b"x")

    def name(tx: Any) -> None:
        row = tx.find_brief(blob)
        for path, time in (times | far).items():
            tx.set_file(path, row, time)

    store._catalog.write(name)
    store.checkout(place / "out")
    for path, time in times.items():
        assert (place / "out" / path).stat().st_mtime_ns == time * 1_000_000
    assert set(files_of(place / "out")) == {*times, *far}


def test_modes_are_what_the_umask_leaves(store: LocalCasStore, place: Path) -> None:
    write_all(store, {"dir/file": b""})
    for umask in (0o000, 0o027, 0o077):
        before = os.umask(umask)
        try:
            store.checkout(place / f"{umask}")
        finally:
            os.umask(before)
        modes = [
            stat.S_IMODE((place / f"{umask}" / path).stat().st_mode) for path in (".", "dir", "dir/file")
        ]
        assert modes == [0o777 & ~umask, 0o777 & ~umask, 0o666 & ~umask]


def test_progress_counts_files(store: LocalCasStore, place: Path) -> None:
    write_all(store, CONTENTS)
    seen: list[tuple[int, int | None]] = []
    store.checkout(place / "out", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, len(CONTENTS)) for done in range(1, len(CONTENTS) + 1)]


def test_a_deep_path_needs_few_descriptors(store: LocalCasStore, place: Path) -> None:
    store.write_file("a", b"a")
    path = "d/" * DEPTH + "f"
    store.write_file(path, b"deep")
    store.checkout(place / "warm")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/dev/fd"))) + 16, before[1]))
    try:
        store.checkout(place / "out")
        with pytest.raises(KeyboardInterrupt):
            store.checkout(place / "other", progress=interrupt_at(2))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert (place / "out" / path).read_bytes() == b"deep"
    assert sorted(os.listdir(place)) == ["out", "warm"]


def test_everything_is_durable_before_it_gets_its_name(
    store: LocalCasStore, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_all(store, {"a": b"a", "dir/sub/b": LARGE, "other/c": b"c"})
    (place / "out" / "old").mkdir(parents=True)
    events: list[object] = []
    genuine_fsync, genuine_rename = os.fsync, os.rename

    def fsync(descriptor: int) -> None:
        events.append(os.fstat(descriptor).st_ino)
        genuine_fsync(descriptor)

    def rename(source: Any, target: Any, **options: Any) -> None:
        genuine_rename(source, target, **options)
        events.append(target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    store.checkout(place / "out", replace=True)
    wanted = {path.stat().st_ino for path in (place / "out", *(place / "out").rglob("*"))}
    named = events.index(b"out")
    assert wanted <= set(events[: named - 1])
    assert place.stat().st_ino in events[named:]


# --- the target -------------------------------------------------------------------------------


def test_an_empty_directory_may_be_the_target(
    store: LocalCasStore, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_all(store, CONTENTS)
    (place / "out").mkdir()
    monkeypatch.chdir(place)
    assert store.checkout("out", replace=True).previous is None
    assert files_of(place / "out") == CONTENTS


def test_a_target_that_is_not_empty_is_refused(store: LocalCasStore, place: Path) -> None:
    write_all(store, CONTENTS)
    (place / "out").mkdir()
    (place / "out" / "mine").write_bytes(b"mine")
    with pytest.raises(InvalidInputError, match="out is not empty"):
        store.checkout(place / "out", progress=lambda *_: pytest.fail("a file was written"))
    assert files_of(place) == {"out/mine": b"mine"}


def test_replacing_keeps_what_was_there(store: LocalCasStore, place: Path) -> None:
    write_all(store, CONTENTS)
    (place / "out").mkdir()
    (place / "out" / "mine").write_bytes(b"mine")
    report = store.checkout(place / "out", replace=True)
    assert report.previous is not None
    assert report.previous.startswith(f"{place}/out.before-")
    assert files_of(Path(report.previous)) == {"mine": b"mine"}
    assert files_of(place / "out") == CONTENTS
    assert sorted(os.listdir(place)) == sorted(["out", Path(report.previous).name])


@pytest.mark.parametrize("is_empty", [True, False])
def test_a_private_directory_stays_private(store: LocalCasStore, place: Path, is_empty: bool) -> None:
    write_all(store, CONTENTS)
    (place / "out").mkdir(mode=0o700)
    if not is_empty:
        (place / "out" / "mine").write_bytes(b"mine")
    store.checkout(place / "out", replace=True)
    assert stat.S_IMODE((place / "out").stat().st_mode) == 0o700
    assert files_of(place / "out") == CONTENTS


def test_a_directory_that_may_not_be_written_gets_its_mode_at_the_end(
    store: LocalCasStore, place: Path
) -> None:
    write_all(store, CONTENTS)
    (place / "out").mkdir(mode=0o555)
    store.checkout(place / "out")
    assert stat.S_IMODE((place / "out").stat().st_mode) == 0o555
    assert files_of(place / "out") == CONTENTS
    (place / "out").chmod(0o755)


@pytest.mark.parametrize("is_empty", [True, False])
def test_who_is_not_root_replaces_a_directory_that_may_not_be_written(
    store: LocalCasStore, place: Path, is_empty: bool
) -> None:
    write_all(store, CONTENTS)
    store.checkout(place / "before")  # all is imported by then: another user may not read the modules
    user = 65_534 if os.geteuid() == 0 else os.geteuid()
    with tempfile.TemporaryDirectory() as own:  # who is not root may not enter those of the tests
        os.chown(own, user, -1)
        out = Path(own, "out")
        out.mkdir()
        if not is_empty:
            (out / "mine").write_bytes(b"mine")
        out.chmod(0o555)
        os.chown(out, user, -1)
        before = os.geteuid()
        os.seteuid(user)
        try:
            with LocalCasStore(Path(own, "store")) as theirs:
                write_all(theirs, CONTENTS)
                theirs.checkout(out, replace=True)
        finally:
            os.seteuid(before)
        assert stat.S_IMODE(out.stat().st_mode) == 0o555
        assert files_of(out) == CONTENTS
        assert not [name for name in os.listdir(own) if "staging" in name]
        for directory in Path(own).glob("out*"):
            directory.chmod(0o755)


def test_a_mount_point_is_refused_before_the_first_byte(store: LocalCasStore) -> None:
    write_all(store, CONTENTS)
    mounted = "/proc" if sys.platform == "linux" else "/dev"
    with pytest.raises(InvalidInputError, match=f"{mounted} is a mount point"):
        store.checkout(mounted, replace=True, progress=lambda *_: pytest.fail("a file was written"))


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("kind", ["file", "symlink", "dangling symlink", "fifo"])
def test_a_target_that_is_no_directory_is_refused(
    store: LocalCasStore, place: Path, kind: str, replace: bool
) -> None:
    write_all(store, CONTENTS)
    (place / "elsewhere").mkdir()
    match kind:
        case "file":
            (place / "out").write_bytes(b"mine")
        case "symlink":
            (place / "out").symlink_to("elsewhere")
        case "dangling symlink":
            (place / "out").symlink_to("nowhere")
        case "fifo":
            os.mkfifo(place / "out")
    before = looks(place / "out")
    with pytest.raises(InvalidInputError, match=r"out is (not a directory|a symlink)"):
        store.checkout(place / "out", replace=replace)
    assert looks(place / "out") == before
    assert sorted(os.listdir(place)) == ["elsewhere", "out"]
    assert os.listdir(place / "elsewhere") == []


@pytest.mark.parametrize("replace", [False, True])
def test_the_current_directory_is_refused(
    store: LocalCasStore, place: Path, replace: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another directory would take its name, and whoever is in it be nowhere.
    write_all(store, CONTENTS)
    monkeypatch.chdir(place)
    for target in (".", place, f"../{place.name}"):
        with pytest.raises(InvalidInputError, match="is the current directory"):
            store.checkout(target, replace=replace)
    assert os.listdir(place) == []
    store.checkout("out")
    assert files_of(place / "out") == CONTENTS


def test_a_directory_above_the_target_may_be_a_symlink(store: LocalCasStore, place: Path) -> None:
    write_all(store, CONTENTS)
    (place / "real").mkdir()
    (place / "link").symlink_to("real")
    store.checkout(place / "link" / "out")
    assert files_of(place / "real" / "out") == CONTENTS


def test_a_target_that_has_no_place_is_refused(store: LocalCasStore, place: Path) -> None:
    with pytest.raises(NotFoundError) as raised:
        store.checkout(place / "nothing" / "out")
    assert raised.value.filename == str(place / "nothing")
    (place / "file").write_bytes(b"")
    with pytest.raises(InvalidInputError):
        store.checkout(place / "file" / "out")
    for bad in ("", "a\0b", "/"):
        with pytest.raises(InvalidInputError):
            store.checkout(bad, replace=True)
    assert os.listdir(place) == ["file"]


@pytest.mark.parametrize("target", [".", "out", "blobs/out", "..", "../..", "../aside", "../aside/out"])
def test_the_store_itself_is_refused_above_and_below(
    store: LocalCasStore, location: Path, tmp_path: Path, target: str
) -> None:
    write_all(store, CONTENTS)
    (tmp_path / "aside").symlink_to(location)
    before = sorted(os.listdir(location))
    with pytest.raises(InvalidInputError):
        store.checkout(location / target, replace=True)
    assert sorted(os.listdir(location)) == before
    assert store.read_file("a.txt") == b"a"


def test_what_appears_at_the_target_meanwhile_is_not_overwritten(store: LocalCasStore, place: Path) -> None:
    write_all(store, CONTENTS)

    def appear_as_directory() -> None:
        (place / "out").mkdir()
        (place / "out" / "mine").write_bytes(b"mine")

    with pytest.raises(InvalidInputError, match="not empty"):
        store.checkout(place / "out", progress=once(appear_as_directory))
    assert files_of(place) == {"out/mine": b"mine"}
    for replace in (False, True):
        with pytest.raises(InvalidInputError, match="not a directory"):
            store.checkout(
                place / "other", replace=replace, progress=once(lambda: (place / "other").write_bytes(b"f"))
            )
        assert files_of(place) == {"out/mine": b"mine", "other": b"f"}
        (place / "other").unlink()
