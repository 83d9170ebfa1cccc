"""A store of the original that changes while it is taken over, beside collections, interrupted and killed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_world_distfs import HashAlgorithm, LocalCasStore, UnavailableError, adopt_original
from killing import killed_at_lines
from original_stores import LARGE, LOOSE, SMALL, Original, make_original, name_of, write_index
from trees import looks

pytestmark = pytest.mark.usefixtures("no_descriptor_is_left_open")


@pytest.fixture
def original(tmp_path: Path) -> Original:
    return make_original(tmp_path / "original")


def test_an_original_that_changes_and_then_holds_still_comes_over_as_it_is_then(
    original: Original, store: LocalCasStore
) -> None:
    new = b"new" * 5_000
    original.put(b"rotten at first", name_of(b"mended"))
    calls: list[int] = []

    def change(done: int, total: int | None) -> None:
        calls.append(done)
        if len(calls) == 5:
            original.put(b"mended", name_of(b"mended"))
            original.put(new, name_of(new))
            original.path_of(name_of(LOOSE)).unlink()
            original.put(b"rotten by now", name_of(SMALL))
            write_index(
                original, {"new": (name_of(new), len(new), 7), "a": (name_of(SMALL), 5, 7)}, [name_of(new)]
            )

    report = adopt_original(original.root, store, progress=change)
    assert [(file.path, file.updated_at_ms) for file in store.list_files()] == [("new", 7)]
    assert store.read_file("new") == new
    assert store.list_pins() == [name_of(new)]
    assert report.corrupt_blob_hashes == (name_of(SMALL),)
    assert report.skipped_paths == ("a",)
    assert report.total_blobs == 4


@pytest.mark.parametrize("what", ["index", "pins", "blob"])
def test_an_original_that_never_holds_still_is_not_taken_over(
    original: Original, store: LocalCasStore, what: str
) -> None:
    calls: list[int] = []

    def change(_done: int, _total: int | None) -> None:
        calls.append(1)
        match what:
            case "index":
                write_index(original, {"a": (name_of(SMALL), len(SMALL), len(calls))}, [])
            case "pins":
                original.write_json("pins.json", {"pins": [f"{len(calls):064x}"]})
            case "blob":
                original.put(b"%d" % len(calls), name_of(b"%d" % len(calls)))

    with pytest.raises(UnavailableError, match="changing"):
        adopt_original(original.root, store, progress=change)
    assert store.list_files() == []
    assert store.list_pins() == []
    store.prune_orphan_blobs()
    assert store.audit_file_index(verify=True).is_clean()


def test_a_collection_beside_it_takes_nothing_of_it(
    original: Original, store: LocalCasStore, location: Path
) -> None:
    with LocalCasStore(location) as collector:

        def collect(_done: int, _total: int | None) -> None:
            collector.prune_orphan_blobs()

        assert adopt_original(original.root, store, progress=collect).is_whole()
    assert store.get(name_of(LOOSE)) == LOOSE
    assert store.audit_file_index(verify=True).is_sound()


def test_interrupted_it_names_nothing_and_can_be_run_again(original: Original, store: LocalCasStore) -> None:
    def interrupt(done: int, _: int | None) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adopt_original(original.root, store, progress=interrupt)
    assert store.list_files() == []
    store.prune_orphan_blobs()
    assert store.audit_file_index(verify=True).is_clean()
    assert adopt_original(original.root, store).is_whole()


def test_killed_anywhere_it_took_over_all_or_nothing_and_can_be_run_again(
    original: Original, pristine: dict[HashAlgorithm, Path], tmp_path: Path
) -> None:
    location = tmp_path / "store"
    before = looks(original.root)

    def prepare() -> Callable[[], object]:
        shutil.rmtree(location, ignore_errors=True)
        shutil.copytree(pristine[HashAlgorithm.BLAKE3], location)
        return lambda: adopt_original(original.root, location)

    outcomes = set()
    for _ in killed_at_lines(prepare, 97):
        with LocalCasStore(location) as store:
            outcomes.add((len(store.list_files()), len(store.list_pins())))
            assert store.audit_file_index(verify=True).is_sound()
            if not store.list_files():
                assert adopt_original(original.root, store).is_whole()
            assert store.read_file("dir/large") == LARGE
            store.prune_orphan_blobs()
            assert store.audit_file_index(verify=True).is_clean()
    assert outcomes == {(0, 0), (3, 2)}
    assert looks(original.root) == before
