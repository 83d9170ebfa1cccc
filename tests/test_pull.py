"""Pulls: what is missing comes from another store, whatever it is made of, and then the index; or nothing."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_world_distfs import (
    BlobHashMismatchError,
    BlobNotFoundError,
    CorruptError,
    FileIndexManifestRef,
    HashAlgorithm,
    InvalidInputError,
    LocalCasStore,
    ManifestImportReport,
)
from agent_world_distfs.engine import other_stores
from behind import blob_file, edit, temporary_files
from calls import LARGE


def test_a_pull_brings_what_is_missing_and_nothing_else(
    store: LocalCasStore, other_store: LocalCasStore
) -> None:
    for number in range(30):
        other_store.write_file(f"small/{number}", b"%d" % number)
    other_store.write_file("large", LARGE)
    ref = other_store.export_file_index_manifest()
    store.put_bytes(LARGE)
    asked: list[str] = []

    class Source:
        hash_algorithm = HashAlgorithm.BLAKE3

        def __getattr__(self, name: str) -> object:
            return getattr(other_store, name)

        def open_blob(self, content_hash: str) -> object:
            asked.append(content_hash)
            return other_store.open_blob(content_hash)

    seen: list[tuple[int, int | None]] = []
    report = store.pull_manifest(Source(), ref, progress=lambda *at: seen.append(at))  # type: ignore[arg-type]
    assert report == ManifestImportReport(31, 31, 0, 0)
    assert asked == [ref.content_hash]
    assert seen[-1] == (31, 31)
    assert store.list_files() == other_store.list_files()
    assert store.read_file("large") == LARGE


def test_a_pull_from_a_source_that_lies_or_lacks_a_blob_changes_nothing(
    store: LocalCasStore, other_store: LocalCasStore
) -> None:
    store.write_file("mine", b"mine")
    kept = other_store.write_file("a", LARGE)
    ref = other_store.export_file_index_manifest()

    class Liar:
        def get(self, content_hash: str) -> bytes:
            data = other_store.get(content_hash)
            return b"lie" if content_hash == kept.content_hash else data

    class Lacking:
        def get(self, content_hash: str) -> bytes:
            if content_hash == kept.content_hash:
                raise BlobNotFoundError(content_hash)
            return other_store.get(content_hash)

    for source, error in ((Liar(), BlobHashMismatchError), (Lacking(), BlobNotFoundError)):
        with pytest.raises(error):
            store.pull_manifest(source, ref)  # type: ignore[arg-type]
        assert [file.path for file in store.list_files()] == ["mine"]
    assert store.pull_manifest(other_store, ref).added == 1


@pytest.mark.parametrize("endless", ["manifest", "file"])
def test_a_source_of_a_pull_that_never_ends_fills_no_disk(
    store: LocalCasStore, other_store: LocalCasStore, endless: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(other_stores, "EXCESS_BYTES", 1 << 20)
    named = other_store.write_file("a", LARGE).content_hash
    ref = other_store.export_file_index_manifest()
    given = 0

    class Endless(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            nonlocal given
            assert size is not None
            given += size
            assert given < 10 << 20
            return bytes(size)

    class Source:
        def get(self, content_hash: str) -> bytes:
            return other_store.get(content_hash)

        def open_blob(self, content_hash: str) -> object:
            wanted = ref.content_hash if endless == "manifest" else named
            return Endless() if content_hash == wanted else other_store.open_blob(content_hash)

    with pytest.raises(BlobHashMismatchError):
        store.pull_manifest(Source(), ref)  # type: ignore[arg-type]
    assert store.list_files() == []
    assert temporary_files(store) == []
    assert store.pull_manifest(other_store, ref).added == 1


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["small", "large"])
def test_what_is_damaged_at_the_source_of_a_pull_is_told_as_its_damage(
    store: LocalCasStore, other_store: LocalCasStore, data: bytes
) -> None:
    kept = other_store.write_file("a", data)
    ref = other_store.export_file_index_manifest()
    if data == LARGE:
        blob_file(other_store.location, kept.content_hash).write_bytes(data[::-1])
    else:
        edit(other_store.location, "UPDATE blobs SET payload = ? WHERE payload = ?", b"dirty", data)
    calls: list[Callable[[], object]] = [
        lambda: store.pull_manifest(other_store, ref),
        lambda: store.pull_index(other_store),
    ]
    for call in calls:
        with pytest.raises(CorruptError) as raised:
            call()
        assert pickle.loads(pickle.dumps(raised.value)).location == other_store.location
    with pytest.raises(CorruptError) as raised:
        other_store.read_file("a")
    assert raised.value.location is None


def test_a_reference_whose_size_is_wrong_is_invalid_unless_the_blob_is_damaged(store: LocalCasStore) -> None:
    meta = store.write_file("a", LARGE)
    wrong = FileIndexManifestRef(meta.content_hash, meta.size_bytes + 1)
    with pytest.raises(InvalidInputError):
        store.import_file_index_manifest(wrong)
    with pytest.raises(InvalidInputError):
        store.read_file_index_manifest(wrong)
    blob_file(store.location, meta.content_hash).write_bytes(LARGE[::-1])
    with pytest.raises(BlobHashMismatchError):
        store.import_file_index_manifest(wrong)


def test_a_pull_by_a_reference_whose_size_is_wrong_copies_nothing_that_the_manifest_names(
    store: LocalCasStore, other_store: LocalCasStore
) -> None:
    named = other_store.write_file("a", LARGE).content_hash
    ref = other_store.export_file_index_manifest()
    with pytest.raises(InvalidInputError, match="take the reference as it was printed"):
        store.pull_manifest(other_store, FileIndexManifestRef(ref.content_hash, ref.size_bytes + 1))
    assert not store.has(named)
    assert store.pull_manifest(other_store, ref).added == 1


def test_a_blob_that_the_source_of_a_pull_lacks_is_told_as_its_loss(
    store: LocalCasStore, other_store: LocalCasStore
) -> None:
    lost = FileIndexManifestRef("0" * 64, 1)
    with pytest.raises(BlobNotFoundError) as raised:
        store.pull_manifest(other_store, lost)
    assert raised.value.location == other_store.location
    with pytest.raises(BlobNotFoundError) as raised:
        store.import_file_index_manifest(lost)
    assert raised.value.location is None


def test_stores_of_two_algorithms_do_not_mix(tmp_path: Path, store: LocalCasStore) -> None:
    with LocalCasStore(tmp_path / "sha", hash_algorithm=HashAlgorithm.SHA256) as other:
        ref = other.export_file_index_manifest()
        with pytest.raises(InvalidInputError):
            store.pull_manifest(other, ref)
        with pytest.raises(InvalidInputError):
            store.pull_index(other)


@pytest.mark.parametrize("named", ["sha256", "md5", None, 7])
def test_a_source_may_say_in_text_what_names_its_blobs(
    store: LocalCasStore, other_store: LocalCasStore, named: object
) -> None:
    other_store.write_file("a", b"1")
    ref = other_store.export_file_index_manifest()

    class Source:
        def __init__(self, hash_algorithm: object) -> None:
            self.hash_algorithm = hash_algorithm

        def get(self, content_hash: str) -> bytes:
            return other_store.get(content_hash)

    with pytest.raises(InvalidInputError, match="blake3"):
        store.pull_manifest(Source(named), ref)  # type: ignore[arg-type]
    assert store.list_files() == []
    assert store.pull_manifest(Source("blake3"), ref).added == 1  # type: ignore[arg-type]


def test_what_is_no_source_is_a_type_error(store: LocalCasStore) -> None:
    ref = store.export_file_index_manifest()
    for wrong in (None, "world", object()):
        with pytest.raises(TypeError):
            store.pull_index(wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            store.pull_manifest(wrong, ref)  # type: ignore[arg-type]


def test_an_index_is_not_pulled_from_the_store_itself(store: LocalCasStore) -> None:
    before = store.last_seq()
    with LocalCasStore(store.location) as again:
        for source in (store, again):
            with pytest.raises(InvalidInputError):
                store.pull_index(source)
            with pytest.raises(InvalidInputError):
                store.pull_snapshots(source)
    assert store.last_seq() == before


def test_pulling_an_index_leaves_nothing_at_the_source(
    store: LocalCasStore, other_store: LocalCasStore
) -> None:
    other_store.write_file("a", LARGE)
    other_store.write_file("b", b"small")
    store.write_file("mine", b"mine")
    assert store.pull_index(other_store) == ManifestImportReport(2, 2, 0, 1)
    assert store.list_files() == other_store.list_files()
    assert other_store.audit_file_index().is_clean()
    with LocalCasStore(other_store.location, read_only=True) as source:
        assert store.pull_index(source) == ManifestImportReport(2, 0, 0, 0)
