"""A store of the original: read as it is, refused where it is broken, never changed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from agent_world_distfs.errors import CatalogError, IncompatibleStoreError, NotFoundError
from agent_world_distfs.operations.original import (
    find_algorithm,
    open_original_blob,
    read_snapshot,
    require_algorithm,
)
from agent_world_distfs.records import FileMetadata, HashAlgorithm
from original_stores import CONTENT, NAME, OTHER, Original, pack
from trees import looks

REFERENCE = Path(__file__).parent / "data" / "original-store" / "reference-store"

pytestmark = pytest.mark.usefixtures("no_descriptor_is_left_open")


@pytest.fixture
def original(tmp_path: Path) -> Original:
    return Original(tmp_path / "original")


# --- the store that the original wrote --------------------------------------------------------


def test_the_reference_store_reads_as_its_facts_say() -> None:
    snapshot = read_snapshot(REFERENCE)
    assert [(file.path, file.size_bytes) for file in snapshot.files] == [
        ("data/zeros-1mib.bin", 1048576),
        ("docs/hello.txt", 13),
        ("docs/sub/all-bytes.bin", 256),
        ("empty.bin", 0),
        ("unicode/文件-é.txt", 13),
    ]
    assert snapshot.files[1].updated_at_ms == 1795371322726
    assert snapshot.pins == ("5c23d1925e736d36d6f01a810636c2f71a95846c9be5677708dfbfb6231170de",)
    assert len(snapshot.blobs) == 7
    assert find_algorithm(REFERENCE, snapshot) is HashAlgorithm.BLAKE3
    for name, fingerprint in snapshot.blobs.items():
        with open_original_blob(REFERENCE, name) as content:
            data = content.read()
        assert blake3(data).hexdigest() == name
        assert len(data) == fingerprint.size_bytes


def test_reading_changes_nothing(tmp_path: Path) -> None:
    root = shutil.copytree(REFERENCE, tmp_path / "copy")
    (root / "blobs" / f"{NAME}.blob").write_bytes(pack(CONTENT))

    before = looks(root)
    snapshot = read_snapshot(root)
    find_algorithm(root, snapshot)
    for name in snapshot.blobs:
        require_algorithm(root, name, HashAlgorithm.BLAKE3)
    assert looks(root) == before
    assert read_snapshot(root) == snapshot


# --- snapshots --------------------------------------------------------------------------------

ENTRY = {"path": "a", "content_hash": NAME, "size_bytes": 1, "updated_at_ms": 2}


def index_of(**changed: object) -> dict[str, object]:
    return {"version": 1, "files": {"a": {**ENTRY, **changed}}}


def test_what_is_missing_is_empty(original: Original) -> None:
    original.put(CONTENT)
    assert read_snapshot(original.root).files == ()
    assert read_snapshot(original.root).pins == ()
    shutil.rmtree(original.root / "blobs")
    original.write_json("files_index.json", index_of())
    assert read_snapshot(original.root).files == (FileMetadata("a", NAME, 1, 2),)
    assert read_snapshot(original.root).blobs == {}
    (original.root / "files_index.json").unlink()
    original.write_json("pins.json", {"pins": []})
    assert read_snapshot(original.root).pins == ()


def test_files_ascend_by_the_bytes_of_their_paths_and_pins_are_a_set(original: Original) -> None:
    paths = ["\U0001f600", "\uff5e", "b", "a/b", "a-b", "path", "size_bytes", "content_hash", "updated_at_ms"]
    files = {path: {**ENTRY, "path": path} for path in paths}
    original.write_json("files_index.json", {"version": 1, "files": files})
    original.write_json("pins.json", {"pins": [OTHER, NAME, OTHER]})
    snapshot = read_snapshot(original.root)
    assert [file.path for file in snapshot.files] == sorted(paths, key=str.encode)
    assert snapshot.pins == tuple(sorted({NAME, OTHER}))


def test_values_at_the_edges_are_kept(original: Original) -> None:
    original.write_json("files_index.json", index_of(size_bytes=2**63 - 1, updated_at_ms=-(2**63)))
    assert read_snapshot(original.root).files == (FileMetadata("a", NAME, 2**63 - 1, -(2**63)),)


def test_other_names_among_the_blobs_are_none(original: Original) -> None:
    for name in (f"{NAME}.blob.tmp", f"{NAME.upper()}.blob", NAME, f"{NAME}.blob\n", "short.blob", ".blob"):
        (original.root / "blobs" / name).write_bytes(b"")
    original.put(CONTENT, OTHER)
    assert list(read_snapshot(original.root).blobs) == [OTHER]


def test_any_change_shows_in_the_next_snapshot(original: Original) -> None:
    original.put(CONTENT)
    original.write_json("files_index.json", index_of())
    original.write_json("pins.json", {"pins": [NAME]})
    changes: list[Callable[[], object]] = [
        lambda: original.put(b"", OTHER),
        lambda: original.put(b"longer", OTHER),
        lambda: os.utime(original.path_of(OTHER), ns=(1, 1)),
        original.path_of(OTHER).unlink,
        lambda: original.write_json("files_index.json", index_of(updated_at_ms=3)),
        lambda: original.write_json("pins.json", {"pins": []}),
        (original.root / "files_index.json").unlink,
    ]
    before = read_snapshot(original.root)
    assert read_snapshot(original.root) == before
    for change in changes:
        change()
        after = read_snapshot(original.root)
        assert after != before
        before = after


def test_a_place_that_is_no_store_of_the_original_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "sharded" / "blobs" / NAME[:2]).mkdir(parents=True)
    (tmp_path / "sharded" / "blobs" / NAME[:2] / NAME).write_bytes(CONTENT)
    for name in ("empty", "file", "sharded"):
        with pytest.raises(IncompatibleStoreError) as raised:
            read_snapshot(tmp_path / name)
        assert raised.value.location == str(tmp_path / name)


def test_a_place_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such directory"):
        read_snapshot(tmp_path / "absent")


def test_another_version_is_refused_as_such(original: Original) -> None:
    for version in (0, 2, 10**30):
        original.write_json("files_index.json", {**index_of(), "version": version})
        with pytest.raises(IncompatibleStoreError, match="unknown version"):
            read_snapshot(original.root)


BAD_INDEXES: dict[str, object] = {
    "null": None,
    "a list": [],
    "no version": {"files": {}},
    "no files": {"version": 1},
    "a further key": {**index_of(), "canary": 1},
    "version true": {**index_of(), "version": True},
    "version as a float": {**index_of(), "version": 1.0},
    "version as text": {**index_of(), "version": "1"},
    "files as a list": {"version": 1, "files": [ENTRY]},
    "a file that is text": {"version": 1, "files": {"a": "canary"}},
    "a file under another path": {"version": 1, "files": {"canary": ENTRY}},
    "a file without a time": {"version": 1, "files": {"a": {k: ENTRY[k] for k in list(ENTRY)[:3]}}},
    "a file with a further key": index_of(canary=1),
    "a path that is not normalized": {"version": 1, "files": {"canary/": {**ENTRY, "path": "canary/"}}},
    "a path out of the store": {"version": 1, "files": {"../canary": {**ENTRY, "path": "../canary"}}},
    "a path with NUL": {"version": 1, "files": {"a\0": {**ENTRY, "path": "a\0"}}},
    "a path with a surrogate": {"version": 1, "files": {"\ud800": {**ENTRY, "path": "\ud800"}}},
    "a path that is a number": index_of(path=1),
    "a hash in upper case": index_of(content_hash=NAME.upper()),
    "a hash with a line feed": index_of(content_hash=NAME[:-1] + "\n"),
    "a hash that is null": index_of(content_hash=None),
    "a size that is true": index_of(size_bytes=True),
    "a size that is a float": index_of(size_bytes=1.0),
    "a size that is text": index_of(size_bytes="1"),
    "a negative size": index_of(size_bytes=-1),
    "a size of 2^63": index_of(size_bytes=2**63),
    "a time that is false": index_of(updated_at_ms=False),
    "a time that is a float": index_of(updated_at_ms=1e3),
    "a time of 2^63": index_of(updated_at_ms=2**63),
    "a time below -2^63": index_of(updated_at_ms=-(2**63) - 1),
    "a time that is not a number": index_of(updated_at_ms=float("nan")),
}
BAD_PINS: dict[str, object] = {
    "null": None,
    "a list": [NAME],
    "nothing": {},
    "a further key": {"pins": [], "canary": 1},
    "pins as an object": {"pins": {NAME: 1}},
    "a pin that is no hash": {"pins": ["canary"]},
    "a pin that is a number": {"pins": [1]},
}
BAD_TEXTS = {
    "nothing": b"",
    "half": b'{"version": 1, "files": {"canary"',
    "two values": b"{} {}",
    "not UTF-8": b'{"canary": "\xff"}',
    "UTF-16": '{"pins": []}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"pins": []}',
    "a key twice": b'{"pins": [], "pins": []}',
    "deep nesting": b'{"canary":' + b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "a number of 10,000 digits": b'{"canary":' + b"1" * 10_000 + b"}",
}


def refuse(root: Path, name: str) -> None:
    with pytest.raises(CatalogError, match=name) as raised:
        read_snapshot(root)
    context: BaseException | None = raised.value
    while context is not None:
        assert "canary" not in f"{context} {vars(context)}"
        context = context.__context__


@pytest.mark.parametrize("kind", BAD_INDEXES)
def test_a_broken_index_is_refused(original: Original, kind: str) -> None:
    original.write_json("files_index.json", BAD_INDEXES[kind])
    refuse(original.root, "files_index.json")


@pytest.mark.parametrize("kind", BAD_PINS)
def test_broken_pins_are_refused(original: Original, kind: str) -> None:
    original.write_json("pins.json", BAD_PINS[kind])
    refuse(original.root, "pins.json")


@pytest.mark.parametrize("kind", BAD_TEXTS)
@pytest.mark.parametrize("name", ["files_index.json", "pins.json"])
def test_what_is_not_json_is_refused(original: Original, name: str, kind: str) -> None:
    (original.root / name).write_bytes(BAD_TEXTS[kind])
    refuse(original.root, name)


def test_a_key_twice_within_an_entry_is_refused(original: Original) -> None:
    text = json.dumps(index_of()).replace('"path": "a"', '"path": "a", "path": "a"')
    (original.root / "files_index.json").write_text(text)
    refuse(original.root, "files_index.json")
