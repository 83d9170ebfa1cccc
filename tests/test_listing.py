"""Listings: in the order of bytes, by plain prefixes, each of one snapshot."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent_world_distfs import (
    FileMetadata,
    InvalidInputError,
    LocalCasStore,
    PathInvalidError,
    StorageError,
    StorageFullError,
    StoreClosedError,
    os_failures,
)
from agent_world_distfs.engine import page_spool
from children import MakeDisk, Start

ODD = [
    "a",
    "a/b",
    "a/b/c",
    "a.b",
    "a0",
    "a b",
    "ab",
    "A",
    "b%",
    "b_",
    "b*",
    "b?",
    "b[",
    "b'",
    'b"',
    "b\\",
    "b\n",
    "\u007f",
    "\u0080",
    "\u07ff",
    "\u0800",
    "\ud7ff",
    "\ue000",
    "\uffff",
    "\U00010000",
    "\U0010ffff",
    "\U0010ffff/x",
    "\U0010ffff\U0010ffff",
    "\u00e9",
    "e\u0301",
]
"""Sorted neither by bytes nor by UTF-16 units; among them all that patterns give a meaning to."""


@pytest.fixture(scope="module")
def odd_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCasStore]:
    """A store of odd paths, which the tests only read."""
    with LocalCasStore(tmp_path_factory.mktemp("odd") / "store") as store:
        for path in ODD:
            store.write_file(path, path.encode())
        yield store


def names(files: list[FileMetadata]) -> list[str]:
    return [file.path for file in files]


def expected(prefix: str = "", start_after: str = "") -> list[str]:
    found = [path for path in ODD if path.startswith(prefix) and path.encode() > start_after.encode()]
    return sorted(found, key=str.encode)


def test_files_come_in_the_order_of_their_bytes(odd_store: LocalCasStore) -> None:
    assert names(odd_store.list_files()) == expected()
    assert names(list(odd_store.iter_files())) == expected()
    assert expected() != sorted(ODD, key=lambda path: path.encode("utf-16-be"))  # or the test tests nothing


@pytest.mark.parametrize(
    "prefix",
    ["", *ODD, "a/", "a/b/", "b", "\U0010ffff/", "/", "./", "..", "a//", "%", "_", "zz", "a\0", "x" * 10_000],
    ids=ascii,
)
def test_a_prefix_is_plain_text(odd_store: LocalCasStore, prefix: str) -> None:
    assert names(odd_store.list_files(prefix=prefix)) == expected(prefix)
    assert names(list(odd_store.iter_files(prefix=prefix))) == expected(prefix)


def test_a_directory_is_a_prefix_that_ends_with_a_slash(store: LocalCasStore) -> None:
    for path in ("docs", "docs/a", "docs2/a", "docs.txt"):
        store.write_file(path, b"")
    assert names(store.list_files(prefix="docs")) == ["docs", "docs.txt", "docs/a", "docs2/a"]
    assert names(store.list_files(prefix="docs/")) == ["docs/a"]


@pytest.mark.parametrize("start_after", ["", *ODD, "a/a", "\U0010ffff~", "c", "a\0"], ids=ascii)
@pytest.mark.parametrize("prefix", ["", "a", "b", "\U0010ffff"], ids=ascii)
def test_a_listing_continues_behind_a_path(odd_store: LocalCasStore, start_after: str, prefix: str) -> None:
    found = odd_store.list_files(prefix=prefix, start_after=start_after)
    assert names(found) == expected(prefix, start_after)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_pages_together_are_the_whole(odd_store: LocalCasStore, limit: int) -> None:
    found: list[str] = []
    while page := odd_store.list_files(start_after=found[-1] if found else "", limit=limit):
        assert len(page) <= limit
        found += names(page)
    assert found == expected()


def test_a_limit_is_a_number_of_files(odd_store: LocalCasStore) -> None:
    assert odd_store.list_files(limit=0) == []
    assert names(odd_store.list_files(limit=3)) == expected()[:3]
    assert names(odd_store.list_files(limit=None)) == expected()
    assert names(odd_store.list_files(limit=1 << 70)) == expected()
    with pytest.raises(InvalidInputError):
        odd_store.list_files(limit=-1)
    for wrong in (True, 1.0, "1"):
        with pytest.raises(TypeError):
            odd_store.list_files(limit=wrong)  # type: ignore[arg-type]


def test_what_can_be_no_text_of_a_path_is_refused(store: LocalCasStore) -> None:
    for wrong in ("\ud800", "a\udfff"):
        with pytest.raises(PathInvalidError):
            store.list_files(prefix=wrong)
        with pytest.raises(PathInvalidError):
            store.list_files(start_after=wrong)
        with pytest.raises(PathInvalidError):
            store.iter_files(prefix=wrong)
    for wrong_type in (None, b"a", Path("a")):
        with pytest.raises(TypeError):
            store.list_files(prefix=wrong_type)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            store.iter_files(prefix=wrong_type)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prefix=st.text("abA/\u00e9\uffff\U0010ffff%_", max_size=3), start_after=st.text("ab/\uffff\U0010ffff"))
def test_any_prefix_and_any_start_give_what_they_say(
    odd_store: LocalCasStore, prefix: str, start_after: str
) -> None:
    found = odd_store.list_files(prefix=prefix, start_after=start_after)
    assert names(found) == expected(prefix, start_after)


# --- snapshots --------------------------------------------------------------------------------


def test_an_iteration_is_of_one_snapshot_taken_at_its_first_step(store: LocalCasStore) -> None:
    for number in range(30):
        store.write_file(f"{number:04}", b"before")
    before = store.list_files()
    iteration = store.iter_files()
    first = next(iteration)
    store.delete_files([file.path for file in before])
    store.write_file("new", b"after")
    assert [first, *iteration] == before
    assert names(list(store.iter_files())) == ["new"]


def test_an_iteration_sees_what_was_written_before_its_first_step(store: LocalCasStore) -> None:
    iteration = store.iter_files()
    store.write_file("a", b"")
    assert names(list(iteration)) == ["a"]


def test_an_iteration_outlives_the_store_once_begun(store: LocalCasStore) -> None:
    for path in ODD:
        store.write_file(path, b"")
    begun, not_begun = store.iter_files(), store.iter_files()
    found = [next(begun).path]
    store.close()
    assert found + names(list(begun)) == expected()
    with pytest.raises(StoreClosedError):
        next(not_begun)


def test_a_pair_that_is_always_written_together_is_always_listed_together(
    store: LocalCasStore, start: Start
) -> None:
    # A rename moves one file back and forth: every snapshot has exactly one of the two paths.
    for number in range(500):
        store.write_file(f"m{number}", b"fill")
    store.write_file("a", b"moved")
    mover = start(
        """
        with LocalCasStore(location, durability="relaxed") as store:
            say("moving")
            while True:
                store.rename_file("a", "z")
                store.rename_file("z", "a")
        """,
        store.location,
    )
    mover.hear()
    for _ in range(50):
        for listed in (names(store.list_files()), names(list(store.iter_files()))):
            assert ("a" in listed) != ("z" in listed)
            assert len(listed) == 501


def test_a_slow_listing_does_not_keep_the_log_from_being_cut(location: Path) -> None:
    with LocalCasStore(location, durability="relaxed") as store:
        store.write_file("a", b"")
        iteration = store.iter_files()
        next(iteration)
        for number in range(2500):  # 10 KiB of log each
            store.write_file("a", number.to_bytes(2, "little") * 4000)
        assert Path(location, "catalog.db-wal").stat().st_size < 12 << 20
        assert list(iteration) == []


def test_many_files_are_listed_in_bounded_memory_and_in_order(store: LocalCasStore, start: Start) -> None:
    writer = start(
        """
        import io, tracemalloc
        from agent_world_distfs.manifest_format import encode_manifest
        with LocalCasStore(location) as store:
            blob = store.put_bytes(b"x")
            files = [FileMetadata(f"{n:06}", blob, 1, 5) for n in range(30_000)]
            ref = store.put_stream(io.BytesIO(b"".join(encode_manifest(files, len(files)))))
            store.import_file_index_manifest(FileIndexManifestRef(ref.content_hash, ref.size_bytes))
            del files
            tracemalloc.start()
            last, count = "", 0
            for file in store.iter_files():
                assert file.path > last
                last, count = file.path, count + 1
            say(count, tracemalloc.get_traced_memory()[1])
        """,
        store.location,
    )
    count, peak = map(int, writer.hear().split())
    assert count == 30_000
    assert peak < 8 << 20


def test_no_room_for_a_long_listing_is_told_as_a_full_disk(
    store: LocalCasStore, make_disk: MakeDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(make_disk(1 << 16)))
    for number in range(300):  # more than is held in memory
        store.write_file(f"{number}" + "x" * 4000, b"")
    with pytest.raises(StorageFullError):
        list(store.iter_files())
    with pytest.raises(StorageFullError):
        store.export_file_index_manifest()
    assert len(store.list_files()) == 300


def test_a_short_listing_needs_no_place_for_temporary_files_and_a_long_one_says_so(
    store: LocalCasStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    store.write_file("a", b"a")
    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    monkeypatch.setattr(os_failures, "gettempdir", nowhere)
    assert list(store.iter_files()) == store.list_files()
    monkeypatch.setattr(page_spool, "SPOOL_BYTES", 1)
    with pytest.raises(StorageError, match="temporary"):
        list(store.iter_files())
