"""A store of the original taken over: whole, with times and pins, its damage told, itself untouched."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from agent_world_distfs import (
    AdoptReport,
    CatalogError,
    FileIndexManifestRef,
    FileMetadata,
    HashAlgorithm,
    IncompatibleStoreError,
    InvalidInputError,
    LocalCasStore,
    NotFoundError,
    StorageReadOnlyError,
    adopt_original,
)
from agent_world_distfs.engine.leases import Lease
from original_stores import LARGE, LOOSE, SMALL, Original, make_original, name_of, pack, write_index
from trees import looks

pytestmark = pytest.mark.usefixtures("no_descriptor_is_left_open")


DATA = Path(__file__).parent / "data" / "original-store"
REFERENCE = DATA / "reference-store"
REFERENCE_REF = FileIndexManifestRef.parse(
    "{content_hash}:{size_bytes}".format_map(json.loads((DATA / "manifest_ref.json").read_text()))
)
ABSENT_HASH = "0" * 64


@pytest.fixture
def original(tmp_path: Path) -> Original:
    return make_original(tmp_path / "original")


# --- what comes over --------------------------------------------------------------------------


def test_the_reference_store_comes_over_whole(tmp_path: Path) -> None:
    source = shutil.copytree(REFERENCE, tmp_path / "source")
    before = looks(source)
    report = adopt_original(source, tmp_path / "store")
    manifest_hash = REFERENCE_REF.content_hash
    assert report == AdoptReport(HashAlgorithm.BLAKE3, 5, 7, 1, orphan_blob_hashes=(manifest_hash,))
    assert report.is_whole()
    assert looks(source) == before
    with LocalCasStore(tmp_path / "store", create=False) as store:
        assert store.hash_algorithm is HashAlgorithm.BLAKE3
        index = json.loads((source / "files_index.json").read_text())["files"]
        assert {file.path: file for file in store.list_files()} == {
            path: FileMetadata(**entry) for path, entry in index.items()
        }
        for file in store.list_files():
            assert store.read_file(file.path) == (source / "blobs" / f"{file.content_hash}.blob").read_bytes()
        assert store.list_pins() == json.loads((source / "pins.json").read_text())["pins"]
        assert store.get(manifest_hash) == (DATA / "manifest.cbor").read_bytes()
        assert store.export_file_index_manifest() == REFERENCE_REF
        audit = store.audit_file_index(verify=True)
        assert audit.is_sound()
        assert audit.orphan_blob_hashes == (manifest_hash,)


def test_a_store_of_either_algorithm_comes_over(tmp_path: Path, algorithm: HashAlgorithm) -> None:
    original = make_original(tmp_path / "original", algorithm)
    report = adopt_original(original.root, tmp_path / "store")
    loose = name_of(LOOSE, algorithm)
    assert report == AdoptReport(algorithm, 3, 4, 2, orphan_blob_hashes=(loose,))
    with LocalCasStore(tmp_path / "store", hash_algorithm=algorithm, create=False) as store:
        assert [(file.path, file.updated_at_ms) for file in store.list_files()] == [
            ("a", 1_600_000_000_000),
            ("dir/a", 1),
            ("dir/large", 2),
        ]
        assert store.read_file("dir/large") == LARGE
        assert set(store.list_pins()) == {name_of(LARGE, algorithm), name_of(b"pinned", algorithm)}
        assert store.get(loose) == LOOSE
        assert store.prune_orphan_blobs().pruned_blob_hashes == (loose,)
        assert store.audit_file_index(verify=True).is_clean()


def test_packed_blobs_come_over_unpacked(original: Original, tmp_path: Path) -> None:
    for data in (SMALL, LARGE, LOOSE):
        original.put(pack(data), name_of(data))
    report = adopt_original(original.root, tmp_path / "store")
    assert (report.total_blobs, report.is_whole()) == (4, True)
    with LocalCasStore(tmp_path / "store") as store:
        assert [store.read_file(path) for path in ("a", "dir/large")] == [SMALL, LARGE]
        assert store.get(name_of(LOOSE)) == LOOSE


def test_an_open_store_takes_over_too(original: Original, either_store: LocalCasStore) -> None:
    if either_store.hash_algorithm is HashAlgorithm.SHA256:
        with pytest.raises(IncompatibleStoreError, match="the store names blobs by sha256"):
            adopt_original(original.root, either_store)
        assert either_store.list_files() == []
    else:
        either_store.pin(either_store.put_bytes(b"mine"))
        assert adopt_original(original.root, either_store).is_whole()
        assert len(either_store.list_pins()) == 3
    either_store.write_file("usable", b"")


def test_an_empty_store_comes_over_as_one(tmp_path: Path, either_store: LocalCasStore) -> None:
    original = Original(tmp_path / "original")
    write_index(original, {}, [])
    assert adopt_original(original.root, either_store) == AdoptReport(either_store.hash_algorithm, 0, 0, 0)
    assert adopt_original(original.root, tmp_path / "new") == AdoptReport(HashAlgorithm.BLAKE3, 0, 0, 0)
    report = adopt_original(original.root, tmp_path / "other", hash_algorithm=HashAlgorithm.SHA256)
    assert report.hash_algorithm is HashAlgorithm.SHA256


def test_more_blobs_than_one_transaction_takes_come_over(original: Original, store: LocalCasStore) -> None:
    seen: list[tuple[int, int | None]] = []
    for number in range(1_100):
        original.put(b"%d" % number, name_of(b"%d" % number))
    adopt_original(original.root, store, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 1_104) for done in range(1, 1_105)]
    assert all(store.get(name_of(b"%d" % number)) == b"%d" % number for number in range(1_100))


# --- damage -----------------------------------------------------------------------------------


def replace_by(make: Callable[[Path], object]) -> Callable[[Path], object]:
    """Something else where the file was."""

    def replace(path: Path) -> None:
        path.rename(path.with_name("elsewhere"))
        make(path)

    return replace


DAMAGE: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "one bit": lambda path: path.write_bytes(LARGE[:-1] + bytes([LARGE[-1] ^ 1])),
    "empty": lambda path: path.write_bytes(b""),
    "packed and cut": lambda path: path.write_bytes(pack(LARGE)[:-3]),
    "packed and lying": lambda path: path.write_bytes(pack(LARGE, size_bytes=len(LARGE) + 1)),
    "packed other bytes": lambda path: path.write_bytes(pack(LARGE, frames=zstandard.compress(LARGE[::-1]))),
    "a symlink": replace_by(lambda path: path.symlink_to("elsewhere")),
    "a directory": replace_by(Path.mkdir),
    "a fifo": replace_by(os.mkfifo),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_told_and_what_it_touches_left_out(
    original: Original, store: LocalCasStore, kind: str
) -> None:
    DAMAGE[kind](original.path_of(name_of(LARGE)))
    report = adopt_original(original.root, store)
    lost = (name_of(LARGE),)
    assert (report.missing_blob_hashes, report.corrupt_blob_hashes) == (
        (lost, ()) if kind == "gone" else ((), lost)
    )
    assert (report.skipped_paths, report.skipped_pin_hashes) == (("dir/large",), lost)
    assert (report.total_files, report.total_blobs, report.total_pins) == (2, 3, 1)
    assert not report.is_whole()
    assert [file.path for file in store.list_files()] == ["a", "dir/a"]
    assert not store.has(name_of(LARGE))
    assert store.audit_file_index(verify=True).is_sound()


def test_small_damage_is_told_too_and_everything_in_order(original: Original, store: LocalCasStore) -> None:
    original.put(b"rotten", name_of(SMALL))
    original.put(b"rotten", name_of(LOOSE))
    original.path_of(name_of(b"pinned")).unlink()
    missing = "f" * 64
    files = {
        "b": (ABSENT_HASH, 1, 0),
        "a": (name_of(SMALL), 5, 0),
        "é": (missing, 1, 0),
        "z": (name_of(LARGE), len(LARGE), 5),
    }
    write_index(original, files, [name_of(b"pinned"), missing])
    report = adopt_original(original.root, store)
    assert report.skipped_paths == ("a", "b", "é")
    assert report.corrupt_blob_hashes == tuple(sorted([name_of(SMALL), name_of(LOOSE)]))
    assert report.missing_blob_hashes == tuple(sorted([ABSENT_HASH, missing, name_of(b"pinned")]))
    assert report.skipped_pin_hashes == tuple(sorted([name_of(b"pinned"), missing]))
    assert [file.path for file in store.list_files()] == ["z"]


def test_a_file_with_another_size_than_its_blob_is_left_out(original: Original, store: LocalCasStore) -> None:
    write_index(original, {"a": (name_of(SMALL), 4, 0), "b": (name_of(LARGE), len(LARGE), 0)}, [])
    report = adopt_original(original.root, store)
    assert (report.total_files, report.skipped_paths, report.is_whole()) == (1, ("a",), False)
    assert store.get(name_of(SMALL)) == SMALL


def test_a_store_of_which_no_blob_is_whole_wants_its_algorithm_given(
    original: Original, tmp_path: Path
) -> None:
    for path in (original.root / "blobs").iterdir():
        path.write_bytes(b"rotten")
    with pytest.raises(IncompatibleStoreError, match="no blob"):
        adopt_original(original.root, tmp_path / "store")
    assert not (tmp_path / "store").exists()
    report = adopt_original(original.root, tmp_path / "store", hash_algorithm=HashAlgorithm.SHA256)
    assert (report.total_blobs, len(report.corrupt_blob_hashes)) == (0, 4)


# --- refusals ---------------------------------------------------------------------------------


def test_a_mixed_store_is_refused_whichever_algorithm_is_given(original: Original, tmp_path: Path) -> None:
    original.put(b"other" * 20_000, name_of(b"other" * 20_000, HashAlgorithm.SHA256))
    original.put(b"x" * 99_999, name_of(b"x" * 99_999))
    for given in (None, HashAlgorithm.BLAKE3):
        target = tmp_path / f"{given}"
        with pytest.raises(IncompatibleStoreError, match="mixed"):
            adopt_original(original.root, target, hash_algorithm=given)
        with LocalCasStore(target, create=False) as store:
            assert store.list_files() == []
            store.prune_orphan_blobs()
            assert store.audit_file_index(verify=True).is_clean()


def test_another_algorithm_than_the_right_one_is_refused_before_a_store_is_made(
    original: Original, tmp_path: Path
) -> None:
    with pytest.raises(IncompatibleStoreError, match="blake3"):
        adopt_original(original.root, tmp_path / "store", hash_algorithm=HashAlgorithm.SHA256)
    assert not (tmp_path / "store").exists()
    assert adopt_original(original.root, tmp_path / "store", hash_algorithm=HashAlgorithm.BLAKE3).is_whole()


def test_a_store_there_of_another_algorithm_is_refused(original: Original, tmp_path: Path) -> None:
    with LocalCasStore(tmp_path / "store", hash_algorithm=HashAlgorithm.SHA256):
        pass
    with pytest.raises(IncompatibleStoreError, match="sha256"):
        adopt_original(original.root, tmp_path / "store")


def test_an_index_that_is_not_empty_is_refused_before_anything_is_brought(
    original: Original, store: LocalCasStore
) -> None:
    store.write_file("mine", b"mine")
    with pytest.raises(InvalidInputError, match="not empty"):
        adopt_original(original.root, store, progress=lambda *_: pytest.fail("a blob was brought"))
    assert [file.path for file in store.list_files()] == ["mine"]
    assert store.audit_file_index().is_clean()


def test_an_index_that_is_written_to_meanwhile_is_not_replaced(
    original: Original, store: LocalCasStore, location: Path
) -> None:
    def write(done: int, _: int | None) -> None:
        if done == 4:
            with LocalCasStore(location) as other:
                other.write_file("mine", b"mine")

    with pytest.raises(InvalidInputError, match="not empty"):
        adopt_original(original.root, store, progress=write)
    assert [file.path for file in store.list_files()] == ["mine"]
    assert store.list_pins() == []
    store.prune_orphan_blobs()
    assert store.audit_file_index(verify=True).is_clean()


@pytest.mark.parametrize("hash_algorithm", [None, HashAlgorithm.BLAKE3])
def test_what_is_no_store_of_the_original_is_refused_before_a_store_is_made(
    tmp_path: Path, original: Original, hash_algorithm: HashAlgorithm | None
) -> None:
    (tmp_path / "empty").mkdir()
    for place, refusal in (("nothing", NotFoundError), ("empty", IncompatibleStoreError)):
        with pytest.raises(refusal):
            adopt_original(tmp_path / place, tmp_path / "store", hash_algorithm=hash_algorithm)
    (original.root / "files_index.json").write_text("{")
    with pytest.raises(CatalogError):
        adopt_original(original.root, tmp_path / "store", hash_algorithm=hash_algorithm)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("wrong", ["", "a\0b", "a\ud800"], ids=repr)
def test_an_original_at_no_path_is_refused(store: LocalCasStore, tmp_path: Path, wrong: str) -> None:
    with pytest.raises(InvalidInputError):
        store.adopt_original(wrong)
    with pytest.raises(InvalidInputError):
        adopt_original(wrong, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("target", ["new", "blobs/new", ".", "../original"])
def test_a_store_within_the_original_is_refused_since_that_would_change_it(
    original: Original, target: str
) -> None:
    before = looks(original.root)
    with pytest.raises(InvalidInputError):
        adopt_original(original.root, original.root / target)
    assert looks(original.root) == before


def test_a_store_that_is_read_only_says_so_and_is_not_touched(
    original: Original, store: LocalCasStore, location: Path
) -> None:
    before = sorted(location.rglob("*"))
    with LocalCasStore(location, read_only=True) as reader, pytest.raises(StorageReadOnlyError):
        adopt_original(original.root, reader)
    assert sorted(location.rglob("*")) == before


def test_damage_of_the_store_that_takes_over_is_not_told_of_the_original(
    original: Original, store: LocalCasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise CatalogError("ours")

    monkeypatch.setattr(Lease, "put_stream", fail)
    with pytest.raises(CatalogError, match="ours"):
        adopt_original(original.root, store)
    assert store.list_files() == []
