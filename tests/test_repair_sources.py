"""Sources of a repair that fail: each is passed over and named, and the next is asked."""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path
from typing import IO

import pytest

from agent_world_distfs import (
    BlobStore,
    InvalidInputError,
    LocalCasStore,
    NotFoundError,
    StorageFullError,
    StorageIOError,
    StoreBusyError,
    repair_store,
)
from agent_world_distfs.operations.repair.sources import TreeSource
from behind import blob_file, edit
from meanwhile import OnlyRead, spoil
from trees import plant
from unreadable import BadDisk, disk

__all__ = ["disk"]

LARGE = b"large" * 5_000


@pytest.fixture
def rotten(store: LocalCasStore) -> LocalCasStore:
    spoil(blob_file(store.location, store.write_file("large", LARGE).content_hash))
    return store


@pytest.fixture
def peer(other_store: LocalCasStore) -> LocalCasStore:
    other_store.write_file("large", LARGE)
    return other_store


class Failing(io.BytesIO):
    """Bytes whose reading ends in an error."""

    def __init__(self, error: Exception) -> None:
        super().__init__(LARGE[: len(LARGE) // 2])
        self._error = error

    def read(self, size: int | None = -1, /) -> bytes:
        part = super().read(size)
        if not part:
            raise self._error
        return part


class Broken(OnlyRead):
    """A source that cannot be asked, or cannot be read to its end."""

    location = "broken"

    def __init__(self, error: Exception, *, is_opened: bool) -> None:
        self._error = error
        self._is_opened = is_opened

    def open_blob(self, content_hash: str) -> IO[bytes]:
        if self._is_opened:
            return Failing(self._error)
        raise self._error

    def get(self, content_hash: str) -> bytes:
        raise AssertionError


ERRORS = [StorageIOError("disk", "failed"), StoreBusyError(1.0), ConnectionResetError("the line is cut")]


@pytest.mark.parametrize("is_opened", [True, False])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_source_that_cannot_be_read_does_not_hide_the_next(
    rotten: LocalCasStore, peer: LocalCasStore, error: Exception, is_opened: bool
) -> None:
    name = rotten.hash_bytes(LARGE)
    broken = Broken(error, is_opened=is_opened)
    for is_tried in (True, False):
        report = rotten.repair([broken, peer], dry_run=is_tried)
        assert report.repaired_blob_hashes == (name,)
        assert report.refused_blobs == (f"broken: {name} ({error})",)
    assert rotten.read_file("large") == LARGE


def test_a_store_whose_disk_fails_does_not_hide_the_next(
    rotten: LocalCasStore, peer: LocalCasStore, tmp_path: Path, disk: BadDisk
) -> None:
    name = rotten.hash_bytes(LARGE)
    peer.backup(tmp_path / "backup")
    disk.lose(blob_file(tmp_path / "backup", name))
    report = rotten.repair([tmp_path / "backup", peer])
    assert report.repaired_blob_hashes == (name,)
    assert len(report.refused_blobs) == 1
    assert report.is_whole()


def test_an_error_of_the_store_itself_is_raised(
    rotten: LocalCasStore, peer: LocalCasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    sources: list[BlobStore] = [peer]
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StorageFullError):
            rotten.repair(sources)
    assert rotten.repair(sources).is_whole()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Files of one size; the one that is asked for comes last."""
    place = tmp_path / "place"
    (place / "below").mkdir(parents=True)
    for name in ("a", "b", "below/c"):
        (place / name).write_bytes(name[-1:].encode() * len(LARGE))
    (place / "below" / "z").write_bytes(LARGE)
    return place


def test_a_pin_whose_row_and_bytes_are_lost_is_found_among_files(
    store: LocalCasStore, tmp_path: Path
) -> None:
    name = store.put_bytes(LARGE)
    store.pin(name)
    store.backup(tmp_path / "backup")
    store.close()
    edit(store.location, "UPDATE blobs SET checksum = zeroblob(16), size_bytes = 1")
    for location in (store.location, tmp_path / "backup"):
        blob_file(location, name).unlink()
    plant(tmp_path / "files", {"copy": LARGE, "other": b"other", "none": b""})
    report = repair_store(store.location, [tmp_path / "backup", tmp_path / "files"])
    assert report.repaired_blob_hashes == (name,)
    assert report.is_whole()
    with LocalCasStore(store.location) as mended:
        assert mended.list_pins() == [name]
        assert mended.get(name) == LARGE
        assert mended.audit_file_index(verify=True).is_sound()


def test_a_source_that_never_ends_fills_no_disk(rotten: LocalCasStore) -> None:
    class Endless(io.RawIOBase):
        total_bytes = 0

        def read(self, size: int = -1, /) -> bytes:
            Endless.total_bytes += size
            assert Endless.total_bytes < 1 << 27
            return bytes(size)

    class Liar:
        hash_algorithm = rotten.hash_algorithm
        location = "liar"

        def open_blob(self, _: str) -> Endless:
            return Endless()

    report = rotten.repair([Liar()])  # type: ignore[list-item]
    assert report.refused_blobs == (f"liar: {rotten.hash_bytes(LARGE)}",)
    assert report.lost_paths == ("large",)


def test_a_file_that_vanishes_while_its_directory_is_searched_is_left_out(
    rotten: LocalCasStore, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = TreeSource._scan

    def scan(self: TreeSource) -> dict[int, list[str]]:
        found = honest(self)
        (place / "a").unlink()
        return found

    monkeypatch.setattr(TreeSource, "_scan", scan)
    report = rotten.repair([place])
    assert report.is_whole()
    assert report.refused_blobs == ()
    assert rotten.read_file("large") == LARGE


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are opened."""
    names: list[str] = []
    honest = os.open

    def noting(path: str, *arguments: int, **named: int) -> int:
        names.append(os.path.basename(path))
        return honest(path, *arguments, **named)

    monkeypatch.setattr(os, "open", noting)
    return names


def posix_locks(file: Path) -> list[str]:
    """Those that this process has on a file, as the system lists them."""
    lines = Path("/proc/locks").read_text().splitlines()
    mine = (str(os.getpid()), f":{file.stat().st_ino} ")
    return [
        line.split(maxsplit=1)[1] for line in lines if "POSIX" in line and all(each in line for each in mine)
    ]


@pytest.mark.parametrize("is_complete", [True, False])
def test_the_catalogs_of_stores_in_a_directory_are_not_opened(
    store: LocalCasStore, opened: list[str], is_complete: bool
) -> None:
    """Closing one would drop the locks that SQLite has on it."""
    catalog = Path(store.location, "catalog.db")
    store.write_file("small", b"small")
    data = b"x" * catalog.stat().st_size
    file = blob_file(store.location, store.write_file("as large as the catalog", data).content_hash)
    assert catalog.stat().st_size == len(data)
    spoil(file)
    if not is_complete:
        os.rename(catalog.parent / "locks", catalog.parent / "elsewhere")
    locks, opened[:] = posix_locks(catalog), []
    report = store.repair([catalog.parent.parent], dry_run=True)
    assert report.lost_blob_hashes == (file.name,)
    assert file.name in opened
    assert [name for name in opened if name.startswith("catalog")] == []
    if sys.platform == "linux":
        assert locks
        assert posix_locks(catalog) == locks


def test_of_a_store_in_a_directory_the_large_blobs_are_found(
    rotten: LocalCasStore, peer: LocalCasStore, tmp_path: Path
) -> None:
    (tmp_path / "place").mkdir()
    peer.backup(tmp_path / "place" / "backup")
    assert rotten.repair([tmp_path / "place"]).is_whole()


class Unopened:
    """Opening some paths is refused, also to root."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *paths: Path) -> None:
        self._paths = {str(path) for path in paths}
        self._open, self._scandir = os.open, os.scandir
        monkeypatch.setattr(os, "open", self._refusing_open)
        monkeypatch.setattr(os, "scandir", self._refusing_scandir)

    def _refusing_open(self, path: str, *arguments: int, **named: int) -> int:
        self._refuse(path)
        return self._open(path, *arguments, **named)

    def _refusing_scandir(self, path: str) -> object:
        self._refuse(path)
        return self._scandir(path)

    def _refuse(self, path: object) -> None:
        if path in self._paths:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


def test_what_may_not_be_read_in_a_directory_does_not_hide_the_rest(
    rotten: LocalCasStore, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "closed").mkdir()
    Unopened(monkeypatch, place / "a", place / "closed")
    report = rotten.repair([place])
    assert report.is_whole()
    assert report.refused_blobs == ()


@pytest.mark.parametrize("closed", ["below", "below/z"])
def test_where_something_may_not_be_read_it_is_not_said_that_the_directory_has_nothing(
    rotten: LocalCasStore, peer: LocalCasStore, place: Path, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    Unopened(monkeypatch, place / closed)
    name = rotten.hash_bytes(LARGE)
    report = rotten.repair([place, peer])
    assert report.repaired_blob_hashes == (name,)
    assert report.refused_blobs == (f"{place}: {name} ({place / closed}: Permission denied)",)


def break_catalog(place: Path, *, first: int, pages: int) -> None:
    with (place / "catalog.db").open("r+b") as file:
        file.seek(first * 4096)
        file.write(bytes(pages * 4096))


@pytest.fixture
def backups(store: LocalCasStore, tmp_path: Path) -> tuple[Path, Path]:
    """Of a store with large and small contents; the second is to stay whole."""
    spare = tmp_path / "spare"
    store.write_file("large", LARGE)
    store.write_files((f"{number:05}", b"%d" % number) for number in range(2_000))
    store.backup(tmp_path / "first")
    store.backup(spare)
    return tmp_path / "first", spare


@pytest.mark.parametrize("is_first", [True, False])
def test_a_source_that_cannot_be_opened_does_not_hide_the_next(
    store: LocalCasStore, backups: tuple[Path, Path], is_first: bool
) -> None:
    broken, whole = backups
    break_catalog(broken, first=0, pages=1)
    spoil(blob_file(store.location, store.hash_bytes(LARGE)))
    for is_tried in (True, False):
        report = store.repair([broken, whole] if is_first else [whole, broken], dry_run=is_tried)
        assert report.repaired_blob_hashes == (store.hash_bytes(LARGE),)
        [refused] = report.refused_sources
        assert refused.startswith(f"{broken}: ")
        assert report.is_whole()


def test_where_no_source_can_be_opened_the_report_says_so(
    store: LocalCasStore, backups: tuple[Path, Path]
) -> None:
    broken, _ = backups
    break_catalog(broken, first=0, pages=1)
    for location in (store.location, broken):
        spoil(blob_file(location, store.hash_bytes(LARGE)))
    report = store.repair([broken])
    assert report.lost_paths == ("large",)
    assert len(report.refused_sources) == 1


def test_a_store_with_a_damaged_catalog_still_is_a_source_of_its_large_blobs(
    store: LocalCasStore, backups: tuple[Path, Path]
) -> None:
    broken, _ = backups
    break_catalog(broken, first=0, pages=1)
    spoil(blob_file(store.location, store.hash_bytes(LARGE)))
    report = store.repair([broken])
    assert report.is_whole()
    assert len(report.refused_sources) == 1
    assert store.read_file("large") == LARGE


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("pages", ["head", "some"])
def test_of_a_source_that_cannot_be_read_whole_nothing_is_taken_and_the_next_proves_the_index(
    store: LocalCasStore, backups: tuple[Path, Path], pages: str, is_first: bool
) -> None:
    broken, whole = backups
    location = Path(store.location)
    store.close()
    total = (broken / "catalog.db").stat().st_size // 4096
    break_catalog(broken, first=0 if pages == "head" else total // 3, pages=1 if pages == "head" else 20)
    break_catalog(location, first=0, pages=1)
    for is_tried in (True, False):
        sources = [broken, whole] if is_first else [whole, broken]
        report = repair_store(location, sources, dry_run=is_tried)
        [refused] = report.refused_sources
        assert refused.startswith(f"{broken}: ")
        assert report.is_whole()
    with LocalCasStore(location) as mended, LocalCasStore(whole, read_only=True) as other:
        assert mended.list_files() == other.list_files()


def test_a_source_that_is_missing_is_an_error_before_a_catalog_is_built(
    store: LocalCasStore, tmp_path: Path
) -> None:
    location = Path(store.location)
    store.close()
    break_catalog(location, first=0, pages=1)
    with pytest.raises(NotFoundError):
        repair_store(location, [tmp_path / "nothing"])
    assert not list(location.glob("catalog.db.damaged-*"))


def test_no_store_is_a_source_of_its_own_repair(rotten: LocalCasStore, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(rotten.location)
    with LocalCasStore(link) as same:
        for source in (rotten, same, rotten.location, link):
            with pytest.raises(InvalidInputError, match="that is the store itself"):
                rotten.repair([source])
            with pytest.raises(InvalidInputError, match="that is the store itself"):
                repair_store(rotten.location, [source])


@pytest.mark.parametrize("name", ["pins.json", "files_index.json", "catalog.db"])
def test_files_are_a_source_whatever_one_of_them_is_called(
    rotten: LocalCasStore, tmp_path: Path, name: str
) -> None:
    plant(tmp_path / "files", {name: b"{}", "copy": LARGE})
    report = rotten.repair([tmp_path / "files"])
    assert (report.is_whole(), report.refused_sources) == (True, ())
    assert rotten.read_file("large") == LARGE
    rotten.close()
    break_catalog(Path(rotten.location), first=0, pages=1)
    assert repair_store(rotten.location, [tmp_path / "files"]).refused_sources == ()
