"""The index out into a real directory: whole, or not at all, and never a byte to elsewhere."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import stat
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent_world_distfs import (
    BlobHashMismatchError,
    BlobMissingError,
    CheckoutReport,
    HashAlgorithm,
    InvalidInputError,
    LocalCasStore,
    NotFoundError,
    PathNotFoundError,
    StorageError,
    StorageFullError,
    StorageIOError,
    UnavailableError,
    WorldError,
)
from agent_world_distfs.engine.file_spool import FileSpool
from agent_world_distfs.operations.tree_out import kept, names
from children import MakeDisk, Start
from killing import killed_at_lines

LARGE = bytes(range(256)) * 200
"""More than is stored inline."""

DEPTH = 500

CONTENTS = {
    "a.txt": b"a",
    "empty": b"",
    "docs/sub/large.bin": LARGE,
    "docs/sub/inline-at-most": b"i" * 8192,
    "docs-and/more": b"between docs and docs/ as bytes go",
    "docs/z": b"z",
    "文件/é/\x1b[31m \\x:*?": b"any text is a name",
}


def fill(store: LocalCasStore, contents: dict[str, bytes]) -> None:
    for path, data in contents.items():
        store.write_file(path, data)


def files_of(root: Path) -> dict[str, bytes]:
    """What a directory holds; there must be nothing else in it."""
    found = {}
    for path in root.rglob("*"):
        status = path.lstat()
        assert stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
        if stat.S_ISREG(status.st_mode):
            found[path.relative_to(root).as_posix()] = path.read_bytes()
    return found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the targets are."""
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


@pytest.fixture(autouse=True)
def no_descriptor_is_left_open() -> Iterator[None]:
    before = len(os.listdir("/dev/fd"))
    yield
    assert len(os.listdir("/dev/fd")) <= before


def once(work: Callable[[], object]) -> Callable[[int, int | None], None]:
    """Progress that does something after the first file."""

    def progress(done: int, _: int | None) -> None:
        if done == 1:
            work()

    return progress


# --- what comes out ---------------------------------------------------------------------------


def test_the_directory_holds_what_the_index_holds(either_store: LocalCasStore, place: Path) -> None:
    fill(either_store, CONTENTS)
    report = either_store.checkout(place / "out")
    assert report == CheckoutReport(len(CONTENTS), sum(map(len, CONTENTS.values())), None)
    assert files_of(place / "out") == CONTENTS
    assert os.listdir(place) == ["out"]


def test_what_goes_out_comes_back_in_unchanged(store: LocalCasStore, place: Path) -> None:
    fill(store, CONTENTS)
    before = store.export_file_index_manifest()
    store.checkout(place / "out")
    report = store.import_tree(place / "out", mirror=True)
    assert (report.added, report.changed, report.removed) == (0, 0, 0)
    assert store.export_file_index_manifest() == before


def test_a_prefix_is_a_directory(store: LocalCasStore, place: Path) -> None:
    fill(store, {"docs/a": b"1", "docs/sub/b": b"2", "docs2/c": b"3", "docs": b"4", "docs-": b"5"})
    for number, prefix in enumerate(("docs", "docs/", "./docs//")):
        assert store.checkout(place / str(number), prefix).total_files == 2
        assert files_of(place / str(number)) == {"a": b"1", "sub/b": b"2"}


@pytest.mark.parametrize("prefix", ["doc", "docs/a", "docs2", "docs/sub/b/c"])
def test_a_prefix_that_has_nothing_below_it_is_refused(
    store: LocalCasStore, place: Path, prefix: str
) -> None:
    fill(store, {"docs/a": b"1", "docs/sub/b": b"2"})
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
    fill(store, {"dir/file": b""})
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
    fill(store, CONTENTS)
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
    fill(store, {"a": b"a", "dir/sub/b": LARGE, "other/c": b"c"})
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
    fill(store, CONTENTS)
    (place / "out").mkdir()
    monkeypatch.chdir(place)
    assert store.checkout("out", replace=True).previous is None
    assert files_of(place / "out") == CONTENTS


def test_a_target_that_is_not_empty_is_refused(store: LocalCasStore, place: Path) -> None:
    fill(store, CONTENTS)
    (place / "out").mkdir()
    (place / "out" / "mine").write_bytes(b"mine")
    with pytest.raises(InvalidInputError, match="out is not empty"):
        store.checkout(place / "out", progress=lambda *_: pytest.fail("a file was written"))
    assert files_of(place) == {"out/mine": b"mine"}


def test_replacing_keeps_what_was_there(store: LocalCasStore, place: Path) -> None:
    fill(store, CONTENTS)
    (place / "out").mkdir()
    (place / "out" / "mine").write_bytes(b"mine")
    report = store.checkout(place / "out", replace=True)
    assert report.previous is not None
    assert report.previous.startswith(f"{place}/out.before-")
    assert files_of(Path(report.previous)) == {"mine": b"mine"}
    assert files_of(place / "out") == CONTENTS
    assert sorted(os.listdir(place)) == sorted(["out", Path(report.previous).name])


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("kind", ["file", "symlink", "dangling symlink", "fifo"])
def test_a_target_that_is_no_directory_is_refused(
    store: LocalCasStore, place: Path, kind: str, replace: bool
) -> None:
    fill(store, CONTENTS)
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
    before = (place / "out").lstat()
    with pytest.raises(InvalidInputError, match=r"out is (not a directory|a symlink)"):
        store.checkout(place / "out", replace=replace)
    assert (place / "out").lstat() == before
    assert sorted(os.listdir(place)) == ["elsewhere", "out"]
    assert os.listdir(place / "elsewhere") == []


def test_a_directory_above_the_target_may_be_a_symlink(store: LocalCasStore, place: Path) -> None:
    fill(store, CONTENTS)
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
    fill(store, CONTENTS)
    (tmp_path / "aside").symlink_to(location)
    before = sorted(os.listdir(location))
    with pytest.raises(InvalidInputError):
        store.checkout(location / target, replace=True)
    assert sorted(os.listdir(location)) == before
    assert store.read_file("a.txt") == b"a"


def test_what_appears_at_the_target_meanwhile_is_not_overwritten(store: LocalCasStore, place: Path) -> None:
    fill(store, CONTENTS)

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


# --- names ------------------------------------------------------------------------------------


def refusal(store: LocalCasStore, place: Path) -> str:
    """What a checkout says; it must have left nothing, and have started with nothing."""
    with pytest.raises(InvalidInputError) as raised:
        store.checkout(place / "out", progress=lambda *_: pytest.fail("a file was written"))
    assert os.listdir(place) == []
    return str(raised.value)


def test_files_that_are_also_directories_are_all_listed(store: LocalCasStore, place: Path) -> None:
    paths = ["a", "a-b", "a.c/x", "a/b", "a/b/c", "a/b/d", "fine/f", "fine2", "x/y", "x/y!", "x/y/z/deep"]
    fill(store, dict.fromkeys(paths, b""))
    told = refusal(store, place).partition(": ")[2].split("; ")
    assert told == [
        "'a' is a file and the directory of 'a/b'",
        "'a/b' is a file and the directory of 'a/b/c'",
        "'x/y' is a file and the directory of 'x/y/z/deep'",
    ]


def test_a_thousand_problems_are_enough(store: LocalCasStore, place: Path) -> None:
    fill(store, {path: b"" for number in range(1_010) for path in (f"{number}", f"{number}/x")})
    assert refusal(store, place).endswith("; and 10 more")


def test_names_that_are_too_long_for_the_file_system_are_listed(store: LocalCasStore, place: Path) -> None:
    longest = "é" * 127 + "x"
    fill(store, {f"{longest}/{longest}": b"fits"})
    store.checkout(place / "fits")
    assert files_of(place / "fits") == {f"{longest}/{longest}": b"fits"}
    shutil.rmtree(place / "fits")
    fill(store, {f"dir/{longest}y/f": b"", f"dir/{longest}y/g": b"", "z" * 256: b""})
    told = refusal(store, place)
    assert told.count("more than 255 bytes") == 2
    assert f"'dir/{longest}y'" in told


def test_names_that_the_file_system_refuses_are_listed(
    store: LocalCasStore, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, dict.fromkeys(["a:b/c", "dir/con.txt", "dir/what?", "fine/console", "fine/é"], b""))
    genuine = names._touch

    def touch(name: str, directory: int) -> None:
        if set(name) & set(':*?"<>|') or name.startswith("con."):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), name)
        genuine(name, directory)

    monkeypatch.setattr(names, "_touch", touch)
    told = refusal(store, place)
    assert [path in told for path in ("'a:b'", "'dir/con.txt'", "'dir/what?'", "fine")] == [
        True,
        True,
        True,
        False,
    ]


def test_a_disk_that_is_full_when_names_are_tried_is_no_refusal(
    store: LocalCasStore, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, {"ü": b""})
    genuine = names._touch

    def touch(name: str, directory: int) -> None:
        if name == "ü":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
        genuine(name, directory)

    monkeypatch.setattr(names, "_touch", touch)
    with pytest.raises(StorageFullError):
        store.checkout(place / "out")
    assert os.listdir(place) == []


def fold_names(monkeypatch: pytest.MonkeyPatch, fold: Callable[[str], str]) -> None:
    """Let the file system seem to take those names for one that ``fold`` makes equal."""
    monkeypatch.setattr(names, "are_one_name", lambda name, other, _: fold(name) == fold(other))


ALIKE = {
    "Docs/a": b"1",
    "docs/a": b"2",
    "docs/e\u0301": b"3",
    "docs/\u00e9": b"4",
    "same/README": b"5",
    "same/ReadMe": b"6",
    "straße": b"7",
    "strasse": b"8",
}


@pytest.mark.parametrize(
    ("fold", "pairs"),
    [
        (str.lower, [("Docs", "docs"), ("Docs/a", "docs/a"), ("same/README", "same/ReadMe")]),
        (lambda name: unicodedata.normalize("NFC", name), [("docs/e\u0301", "docs/\u00e9")]),
    ],
    ids=["case", "accents"],
)
def test_names_that_the_file_system_takes_for_one_are_listed(
    store: LocalCasStore,
    place: Path,
    fold: Callable[[str], str],
    pairs: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(store, ALIKE)
    fold_names(monkeypatch, fold)
    told = refusal(store, place).partition(": ")[2].split("; ")
    assert told == [f"{one!r} and {other!r} are one name to the file system" for one, other in pairs]


def test_names_that_the_file_system_tells_apart_are_all_written(store: LocalCasStore, place: Path) -> None:
    fill(store, ALIKE)
    descriptor = os.open(place, os.O_RDONLY)
    folds = any(names.are_one_name(*pair, descriptor) for pair in [("a", "A"), ("\u00e9", "e\u0301")])
    os.close(descriptor)
    assert os.listdir(place) == []
    if folds:
        refusal(store, place)
    else:
        store.checkout(place / "out")
        assert files_of(place / "out") == ALIKE


def test_names_are_tried_by_what_the_file_system_does(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "known").write_bytes(b"")
    descriptor = os.open(place, os.O_RDONLY)
    genuine = os.stat

    def stat_folding(path: Any, **options: Any) -> os.stat_result:
        return genuine(path.lower() if isinstance(path, bytes) else path, **options)

    monkeypatch.setattr(os, "stat", stat_folding)
    assert names.are_one_name("a", "A", descriptor)
    assert not names.are_one_name("a", "B", descriptor)
    os.close(descriptor)
    assert os.listdir(place) == ["known"]


# --- beside others ----------------------------------------------------------------------------


def test_what_is_overwritten_and_collected_meanwhile_comes_out_as_it_was(
    store: LocalCasStore, location: Path, place: Path
) -> None:
    contents = {f"{number}": LARGE + bytes([number]) for number in range(5)} | {"small": b"s", "gone": b"g"}
    fill(store, contents)

    def overwrite_all() -> None:
        with LocalCasStore(location) as other:
            fill(other, dict.fromkeys(contents, b"overwritten"))
            other.delete_file("gone")
            assert other.prune_orphan_blobs().pruned_blobs == 0

    store.checkout(place / "out", progress=once(overwrite_all))
    assert files_of(place / "out") == contents
    assert store.prune_orphan_blobs().pruned_blobs == len(contents)
    assert store.audit_file_index(verify=True).is_clean()


def overwrite_after_snapshots(
    monkeypatch: pytest.MonkeyPatch, store: LocalCasStore, contents: dict[str, bytes], times: int
) -> None:
    """Overwrite and collect just when a snapshot was taken and its blobs are not kept yet."""
    left = [times]

    class Spool(FileSpool):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            if left[0]:
                left[0] -= 1
                fill(store, {path: data + bytes([left[0]]) for path, data in contents.items()})
                store.prune_orphan_blobs()

    monkeypatch.setattr(kept, "FileSpool", Spool)


def test_what_is_collected_before_it_can_be_kept_is_taken_from_a_newer_snapshot(
    store: LocalCasStore, other_store: LocalCasStore, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, {"a": LARGE, "b": b"b"})
    overwrite_after_snapshots(monkeypatch, store, {"a": LARGE, "b": b"b"}, times=3)
    store.checkout(place / "out")
    assert files_of(place / "out") == {"a": LARGE + b"\0", "b": b"b\0"}
    overwrite_after_snapshots(monkeypatch, store, {"a": LARGE, "b": b"b"}, times=100)
    with pytest.raises(UnavailableError):
        store.checkout(place / "never")
    assert os.listdir(place) == ["out"]


def test_a_read_only_store_can_be_checked_out_and_is_not_touched(
    store: LocalCasStore, location: Path, place: Path
) -> None:
    fill(store, CONTENTS)
    before = sorted(location.rglob("*"))
    with LocalCasStore(location, read_only=True) as reader:
        reader.checkout(place / "out")
    assert files_of(place / "out") == CONTENTS
    assert sorted(location.rglob("*")) == before


def test_from_a_read_only_store_what_is_collected_meanwhile_is_no_loss_but_no_checkout(
    store: LocalCasStore, location: Path, place: Path
) -> None:
    fill(store, {"a": b"a", "b": LARGE})

    def collect() -> None:
        store.write_file("b", b"other")
        store.prune_orphan_blobs()

    with LocalCasStore(location, read_only=True) as reader:
        with pytest.raises(UnavailableError, match="'b'"):
            reader.checkout(place / "out", progress=once(collect))
        assert os.listdir(place) == []
        reader.checkout(place / "out")
    assert files_of(place / "out") == {"a": b"a", "b": b"other"}


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("damage", ["gone", "rotten", "truncated", "a directory"])
def test_a_file_whose_bytes_are_lost_stops_it(
    store: LocalCasStore, location: Path, place: Path, damage: str, read_only: bool
) -> None:
    fill(store, {"a": b"a", "dir/b": LARGE})
    content_hash = store.hash_bytes(LARGE)
    blob = location / "blobs" / content_hash[:2] / content_hash
    match damage:
        case "gone":
            blob.unlink()
        case "rotten":
            blob.write_bytes(LARGE[:-1] + b"\0")
        case "truncated":
            os.truncate(blob, 100)
        case "a directory":
            blob.unlink()
            blob.mkdir()
    expected: tuple[type[WorldError], ...] = (BlobMissingError,)
    if damage == "rotten":
        expected = (BlobHashMismatchError,)
    elif damage != "gone":
        expected = (WorldError,)
    with LocalCasStore(location, read_only=read_only) as reader, pytest.raises(expected) as raised:
        reader.checkout(place / "out")
    if damage == "gone":
        assert isinstance(raised.value, BlobMissingError)
        assert (raised.value.content_hash, raised.value.path) == (content_hash, "dir/b")
    assert os.listdir(place) == []


# --- attacks on the staging directory ---------------------------------------------------------


def staging_in(place: Path) -> Path:
    (staging,) = place.glob("out.staging-*")
    return staging


def test_the_staging_directory_is_private(store: LocalCasStore, place: Path) -> None:
    fill(store, CONTENTS)
    modes = []
    before = os.umask(0)
    try:
        store.checkout(
            place / "out", progress=once(lambda: modes.append(staging_in(place).stat().st_mode & 0o777))
        )
    finally:
        os.umask(before)
    assert modes == [0o700]


@pytest.mark.parametrize(
    "kind", ["symlink to a file", "symlink to nothing", "file", "hard link", "directory"]
)
def test_a_name_that_somebody_planted_is_not_opened(store: LocalCasStore, place: Path, kind: str) -> None:
    fill(store, {"dir/a": b"a", "dir/b": b"b"})
    victim = place / "victim"
    victim.write_bytes(b"victim")

    def plant() -> None:
        name = staging_in(place) / "tree" / "dir" / "b"
        match kind:
            case "symlink to a file":
                name.symlink_to(victim)
            case "symlink to nothing":
                name.symlink_to(place / "made")
            case "file":
                name.write_bytes(b"planted")
            case "hard link":
                name.hardlink_to(victim)
            case "directory":
                name.mkdir()

    with pytest.raises(InvalidInputError, match="dir/b"):
        store.checkout(place / "out", progress=once(plant))
    assert files_of(place) == {"victim": b"victim"}


def test_a_directory_that_somebody_made_a_symlink_is_not_entered(store: LocalCasStore, place: Path) -> None:
    fill(store, {"dir/a": b"a", "dir/sub/b": b"b", "dir/z": b"z", "other/c": b"c"})
    victim = place / "victim"
    (victim / "sub").mkdir(parents=True)
    (victim / "kept").write_bytes(b"kept")

    def swap_directory() -> None:
        tree = staging_in(place) / "tree"
        (tree / "dir").rename(tree / "moved")
        (tree / "dir").symlink_to(victim)

    with pytest.raises(StorageError):
        store.checkout(place / "out", progress=once(swap_directory))
    assert files_of(place) == {"victim/kept": b"kept"}
    assert os.listdir(place) == ["victim"]


def test_a_directory_that_is_there_already_is_not_used(store: LocalCasStore, place: Path) -> None:
    fill(store, {"a": b"a", "dir/b": b"b"})

    def plant() -> None:
        (staging_in(place) / "tree" / "dir").mkdir()

    with pytest.raises(InvalidInputError, match="'dir'"):
        store.checkout(place / "out", progress=once(plant))
    assert os.listdir(place) == []


def test_cleaning_up_follows_no_symlink(store: LocalCasStore, place: Path) -> None:
    fill(store, {"a": b"a", "b": b"b"})
    (place / "victim").mkdir()
    (place / "victim" / "kept").write_bytes(b"kept")

    def plant_and_fail() -> None:
        (staging_in(place) / "tree" / "link").symlink_to(place / "victim")
        (staging_in(place) / "also").symlink_to(place / "victim")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.checkout(place / "out", progress=once(plant_and_fail))
    assert files_of(place) == {"victim/kept": b"kept"}
    assert os.listdir(place) == ["victim"]


# --- when it fails ----------------------------------------------------------------------------


def interrupt_at(number: int) -> Callable[[int, int | None], None]:
    def progress(done: int, _: int | None) -> None:
        if done == number:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("number", [1, len(CONTENTS)])
def test_interrupted_it_leaves_nothing_and_the_target_as_it_was(
    store: LocalCasStore, place: Path, number: int
) -> None:
    fill(store, CONTENTS)
    (place / "out").mkdir()
    (place / "out" / "mine").write_bytes(b"mine")
    with pytest.raises(KeyboardInterrupt):
        store.checkout(place / "out", replace=True, progress=interrupt_at(number))
    assert files_of(place) == {"out/mine": b"mine"}
    fill(store, dict.fromkeys(CONTENTS, b"other"))
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
    fill(store, {"new": b"new"})
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
    fill(store, {"new": b"new"})
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


def test_a_full_disk_leaves_nothing(store: LocalCasStore, make_disk: MakeDisk) -> None:
    disk = make_disk(1 << 20)
    fill(store, {f"dir/{number}": os.urandom(100_000) for number in range(20)})
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
        fill(store, CONTENTS)
        with pytest.raises(OSError, match="No space"):
            (disk / "filler").write_bytes(bytes(8 << 20))
        store.checkout(place / "out")
        assert files_of(place / "out") == CONTENTS


def test_killed_anywhere_the_target_is_the_old_or_the_new_and_it_can_be_run_again(
    store: LocalCasStore, location: Path, place: Path
) -> None:
    contents = {"a": b"a", "dir/large": LARGE, "z": b"z"}
    fill(store, contents)
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
