"""Threats that no other file of tests is about; ``SECURITY.md`` has the table of all of them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from pathlib import Path

import apsw
import pytest

from agent_world_distfs import CatalogError, CorruptError, HashAlgorithm, LocalCasStore, WorldError
from agent_world_distfs.paths import is_path
from agent_world_distfs.protocols import BlobBrief
from behind import blob_file
from calls import LARGE, SMALL, fill
from children import cannot_run

# --- the tables -------------------------------------------------------------------------------

SECURITY = Path(__file__).parent.parent / "SECURITY.md"


def test_every_threat_and_every_hazard_names_the_test_that_holds_it() -> None:
    """That the tests exist is checked with the names on all pages."""
    rows = [line for line in SECURITY.read_text("utf-8").splitlines() if line.startswith("| ")]
    told = [row for row in rows if not row.startswith(("| Threat |", "| Hazard |", "| --- "))]
    assert [row for row in told if not re.search(r"`tests/[\w/]+\.py::test_\w+`", row.split("|")[-2])] == []
    assert [f"F{number}" for number in range(1, 12)] == re.findall(
        r"^\| \*\*(F\d+)\*\* ", "\n".join(told), re.MULTILINE
    )
    assert len(told) > 35


# --- a store from somebody else ---------------------------------------------------------------

HOSTILE_PATHS = [
    "../escaped",
    "a/../../escaped",
    "..",
    "/tmp/distfs-escaped",
    "a/./b",
    "a//b",
    "a/",
    ".",
    "",
    "a\0b",
    "x" * 5_000,
]
"""Paths that no call of ours lets in; a catalog that somebody else has written may hold them."""


def plant(store: LocalCasStore, path: str) -> None:
    """Name a blob by a path that was not checked, with checksums that are right."""
    content_hash = store.put_bytes(b"planted")
    store._catalog.write(lambda tx: tx.set_file(path, known(tx.find_brief(content_hash)), 5))


def known(value: BlobBrief | None) -> BlobBrief:
    assert value is not None
    return value


def tree(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


@pytest.mark.parametrize("path", HOSTILE_PATHS, ids=lambda path: repr(path[:20]))
def test_a_hostile_catalog_writes_nothing_outside_of_what_is_checked_out(
    path: str, store: LocalCasStore, tmp_path: Path
) -> None:
    plant(store, path)
    place = tmp_path / "place"
    (place / "inner").mkdir(parents=True)
    try:
        store.checkout(place / "inner" / "target")
    except WorldError:
        assert tree(place) == {"inner"}
    else:
        assert {name for name in tree(place) if not name.startswith("inner/target")} == {"inner"}
    assert not Path("/tmp/distfs-escaped").exists()


@pytest.mark.parametrize("path", HOSTILE_PATHS, ids=lambda path: repr(path[:20]))
def test_a_hostile_catalog_gives_no_other_store_a_path_that_is_none(
    path: str, store: LocalCasStore, other_store: LocalCasStore
) -> None:
    plant(store, path)
    for take in (
        lambda: other_store.pull_index(store),
        lambda: other_store.pull_manifest(store, store.export_file_index_manifest()),
    ):
        with pytest.raises(WorldError):
            take()  # type: ignore[no-untyped-call]
        assert other_store.list_files() == []
    assert other_store.audit_file_index(verify=True).is_sound()


@pytest.mark.parametrize("path", HOSTILE_PATHS, ids=lambda path: repr(path[:20]))
def test_a_path_that_is_none_is_damage(path: str, store: LocalCasStore) -> None:
    assert not is_path(path)
    plant(store, path)
    report = store.audit_file_index()
    assert report.index_damage
    assert all(sentence.isprintable() for sentence in report.index_damage)


def test_every_connection_is_set_up_for_a_hostile_database(location: Path) -> None:
    opened: list[apsw.Connection] = []
    apsw.connection_hooks.append(opened.append)
    try:
        with LocalCasStore(location) as store:
            fill(store)
            store.audit_file_index(verify=True)
            configured = [settings_of(connection) for connection in opened if connection.filename]
    finally:
        apsw.connection_hooks.remove(opened.append)
    assert configured
    assert set(configured) == {(1, 0, 0, 0, 0)}


def settings_of(connection: apsw.Connection) -> tuple[int, ...]:
    """Defensive, trusted schema, extensions, triggers, views."""
    return tuple(
        connection.config(option, -1)
        for option in (
            apsw.SQLITE_DBCONFIG_DEFENSIVE,
            apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA,
            apsw.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION,
            apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER,
            apsw.SQLITE_DBCONFIG_ENABLE_VIEW,
        )
    )


# --- damage -----------------------------------------------------------------------------------


def test_a_catalog_that_ends_within_a_page_is_damaged_and_no_broken_device(
    location: Path, tmp_path: Path
) -> None:
    """SQLite tells some reads that come short as I/O errors; a caller would look for a broken disk."""
    with LocalCasStore(location) as store:
        for number in range(40):
            store.write_file(f"{number}", b"overwritten %d" % number)
            store.write_file(f"{number}", b"%d" % number * 7 * number)
        store.export_file_index_manifest(pin=True)
    seen = 0
    for pages in range((location / "catalog.db").stat().st_size // 4_096, 2, -1):
        cut = shutil.copytree(location, tmp_path / f"{pages}")
        os.truncate(cut / "catalog.db", pages * 4_096 - 1)
        try:
            with LocalCasStore(cut) as store:
                with contextlib.suppress(CorruptError):
                    store.export_file_index_manifest()
                seen += not store.audit_file_index(verify=True).is_sound()
        except CatalogError:
            seen += 1
        shutil.rmtree(cut)
    assert seen > 10  # the last pages of the file may have nothing in them


# --- what stands where a blob should be ---------------------------------------------------------


def test_a_device_where_a_blob_should_be_is_never_read_and_healed_by_storing_it_again(
    location: Path,
) -> None:
    with LocalCasStore(location) as store:
        content_hash = store.write_file("a", LARGE).content_hash
        blob_file(location, content_hash).unlink()
        try:
            os.mknod(blob_file(location, content_hash), stat.S_IFCHR | 0o666, os.makedev(1, 5))
        except PermissionError:
            cannot_run("only root can make a device")
        for call in (store.get, store.open_blob):
            with pytest.raises(CatalogError, match="regular file"):
                call(content_hash)
        assert store.audit_file_index().damaged_blob_hashes == (content_hash,)
        store.put_bytes(LARGE)
        assert store.read_file("a") == LARGE
        assert store.audit_file_index(verify=True).is_clean()


def test_a_hard_link_to_the_file_of_somebody_else_is_never_written_to(location: Path, tmp_path: Path) -> None:
    """Storing the bytes again must not write in place: the other name would change, too."""
    theirs = tmp_path / "theirs"
    with LocalCasStore(location) as store:
        content_hash = store.write_file("a", LARGE).content_hash
        for content in (b"x" * len(LARGE), b"short", LARGE):
            theirs.unlink(missing_ok=True)
            theirs.write_bytes(content)
            blob_file(location, content_hash).unlink()
            os.link(theirs, blob_file(location, content_hash))
            store.put_bytes(LARGE)
            store.write_file("b", LARGE)
            assert theirs.read_bytes() == content
            assert store.read_file("a") == LARGE
            store.delete_file("b")
        store.delete_file("a")
        store.prune_orphan_blobs()
        assert theirs.read_bytes() == LARGE


def test_a_directory_of_blobs_that_is_a_symlink_is_not_mistaken_for_lost_data(
    location: Path, tmp_path: Path
) -> None:
    """Moving ``blobs`` to a larger disk and leaving a symlink is a thing that people do."""
    with LocalCasStore(location) as store:
        store.write_file("a", LARGE)
    shutil.move(location / "blobs", tmp_path / "elsewhere")
    (location / "blobs").symlink_to(tmp_path / "elsewhere")
    with LocalCasStore(location) as store:
        assert store.read_file("a") == LARGE
        store.write_file("b", LARGE + b"b")
        assert store.audit_file_index(verify=True).is_clean()


# --- two algorithms ---------------------------------------------------------------------------


def test_what_one_algorithm_names_is_not_there_for_the_other(
    tmp_path: Path, pristine: dict[HashAlgorithm, Path]
) -> None:
    one, other = (
        LocalCasStore(shutil.copytree(place, tmp_path / str(number)))
        for number, place in enumerate(pristine.values())
    )
    with one, other:
        for data in (SMALL, LARGE):
            assert not other.has(one.put_bytes(data))
            assert one.hash_bytes(data) != other.hash_bytes(data)
            with pytest.raises(WorldError):
                other.put(one.hash_bytes(data), data)
        for pull in (lambda: other.pull_index(one), lambda: one.pull_index(other)):
            with pytest.raises(WorldError):
                pull()  # type: ignore[no-untyped-call]
        assert other.list_files() == []
