"""A real directory into the index: whole, at once, and never a byte from elsewhere."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Self

import pytest

from agent_world_distfs import (
    FileMetadata,
    HashAlgorithm,
    InvalidInputError,
    LocalCasStore,
    NotFoundError,
    PathInvalidError,
    StorageError,
    StorageFullError,
    StorageIOError,
    StorageReadOnlyError,
    TreeImportReport,
    UnavailableError,
)
from agent_world_distfs.engine import directories
from agent_world_distfs.operations import tree_in
from agent_world_distfs.operations.tree_in import carrying, scan
from children import MakeDisk, Start
from killing import killed_at_lines

LARGE = bytes(range(256)) * 200
"""More than is stored inline."""

DEPTH = 500
"""Directories in directories: more than a process may have descriptors where it matters."""

CONTENTS = {
    "a.txt": b"a",
    "empty": b"",
    "docs/sub/large.bin": LARGE,
    "docs/sub/inline-at-most": b"i" * 8192,
    "docs/a-b/c": b"c",
    "文件/é e\u0301/\x1b[31m \\x": b"any text is a name",
}


def plant(root: Path, contents: dict[str, bytes]) -> Path:
    """Make a directory with these files."""
    for path, data in contents.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return plant(tmp_path / "tree", CONTENTS)


@pytest.fixture(autouse=True)
def no_descriptor_is_left_open() -> Iterator[None]:
    before = len(os.listdir("/dev/fd"))
    yield
    assert len(os.listdir("/dev/fd")) <= before


def held(store: LocalCasStore) -> dict[str, bytes]:
    """What the index holds."""
    return {file.path: store.read_file(file.path) for file in store.list_files()}


def times(store: LocalCasStore) -> dict[str, int]:
    return {file.path: file.updated_at_ms for file in store.list_files()}


# --- what comes in ----------------------------------------------------------------------------


def test_the_index_holds_what_the_directory_holds(either_store: LocalCasStore, tree: Path) -> None:
    report = either_store.import_tree(tree)
    total_bytes = sum(map(len, CONTENTS.values()))
    assert report == TreeImportReport(len(CONTENTS), total_bytes, added=len(CONTENTS), changed=0, removed=0)
    assert held(either_store) == CONTENTS
    assert either_store.audit_file_index(verify=True).is_clean()


def test_it_is_laid_over_a_directory_of_the_index(store: LocalCasStore, tmp_path: Path) -> None:
    mine = {"docs/mine": b"m", "docs2/a": b"2", "a": b"1", "docs": b"a file of the same name"}
    for path, data in mine.items():
        store.write_file(path, data)
    tree = plant(tmp_path / "tree", {"a": b"new", "b/c": b"c"})
    for prefix in ("docs", "docs/", "./docs//"):
        store.import_tree(str(tree), prefix)
        assert held(store) == {**mine, "docs/a": b"new", "docs/b/c": b"c"}


def test_what_is_the_same_keeps_its_time_and_is_not_counted(
    store: LocalCasStore, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.import_tree(tree)
    before = times(store)
    (tree / "a.txt").write_bytes(b"changed")
    (tree / "docs" / "new").write_bytes(b"new")
    later = max(before.values()) + 1000
    monkeypatch.setattr(carrying, "now_ms", lambda: later)
    report = store.import_tree(tree)
    assert (report.total_files, report.added, report.changed, report.removed) == (len(CONTENTS) + 1, 1, 1, 0)
    assert times(store) == {**before, "a.txt": later, "docs/new": later}
    assert store.import_tree(tree) == TreeImportReport(report.total_files, report.total_bytes, 0, 0, 0)


def test_times_do_not_go_back_with_the_clock(
    store: LocalCasStore, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write_file("a.txt", b"other")
    before = times(store)["a.txt"]
    monkeypatch.setattr(carrying, "now_ms", lambda: before - 10_000)
    store.import_tree(tree)
    assert times(store)["a.txt"] == before
    assert times(store)["empty"] == before - 10_000


def test_an_empty_directory_adds_nothing(store: LocalCasStore, tmp_path: Path) -> None:
    store.write_file("a", b"a")
    (tmp_path / "empty" / "also").mkdir(parents=True)
    assert store.import_tree(tmp_path / "empty") == TreeImportReport(0, 0, 0, 0, 0)
    assert held(store) == {"a": b"a"}


def test_equal_files_are_stored_once(store: LocalCasStore, location: Path, tmp_path: Path) -> None:
    store.import_tree(plant(tmp_path / "tree", {"a": LARGE, "b/c": LARGE}))
    assert len([path for path in (location / "blobs").rglob("*") if path.is_file()]) == 1


def test_a_large_file_that_is_stored_already_is_not_written_again(
    store: LocalCasStore, location: Path, tmp_path: Path
) -> None:
    tree = plant(tmp_path / "tree", {"a": LARGE})
    store.import_tree(tree)
    (blob,) = [path for path in (location / "blobs").rglob("*") if path.is_file()]
    before = blob.stat().st_ino
    store.import_tree(tree)
    assert blob.stat().st_ino == before


@pytest.mark.parametrize("path", ["docs/sub/large.bin", "elsewhere/large.bin"])
def test_a_rotten_copy_in_the_store_is_healed(
    store: LocalCasStore, location: Path, tree: Path, path: str
) -> None:
    content_hash = store.write_file(path, LARGE).content_hash
    blob = location / "blobs" / content_hash[:2] / content_hash
    blob.write_bytes(b"\0" * len(LARGE))
    store.import_tree(tree)
    assert store.read_file("docs/sub/large.bin") == LARGE


def test_a_deep_directory_needs_few_descriptors(store: LocalCasStore, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    here = os.open(tree, os.O_RDONLY)
    for _ in range(DEPTH):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    store.import_tree(plant(tmp_path / "warm", {"a": b"a"}))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/dev/fd"))) + 16, before[1]))
    try:
        store.import_tree(tree, mirror=True)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert held(store) == {"d/" * DEPTH + "f": b""}


def test_progress_counts_files(store: LocalCasStore, tree: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    store.import_tree(tree, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen, key=lambda step: step[0])
    assert seen[-1] == (len(CONTENTS), len(CONTENTS))
    assert {total for _, total in seen} == {len(CONTENTS)}


# --- what does not ----------------------------------------------------------------------------


def test_what_is_no_regular_file_is_left_out_and_listed(store: LocalCasStore, tmp_path: Path) -> None:
    secret = plant(tmp_path / "outside", {"secret": b"secret"})
    tree = plant(tmp_path / "tree", {"file": b"f", "dir/file": b"g"})
    (tree / "to-a-file").symlink_to(secret / "secret")
    (tree / "to-a-directory").symlink_to(secret)
    (tree / "to-nothing").symlink_to("nothing")
    (tree / "within").symlink_to("file")
    os.mkfifo(tree / "dir" / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree / "socket"))
    expected = ["to-a-file", "to-a-directory", "to-nothing", "within", "dir/fifo", "socket"]
    if os.geteuid() == 0:
        os.mknod(tree / "device", 0o600 | 0o020000, os.makedev(1, 3))
        expected.append("device")
    report = store.import_tree(tree, "x")
    assert report.skipped_paths == tuple(sorted(f"x/{name}" for name in expected))
    assert held(store) == {"x/file": b"f", "x/dir/file": b"g"}


def test_names_that_are_no_text_are_left_out_and_shown_with_escapes(
    store: LocalCasStore, tmp_path: Path
) -> None:
    tree = plant(tmp_path / "tree", {"é": b"kept"})
    for name in (b"\xff", b"a\xe9b", "\ud800".encode("utf-8", "surrogatepass")):
        (tree / os.fsdecode(name)).write_bytes(b"")
    (tree / os.fsdecode(b"dir\xff")).mkdir()
    (tree / os.fsdecode(b"dir\xff") / "below").write_bytes(b"")
    report = store.import_tree(tree)
    assert report.skipped_paths == (r"\xed\xa0\x80", r"\xff", r"a\xe9b", r"dir\xff")
    assert held(store) == {"é": b"kept"}


def test_a_path_that_is_too_long_with_its_prefix_is_left_out(store: LocalCasStore, tmp_path: Path) -> None:
    prefix = "p" * 4090
    tree = plant(tmp_path / "tree", {"short": b"", "longer": b"", "dir/sub/file": b""})
    report = store.import_tree(tree, prefix)
    assert report.skipped_paths == (f"{prefix}/dir/sub", f"{prefix}/longer")
    assert list(held(store)) == [f"{prefix}/short"]


def test_a_store_within_the_directory_is_left_out(
    store: LocalCasStore, other_store: LocalCasStore, tmp_path: Path
) -> None:
    # Reading the files of a store that this process has open would drop its locks.
    tree = plant(tmp_path / "tree", {"file": b"f"})
    (tmp_path / "other").rename(tree / "world")
    assert store.import_tree(tree).skipped_paths == ("world",)
    assert held(store) == {"file": b"f"}
    with pytest.raises(InvalidInputError, match="is a store"):
        store.import_tree(tree / "world")


@pytest.mark.parametrize("place", [".", "blobs", "../", "../..", "link", "../aside"])
def test_the_store_itself_is_refused_above_and_below(
    store: LocalCasStore, location: Path, tmp_path: Path, place: str
) -> None:
    (location / "link").symlink_to(location)
    (tmp_path / "aside").symlink_to(location / "blobs")
    with pytest.raises(InvalidInputError, match="store"):
        store.import_tree(location / place)
    assert store.list_files() == []


# --- mirrors ----------------------------------------------------------------------------------


def test_a_mirror_also_removes_what_the_directory_does_not_have(store: LocalCasStore, tmp_path: Path) -> None:
    for path in ("docs/old", "docs/a", "docs/sub/old", "docs2/kept", "docs", "kept"):
        store.write_file(path, b"old")
    tree = plant(tmp_path / "tree", {"a": b"new", "b": b"new"})
    report = store.import_tree(tree, "docs", mirror=True)
    assert report == TreeImportReport(2, 6, added=1, changed=1, removed=2)
    new, old = b"new", b"old"
    assert held(store) == {"docs": old, "docs/a": new, "docs/b": new, "docs2/kept": old, "kept": old}


def test_a_mirror_of_the_top_is_the_directory(store: LocalCasStore, tree: Path, tmp_path: Path) -> None:
    store.write_file("other", b"")
    assert store.import_tree(tree, mirror=True).removed == 1
    assert held(store) == CONTENTS
    (tree / "a.txt").unlink()
    (tree / "a.txt").symlink_to("empty")
    report = store.import_tree(tree, mirror=True)
    assert (report.removed, report.skipped_paths) == (1, ("a.txt",))
    (tmp_path / "empty").mkdir()
    assert store.import_tree(tmp_path / "empty", mirror=True).removed == len(CONTENTS) - 1
    assert store.list_files() == []


OBSERVE = """
with LocalCasStore(location, create=False) as store:
    say("ready")
    seen = set()
    while not (len(sys.argv) > 2 and os.path.exists(sys.argv[2])):
        seen.add(" ".join(file.path for file in store.list_files()))
    for listing in sorted(seen):
        say(listing)
"""


def test_nobody_sees_half_of_a_mirror(
    store: LocalCasStore, location: Path, tmp_path: Path, start: Start
) -> None:
    odd = plant(tmp_path / "odd", {f"odd-{number}": LARGE for number in range(20)} | {"both": b"odd"})
    even = plant(tmp_path / "even", {f"even-{number}": b"e" for number in range(30)} | {"both": b"even"})
    whole = {" ".join(sorted(path.name for path in tree.iterdir())) for tree in (odd, even)}
    store.import_tree(odd, mirror=True)
    observer = start(OBSERVE, location, tmp_path / "enough")
    assert observer.hear() == "ready"
    for tree in (even, odd) * 10:
        store.import_tree(tree, mirror=True)
    (tmp_path / "enough").touch()
    assert set(observer.hear_all()) == whole


# --- beside others ----------------------------------------------------------------------------


def test_a_collection_beside_it_takes_nothing_of_it(store: LocalCasStore, location: Path, tree: Path) -> None:
    with LocalCasStore(location) as collector:

        def collect(_done: int, _total: int | None) -> None:
            collector.prune_orphan_blobs()

        store.import_tree(tree, progress=collect)
    assert held(store) == CONTENTS
    assert store.audit_file_index(verify=True).is_clean()


def test_what_it_does_not_store_again_is_kept_too(
    store: LocalCasStore, location: Path, tmp_path: Path
) -> None:
    contents = {"a": LARGE + b"a", "b": LARGE + b"b"}
    tree = plant(tmp_path / "tree", contents)
    store.import_tree(tree)

    def overwrite_and_collect(done: int, _: int | None) -> None:
        if done == 1:
            with LocalCasStore(location) as other:
                other.write_file("a", b"other")
                other.prune_orphan_blobs()

    store.import_tree(tree, progress=overwrite_and_collect)
    assert held(store) == contents


class Meddled:
    """A file that somebody changes while it is read: after the first bytes, before the last."""

    def __init__(self, source: BinaryIO, meddle: Callable[[], object]) -> None:
        self._source = source
        self._meddle = meddle

    def read(self, size: int) -> bytes:
        data = self._source.read((size + 1) // 2)
        self._meddle()
        return data + self._source.read(size - len(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()


def meddle_with(
    monkeypatch: pytest.MonkeyPatch, name: bytes, meddle: Callable[[], object], times: int | None = None
) -> None:
    """Change a file each of the first ``times`` times that it is read."""
    left = [times]
    genuine = carrying.open_regular

    def open_regular(directory: int, wanted: bytes) -> Any:
        source = genuine(directory, wanted)
        if wanted != name or left[0] == 0 or source is None:
            return source
        left[0] = None if left[0] is None else left[0] - 1
        return Meddled(source, meddle)

    monkeypatch.setattr(carrying, "open_regular", open_regular)


@pytest.fixture(params=["small", "large", "large and known"])
def changing(request: pytest.FixtureRequest, store: LocalCasStore, tmp_path: Path) -> Path:
    """A file of a directory that is to change while it is read."""
    data = b"0" * (100 if request.param == "small" else 20_000)
    tree = plant(tmp_path / "tree", {"before": b"b", "dir/file": data, "later": b"l"})
    if request.param == "large and known":
        store.write_file("dir/file", data)
    return tree / "dir" / "file"


def rewrite(file: Path) -> None:
    """Other bytes, no more and no fewer; the times show it, however coarse the clock is."""
    with file.open("r+b") as opened:
        was = os.fstat(opened.fileno())
        data = opened.read()
        opened.seek(0)
        opened.write(bytes(byte + 1 for byte in data))
        os.utime(opened.fileno(), ns=(was.st_atime_ns, was.st_mtime_ns + 1000))


CHANGES: dict[str, Callable[[Path], object]] = {
    "rewritten": rewrite,
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"more"),
    "shorter": lambda file: os.truncate(file, file.stat().st_size // 3),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_while_it_is_read_is_read_again(
    store: LocalCasStore, changing: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    meddle_with(monkeypatch, b"file", lambda: CHANGES[change](changing), times=2)
    store.import_tree(changing.parent.parent)
    assert store.read_file("dir/file") == changing.read_bytes()
    assert store.audit_file_index(verify=True).is_sound()


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_never_holds_still_is_not_named_and_nothing_else_is(
    store: LocalCasStore, changing: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = store.list_files()
    meddle_with(monkeypatch, b"file", lambda: CHANGES[change](changing))
    with pytest.raises(UnavailableError, match="dir/file"):
        store.import_tree(changing.parent.parent)
    assert store.list_files() == before
    store.prune_orphan_blobs()
    assert store.audit_file_index(verify=True).is_clean()


def import_scanned(store: LocalCasStore, tree: Path, meanwhile: Callable[[], object]) -> TreeImportReport:
    """Import with something happening between the look at the tree and the reading of it."""
    scanned = tree_in.scan_tree(tree, "", store.location)
    meanwhile()
    return tree_in.import_tree(
        store._catalog, store._files, scanned, options=tree_in.TreeOptions(), progress=None
    )


def becomes(kind: str, place: Path, secret: Path) -> None:
    """Put something else in the place of a file or directory."""
    place.rename(place.with_name("moved"))
    match kind:
        case "symlink":
            place.symlink_to(secret)
        case "fifo":
            os.mkfifo(place)
        case "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(place))
        case "directory":
            place.mkdir()
        case "file":
            place.write_bytes(b"secret")


@pytest.mark.parametrize("kind", ["nothing", "symlink", "fifo", "socket", "directory"])
def test_a_file_that_becomes_something_else_is_not_followed(
    store: LocalCasStore, tree: Path, tmp_path: Path, kind: str
) -> None:
    secret = plant(tmp_path, {"secret": b"secret"}) / "secret"
    with pytest.raises(UnavailableError, match=r"a\.txt"):
        import_scanned(store, tree, lambda: becomes(kind, tree / "a.txt", secret))
    assert store.list_files() == []


@pytest.mark.parametrize("kind", ["nothing", "symlink", "fifo", "file"])
def test_a_directory_that_becomes_something_else_is_not_followed(
    store: LocalCasStore, tree: Path, tmp_path: Path, kind: str
) -> None:
    outside = plant(
        tmp_path / "outside", {"sub/large.bin": b"secret", "sub/inline-at-most": b"", "a-b/c": b""}
    )
    with pytest.raises(UnavailableError, match="docs"):
        import_scanned(store, tree, lambda: becomes(kind, tree / "docs", outside))
    assert store.list_files() == []


def test_a_directory_that_goes_while_the_tree_is_looked_through_is_not_taken_for_empty(
    store: LocalCasStore, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.import_tree(tree)
    genuine = directories.opened_below

    def opened_below(root: int, segments: tuple[bytes, ...]) -> Any:
        if segments == (b"docs",):
            (tree / "docs").rename(tree / "elsewhere")
        return genuine(root, segments)

    monkeypatch.setattr(scan, "opened_below", opened_below)
    with pytest.raises(UnavailableError, match="docs"):
        store.import_tree(tree, mirror=True)
    assert held(store) == CONTENTS


# --- refusals ---------------------------------------------------------------------------------


def test_a_directory_that_is_missing_or_none_is_refused(store: LocalCasStore, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as raised:
        store.import_tree(tmp_path / "nothing")
    assert raised.value.filename == str(tmp_path / "nothing")
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "dangling").symlink_to("nothing")
    with pytest.raises(InvalidInputError, match="not a directory"):
        store.import_tree(tmp_path / "file")
    with pytest.raises(NotFoundError):
        store.import_tree(tmp_path / "dangling")
    for bad in ("", "a\0b"):
        with pytest.raises(InvalidInputError):
            store.import_tree(bad)
    with pytest.raises(TypeError):
        store.import_tree(7)  # type: ignore[arg-type]


@pytest.mark.parametrize("prefix", ["/docs", "..", "a/../b", ".", "a\0", "\ud800", "p" * 4097])
def test_a_prefix_that_is_no_directory_of_the_index_is_refused(
    store: LocalCasStore, tree: Path, prefix: str
) -> None:
    with pytest.raises(PathInvalidError):
        store.import_tree(tree, prefix)
    assert store.list_files() == []


def test_a_directory_may_be_named_through_a_symlink(store: LocalCasStore, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tree)
    store.import_tree(tmp_path / "link")
    assert held(store) == CONTENTS


REFUSED = {errno.EACCES: StorageError, errno.EIO: StorageIOError, errno.EMFILE: UnavailableError}


@pytest.mark.parametrize("code", REFUSED)
@pytest.mark.parametrize("name", [b"sub", b"large.bin"])
def test_what_cannot_be_read_is_refused_by_its_path(
    store: LocalCasStore, tree: Path, name: bytes, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = os.open

    def refuse(path: Any, *arguments: Any, **options: Any) -> int:
        if path == name:
            raise OSError(code, os.strerror(code), path)
        return genuine(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(REFUSED[code], match=name.decode()) as raised:
        store.import_tree(tree, mirror=True)
    assert not isinstance(raised.value, StorageReadOnlyError)
    assert store.list_files() == []


def test_a_file_that_fails_in_the_middle_is_refused_by_its_path(
    store: LocalCasStore, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    meddle_with(monkeypatch, b"large.bin", fail)
    with pytest.raises(StorageIOError, match=r"docs/sub/large\.bin"):
        store.import_tree(tree)
    assert store.list_files() == []


def test_a_store_that_is_read_only_says_so_and_is_not_touched(
    store: LocalCasStore, location: Path, tree: Path
) -> None:
    before = sorted(path for path in location.rglob("*"))
    with LocalCasStore(location, read_only=True) as reader, pytest.raises(StorageReadOnlyError):
        reader.import_tree(tree)
    assert sorted(path for path in location.rglob("*")) == before


def test_a_full_disk_names_nothing(
    make_disk: MakeDisk, pristine: dict[HashAlgorithm, Path], tmp_path: Path
) -> None:
    location = shutil.copytree(pristine[HashAlgorithm.BLAKE3], make_disk(4 << 20) / "store")
    tree = plant(tmp_path / "tree", {f"{number}": os.urandom(100_000) for number in range(60)})
    with LocalCasStore(location) as store:
        with pytest.raises(StorageFullError):
            store.import_tree(tree)
        assert store.list_files() == []
    with LocalCasStore(location) as store:
        store.prune_orphan_blobs()
        assert list(location.glob("tmp/*/*")) == []
        store.write_file("a", b"a" * 100_000)
        assert store.audit_file_index(verify=True).is_clean()


# --- interrupted ------------------------------------------------------------------------------


def test_interrupted_it_names_nothing_and_keeps_nothing(store: LocalCasStore, tree: Path) -> None:
    def interrupt(done: int, _: int | None) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.import_tree(tree, progress=interrupt)
    assert store.list_files() == []
    assert store.prune_orphan_blobs().pruned_blobs > 0
    assert store.audit_file_index(verify=True).is_clean()


def test_killed_anywhere_it_is_whole_or_not_at_all_and_can_be_run_again(
    pristine: dict[HashAlgorithm, Path], tmp_path: Path
) -> None:
    contents = {"a": b"a", "b/large": LARGE, "c": b"c"}
    tree, location = plant(tmp_path / "tree", contents), tmp_path / "store"

    def prepare() -> Callable[[], object]:
        shutil.rmtree(location, ignore_errors=True)
        shutil.copytree(pristine[HashAlgorithm.BLAKE3], location)
        with LocalCasStore(location) as store:
            store.write_file("old", b"old")
        return run

    def run() -> None:
        with LocalCasStore(location) as store:
            store.import_tree(tree, mirror=True)

    outcomes = set()
    for _ in killed_at_lines(prepare, 61):
        with LocalCasStore(location) as store:
            outcomes.add(tuple(file.path for file in store.list_files()))
            assert store.audit_file_index(verify=True).is_sound()
            store.import_tree(tree, mirror=True)
            assert held(store) == contents
            store.prune_orphan_blobs()
            assert store.audit_file_index(verify=True).is_clean()
    assert outcomes == {("old",), ("a", "b/large", "c")}


def test_the_report_and_the_metadata_agree(either_store: LocalCasStore, tree: Path) -> None:
    report = either_store.import_tree(tree)
    files: list[FileMetadata] = either_store.list_files()
    assert report.total_bytes == sum(file.size_bytes for file in files)
    assert [file.content_hash for file in files] == [
        either_store.hash_bytes(CONTENTS[file.path]) for file in files
    ]
