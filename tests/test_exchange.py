"""Manifests: whole indexes from one store to another, byte for byte, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import cbor2
import pytest

from agent_world_distfs import (
    BlobHashMismatchError,
    BlobNotFoundError,
    FileIndexManifestRef,
    FileMetadata,
    HashAlgorithm,
    IndexConflictError,
    InvalidInputError,
    LocalCasStore,
    ManifestError,
    ManifestImportReport,
    adopt_original,
)
from behind import edit
from calls import LARGE

ORIGINAL = Path(__file__).parent / "data" / "original-store"


def put_manifest(store: LocalCasStore, files: object, version: object = 1) -> FileIndexManifestRef:
    raw = cbor2.dumps(cbor2.CBORTag(55799, {"files": files, "version": version}), canonical=True)
    return FileIndexManifestRef(store.put_bytes(raw), len(raw))


def entry(meta: FileMetadata, **changes: object) -> dict[str, object]:
    return {
        "path": meta.path,
        "size_bytes": meta.size_bytes,
        "content_hash": meta.content_hash,
        "updated_at_ms": meta.updated_at_ms,
    } | changes


def test_an_exported_index_comes_back_as_it_was(either_store: LocalCasStore) -> None:
    store = either_store
    store.write_file("b", b"small")
    store.write_file("a/é", LARGE)
    before = store.list_files()
    ref = store.export_file_index_manifest(pin=True)
    assert store.is_pinned(ref.content_hash)
    assert store.export_file_index_manifest() == ref
    assert list(store.read_file_index_manifest(ref).files) == before
    store.delete_file("b")
    store.write_file("a/é", b"changed")
    store.write_file("new", b"new")
    expected = ManifestImportReport(2, 1, 1, 1)
    assert store.import_file_index_manifest(ref, dry_run=True) == expected
    assert store.stat_file("new") is not None
    assert store.import_file_index_manifest(ref) == expected
    assert store.list_files() == before
    assert store.read_file("a/é") == LARGE
    assert store.export_file_index_manifest() == ref
    store.prune_orphan_blobs()
    assert store.audit_file_index(verify=True).is_clean()


def test_an_empty_index_is_a_manifest_too(store: LocalCasStore) -> None:
    ref = store.export_file_index_manifest()
    store.write_file("a", b"a")
    assert store.import_file_index_manifest(ref) == ManifestImportReport(0, 0, 0, 1)
    assert store.list_files() == []


def test_the_originals_store_is_adopted_and_exported_to_the_same_bytes(tmp_path: Path) -> None:
    wanted = json.loads((ORIGINAL / "manifest_ref.json").read_text())
    source = ORIGINAL / "reference-store"
    report = adopt_original(source, tmp_path / "store")
    assert (report.hash_algorithm, report.total_files, report.total_blobs) == (HashAlgorithm.BLAKE3, 5, 7)
    assert report.is_whole()
    with LocalCasStore(tmp_path / "store") as store:
        assert store.list_pins() == json.loads((source / "pins.json").read_text())["pins"]
        ref = store.export_file_index_manifest()
        assert (ref.content_hash, ref.size_bytes) == (wanted["content_hash"], wanted["size_bytes"])
        assert store.get(ref.content_hash) == (ORIGINAL / "manifest.cbor").read_bytes()
        assert report.orphan_blob_hashes == (ref.content_hash,)
        with pytest.raises(InvalidInputError, match="not empty"):
            adopt_original(source, store)


def lies(meta: FileMetadata) -> Iterator[tuple[str, object, object, type[Exception]]]:
    yield "size", [entry(meta, size_bytes=meta.size_bytes + 1)], 1, ManifestError
    yield "absent blob", [entry(meta, content_hash="0" * 64)], 1, BlobNotFoundError
    yield "hash form", [entry(meta, content_hash="G" * 64)], 1, ManifestError
    yield "path", [entry(meta, path="a/../b")], 1, ManifestError
    yield "absolute path", [entry(meta, path="/a")], 1, ManifestError
    yield "duplicate", [entry(meta), entry(meta)], 1, ManifestError
    yield "order", [entry(meta, path="b"), entry(meta, path="a")], 1, ManifestError
    yield "version", [entry(meta)], 2, ManifestError
    yield "bool", [entry(meta, size_bytes=True)], 1, ManifestError
    yield "version before blobs", [entry(meta, content_hash="0" * 64)], 2, ManifestError
    yield "form before blobs", [entry(meta, content_hash="0" * 64), entry(meta, path="/")], 1, ManifestError


def test_a_manifest_that_lies_in_any_field_changes_nothing(either_store: LocalCasStore) -> None:
    meta = either_store.write_file("a", b"content")
    before = either_store.list_files()
    for name, files, version, error in lies(meta):
        ref = put_manifest(either_store, files, version)
        for import_ in (
            either_store.import_file_index_manifest,
            lambda ref: either_store.import_file_index_manifest(ref, dry_run=True),
        ):
            with pytest.raises(error):
                import_(ref)
            assert either_store.list_files() == before, name
    either_store.prune_orphan_blobs()
    assert either_store.audit_file_index().is_clean()


def test_a_reference_must_be_well_formed_and_true(store: LocalCasStore) -> None:
    ref = store.export_file_index_manifest()
    with pytest.raises(InvalidInputError):
        store.import_file_index_manifest(FileIndexManifestRef(ref.content_hash, ref.size_bytes + 1))
    with pytest.raises(BlobNotFoundError):
        store.import_file_index_manifest(FileIndexManifestRef("0" * 64, 5))
    with pytest.raises(InvalidInputError):
        store.import_file_index_manifest(FileIndexManifestRef("x", 5))
    for size in (-1, True, None):
        with pytest.raises(InvalidInputError, match="size of a manifest"):
            store.import_file_index_manifest(FileIndexManifestRef(ref.content_hash, size))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        store.import_file_index_manifest(str(ref))  # type: ignore[arg-type]
    assert FileIndexManifestRef.parse(str(ref)) == ref
    for text in ("", "x:1", f"{ref.content_hash}:01", f"{ref.content_hash}:-1", f"{ref}\n", str(ref).upper()):
        with pytest.raises(InvalidInputError):
            FileIndexManifestRef.parse(text)


def test_a_rotten_blob_stops_an_import(location: Path) -> None:
    with LocalCasStore(location) as store:
        meta = store.write_file("a", LARGE)
        ref = store.export_file_index_manifest()
        store.write_file("a", b"new")
        path = location / "blobs" / meta.content_hash[:2] / meta.content_hash
        path.write_bytes(b"L" + LARGE[1:])
        for dry_run in (True, False):
            with pytest.raises(BlobHashMismatchError):
                store.import_file_index_manifest(ref, dry_run=dry_run)
        assert store.read_file("a") == b"new"


def test_rotten_bytes_in_the_catalog_stop_an_import(location: Path) -> None:
    with LocalCasStore(location) as store:
        store.write_file("a", b"small")
        ref = store.export_file_index_manifest()
        store.write_file("a", b"new")
    edit(location, "UPDATE blobs SET payload = ? WHERE payload = ?", b"Small", b"small")
    with LocalCasStore(location) as store:
        for dry_run in (True, False):
            with pytest.raises(BlobHashMismatchError):
                store.import_file_index_manifest(ref, dry_run=dry_run)
        assert store.read_file("a") == b"new"


def test_an_import_can_demand_the_index_that_it_replaces(store: LocalCasStore) -> None:
    store.write_file("a", b"1")
    first = store.export_file_index_manifest(pin=True)
    store.write_file("a", b"2")
    second = store.export_file_index_manifest(pin=True)
    for dry_run in (True, False):
        with pytest.raises(IndexConflictError) as raised:
            store.import_file_index_manifest(first, expected_current=first, dry_run=dry_run)
        assert (raised.value.expected, raised.value.actual) == (first, second)
    assert store.read_file("a") == b"2"
    store.import_file_index_manifest(first, expected_current=second)
    assert store.read_file("a") == b"1"


def test_a_prune_beside_an_import_takes_nothing_that_it_names(
    store: LocalCasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    metas = [store.write_file(f"{number:04}", b"%d" % number) for number in range(700)]
    ref = store.export_file_index_manifest(pin=True)
    store.delete_files([meta.path for meta in metas])
    with LocalCasStore(store.location) as collector:
        write = store._catalog.write_lazily

        def write_beside(change: Callable[..., object]) -> object:
            result = write(change)
            collector.prune_orphan_blobs()
            return result

        monkeypatch.setattr(store._catalog, "write_lazily", write_beside)
        with pytest.raises(BlobNotFoundError):
            store.import_file_index_manifest(ref)  # what was not staged yet is gone: refused whole
        assert store.list_files() == []
        monkeypatch.undo()
        for number in range(700):
            store.put_bytes(b"%d" % number)
        assert store.import_file_index_manifest(ref).added == 700
        assert collector.prune_orphan_blobs().pruned_blobs == 0
    assert store.list_files() == metas
